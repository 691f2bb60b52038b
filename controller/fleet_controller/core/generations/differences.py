"""Two specs of a fleet against one another, field by field, as a fleet file writes them."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from fleet.spec import held
from fleet.template.field import Field
from fleet.template.settings import is_setting
from fleet.template.writing import as_written
from fleet.v1 import types_pb2 as types

# Characters of a value that are told.
_SHOWN = 160


class Difference(msgspec.Struct, frozen=True):
    """A field that is otherwise. `field`: as in `disks[0].target`; an empty text: it is not there,
    or has nothing in it."""

    field: str
    before: str
    after: str
    setting: bool = False


def differences(before: types.FleetSpec | None, after: types.FleetSpec) -> list[Difference]:
    """In the order of the fleet file. None: there was nothing."""
    if before == after:
        return []
    was = _written(before) if before is not None else {}
    is_now = _written(after)
    found = []
    for path in dict.fromkeys([*is_now, *was]):
        field = (is_now.get(path) or was[path])[0]
        old, new = (side[path][1] if path in side else "" for side in (was, is_now))
        told = field.default is None or old not in _NOTHING or new not in _NOTHING
        if old != new and told:
            setting = is_setting(field)
            found.append(Difference(path, _in_a_line(old), _in_a_line(new), setting))
    return found


# What stands for nothing where a section was not there, or is not there any more.
_NOTHING: tuple[Any, ...] = ("", "0", 0, False, [], {})


def _written(spec: types.FleetSpec) -> dict[str, tuple[Field, Any]]:
    return {path: (one, as_written(one, value)) for one, path, value in held(spec)}


def _in_a_line(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return _cut(", ".join(value))
    if isinstance(value, dict):
        return _cut(", ".join(f"{key}={_in_a_line(one)}" for key, one in value.items()))
    return _cut(str(value))


def _cut(text: str) -> str:
    """What is cut is told apart by its digest."""
    if len(text) <= _SHOWN and text.isprintable():
        return text
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
    start = "".join(one if one.isprintable() else " " for one in text[: _SHOWN // 2])
    return f"{start}... ({len(text):,} characters, sha256 {digest})"
