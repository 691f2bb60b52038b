"""A fleet as the file that makes it: applied again, it changes nothing. Defaults are left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fleet.template.field import Field, Kind, value_of
from fleet.template.fields import FIELDS, LISTS, NAME, OPTIONAL_SECTIONS
from fleet.template.writing import as_written
from fleet.v1 import types_pb2 as types
from megafleet.fleet_file.values import by_default

_WIDTH = 96


def fleet_file_text(name: str, spec: types.FleetSpec) -> str:
    """YAML that `parse_fleet_file` reads as this spec."""
    import yaml

    tree = fleet_file_tree(name, spec)
    text: str = yaml.safe_dump(tree, sort_keys=False, width=_WIDTH, allow_unicode=True)
    return text


def fleet_file_tree(name: str, spec: types.FleetSpec) -> dict[str, Any]:
    """The same as mappings and lists."""
    tree: dict[str, Any] = {NAME.path: name}
    for section in sorted(OPTIONAL_SECTIONS):
        if spec.HasField(section):  # type: ignore[arg-type]
            tree[section] = {}
    for one in FIELDS:
        if listed := LISTS.get(one.section):
            if not _place(tree, listed.name) and (items := listed.items(spec)):
                _put(tree, listed.name, [dict(_entry(listed.path, item)) for item in items])
        elif one.message_path and (one.section not in OPTIONAL_SECTIONS or one.section in tree):
            written = as_written(one, value_of(spec, one.message_path))
            if _is_said(one, written):
                _put(tree, one.path, written)
    return _ordered(tree)


def _is_said(one: Field, written: Any) -> bool:
    """Whether a file has to say it."""
    if one.path == "readiness.active":  # it follows from whether there is a console pattern
        return False
    if one.kind is Kind.CHOICE and not written:  # a word of a newer release
        return False
    return one.default is None or written != as_written(one, by_default(one))


def _entry(section: str, item: Any) -> Iterator[tuple[str, Any]]:
    """The fields of an entry of a list."""
    for one in FIELDS:
        if one.section == section:
            last = one.path.rpartition(".")[2]
            written = as_written(one, getattr(item, last))
            if _is_said(one, written):
                yield last, written


def _place(tree: dict[str, Any], path: str) -> Any:
    """What stands at the path; None: nothing."""
    place: Any = tree
    for name in path.split("."):
        place = place.get(name) if isinstance(place, dict) else None
    return place


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *sections, last = path.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[last] = value


def _ordered(tree: dict[str, Any]) -> dict[str, Any]:
    """In the order of the reference."""
    order = list(dict.fromkeys(one.path.split(".")[0].removesuffix("[]") for one in FIELDS))
    return {key: tree[key] for key in sorted(tree, key=order.index)}
