"""Reads a fleet file: YAML, strictly, every mistake with its line and what is allowed.

What a field may hold stands in fleet.template.fields; here is only how it is written. The file is
walked as a tree of nodes, not as Python values: nodes know their lines, repeated keys are still
there, and nothing is guessed from how a value looks.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fleet.spec import check_spec
from fleet.template.boot_ways import BootWay
from fleet.template.field import Field, Kind, Listed, allowed, shown
from fleet.template.fields import FIELDS, LISTS, NAME, OPTIONAL_SECTIONS
from fleet.v1 import types_pb2 as types
from megafleet.fleet_file.documents import MAX_FLEETS, FleetFileError, Mistake, documents
from megafleet.fleet_file.user_data_file import read_user_data
from megafleet.fleet_file.values import by_default, given_value

_SECTIONS = {one.section for one in FIELDS if one.section} - LISTS.keys()
_LISTS = {one.name: one for one in LISTS.values()}
_USER_DATA, _USER_DATA_FILE = "identity.user_data", "identity.user_data_file"
_BY_PATH = {one.path: one for one in FIELDS}
# Words that are kept free for what is not there yet.
_NETWORK_LATER = "comes later: networks across hosts; until then give bridge, one of each host"
_LATER = {"network.name": _NETWORK_LATER, "networks[].name": _NETWORK_LATER}


@dataclass(frozen=True, slots=True)
class ParsedFleet:
    """What a fleet file says: the fleet's name and its template, with all defaults in it."""

    name: str
    spec: types.FleetSpec


@dataclass(frozen=True, slots=True)
class _Given:
    """A field as it stands in the file."""

    line: int
    node: yaml.Node


def parse_fleet_file(text: str, filename: str, folder: Path | None = None) -> ParsedFleet:
    """The one fleet in a file's text. `folder`: where files that it names begin; None: it may name
    none. Raises FleetFileError."""
    return parse_fleets(text, filename, folder, most=1)[0]


def parse_fleets(
    text: str, filename: str, folder: Path | None = None, *, most: int = MAX_FLEETS
) -> list[ParsedFleet]:
    """All of them: a fleet a document, with `---` between two. One at least. Raises
    FleetFileError, with the mistakes of all of them."""
    fleets: list[ParsedFleet] = []
    mistakes: list[Mistake] = []
    lines: dict[str, int] = {}
    for number, root in enumerate(documents(text, filename, most)):
        line = root.start_mark.line + 1 if number else 1
        try:
            fleet = _parsed(root, line, filename, folder)
        except FleetFileError as error:
            mistakes += error.mistakes
            continue
        if fleet.name in lines:
            problem = f"{fleet.name} stands in line {lines[fleet.name]} already"
            mistakes.append(Mistake(line, NAME.path, problem))
        lines.setdefault(fleet.name, line)
        fleets.append(fleet)
    if mistakes:
        raise FleetFileError(filename, mistakes)
    return fleets


def _parsed(root: yaml.MappingNode, line: int, filename: str, folder: Path | None) -> ParsedFleet:
    """Raises FleetFileError."""
    mistakes: list[Mistake] = []
    given: dict[str, _Given] = {}
    sections = {"": line}
    _collect(root, "", given, sections, mistakes)
    values = dict(_values(given, sections, mistakes))
    if _USER_DATA_FILE in given and not mistakes:
        _take_user_data(values, given, folder, mistakes)
    if mistakes:
        raise FleetFileError(filename, mistakes)
    if not any(values[way] for way in BootWay):
        values[BootWay.FIRMWARE] = types.FIRMWARE_BIOS  # what an ordinary image is made for
    spec = _spec(values, sections)
    if problems := check_spec(spec):
        lines = {**sections, **{path: one.line for path, one in given.items()}}
        raise FleetFileError(filename, [_placed(problem, lines) for problem in problems])
    return ParsedFleet(values[NAME.path], spec)


def _placed(problem: str, lines: Mapping[str, int]) -> Mistake:
    """In the line of the field that its sentence begins with, or of the section it is in."""
    path = problem.partition(": ")[0]
    while path not in lines:
        path = path.rpartition(".")[0]
    return Mistake(lines[path], "", problem)


def _collect(
    mapping: yaml.MappingNode,
    section: str,
    given: dict[str, _Given],
    sections: dict[str, int],
    mistakes: list[Mistake],
) -> None:
    """The fields and sections of a mapping; what has no business there is a mistake."""
    for key, value in mapping.value:
        line = key.start_mark.line + 1
        name = _key(key)
        path = f"{section}.{name}" if section else name
        if path in given or path in sections:
            mistakes.append(Mistake(line, path, "stands here for the second time"))
        elif path in _SECTIONS:
            sections[path] = line
            if isinstance(value, yaml.MappingNode):
                _collect(value, path, given, sections, mistakes)
            else:
                mistakes.append(Mistake(line, path, f"must hold {_names(path)}, indented"))
        elif path in _LISTS:
            sections[path] = line
            _collect_list(value, _LISTS[path], given, sections, mistakes)
        elif _in_table(path) in _BY_PATH:
            given[path] = _Given(line, value)
        else:
            later = _LATER.get(_in_table(path))
            mistakes.append(Mistake(line, path, later or _unknown(name, section)))


def _collect_list(
    node: yaml.Node,
    listed: Listed,
    given: dict[str, _Given],
    sections: dict[str, int],
    mistakes: list[Mistake],
) -> None:
    """The fields of each entry, as in `disks[0].target`, and each entry as a section."""
    line = sections[listed.name]
    if not isinstance(node, yaml.SequenceNode):
        problem = f"must be a list; an entry begins with '- ' and holds {_names(listed.path)}"
        mistakes.append(Mistake(line, listed.name, problem))
        return
    if len(node.value) > listed.most:
        problem = f"must be at most {listed.most}; got {len(node.value)}"
        mistakes.append(Mistake(line, listed.name, problem))
    for number, entry in enumerate(node.value[: listed.most]):
        section, line = f"{listed.name}[{number}]", entry.start_mark.line + 1
        if isinstance(entry, yaml.MappingNode):
            sections[section] = line
            _collect(entry, section, given, sections, mistakes)
        else:
            mistakes.append(Mistake(line, section, f"must hold {_names(listed.path)}"))


def _in_table(path: str) -> str:
    """The path in FIELDS of `disks[0].target`: that of all entries' targets."""
    return re.sub(r"\[\d+\]", "[]", path)


def _key(key: yaml.Node) -> str:
    """A key as it may be shown: what is no plain word is quoted."""
    word = key.value if isinstance(key, yaml.ScalarNode) else "a list or mapping"
    return word if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", word) else shown(word)


def _names(section: str) -> str:
    return ", ".join(_keys(section))


def _keys(section: str) -> list[str]:
    """What may stand in a section, in the order of the reference."""
    prefix = f"{_in_table(section)}." if section else ""
    below = (one.path.removeprefix(prefix) for one in FIELDS if one.path.startswith(prefix))
    return list(dict.fromkeys(path.split(".")[0].removesuffix("[]") for path in below))


def _unknown(name: str, section: str) -> str:
    keys = _keys(section)
    near = difflib.get_close_matches(name, keys, 1)
    near += [key for key in keys if key.startswith(f"{name}_")]
    elsewhere = [one.path for one in FIELDS if one.path.rpartition(".")[2] == name]
    hint = f"did you mean {(near or elsewhere)[0]}? " if near or elsewhere else ""
    return f"no such field; {hint}here may stand {', '.join(keys)}"


def _values(
    given: Mapping[str, _Given], sections: Mapping[str, int], mistakes: list[Mistake]
) -> Iterator[tuple[str, Any]]:
    """Every field's path with its value, given or by default."""
    for one, path in _expected(sections):
        found = given.get(path)
        try:
            if found is not None:
                yield path, given_value(one, found.node)
            elif one.default is not None:
                if path == "readiness.active" and "readiness.console" in given:
                    continue
                yield path, by_default(one)
            else:
                raise ValueError(f"is missing; it must be {allowed(one)}")
        except ValueError as error:
            line = found.line if found else sections.get(path.rpartition(".")[0], sections[""])
            mistakes.append(Mistake(line, path, str(error)))
    if "readiness.active" in given and "readiness.console" in given:
        line = given["readiness.console"].line
        mistakes.append(Mistake(line, "readiness", "has both active and console; give one"))


def _take_user_data(
    values: dict[str, Any],
    given: Mapping[str, _Given],
    folder: Path | None,
    mistakes: list[Mistake],
) -> None:
    """The user data from the file that is named."""
    line, path = given[_USER_DATA_FILE].line, values[_USER_DATA_FILE]
    if not path:
        return
    if _USER_DATA in given:
        problem = "has both user_data and user_data_file; give one"
        mistakes.append(Mistake(line, "identity", problem))
    elif folder is None:
        problem = "begins at the fleet file's folder, and this one comes from stdin"
        mistakes.append(Mistake(line, _USER_DATA_FILE, problem))
    else:
        try:
            values[_USER_DATA] = read_user_data(folder, path)
        except ValueError as error:
            mistakes.append(Mistake(line, _USER_DATA_FILE, str(error)))


def _expected(sections: Mapping[str, int]) -> Iterator[tuple[Field, str]]:
    """Each field with its path, once for every place where it may stand in this file."""
    for one in FIELDS:
        if listed := LISTS.get(one.section):
            for entry in _entries(listed, sections):
                yield one, one.path.replace(listed.path, entry)
        elif one.section not in OPTIONAL_SECTIONS or one.section in sections:
            yield one, one.path


def _entries(listed: Listed, sections: Iterable[str]) -> list[str]:
    """The sections that are entries of the list, in its order."""
    return [section for section in sections if section.startswith(f"{listed.name}[")]


def _spec(values: Mapping[str, Any], sections: Iterable[str]) -> types.FleetSpec:
    spec = types.FleetSpec()
    for name in ("image", "boot", "disk", "readiness", "admission", "placement"):
        getattr(spec, name).SetInParent()
    for name in OPTIONAL_SECTIONS:
        if name in sections:
            getattr(spec, name).SetInParent()
    for one in FIELDS:
        value = values.get(one.path)
        if not one.message_path or value is None or (one.section == "readiness" and not value):
            continue
        *outer, last = one.message_path.split(".")
        section: Any = spec
        for name in outer:
            section = getattr(section, name)
        _put(section, last, one.kind, value)
    for listed in LISTS.values():
        for entry in _entries(listed, sections):
            item = listed.items(spec).add()
            for one in FIELDS:
                if one.section == listed.path:
                    last = one.path.rpartition(".")[2]
                    _put(item, last, one.kind, values[f"{entry}.{last}"])
    return spec


def _put(section: Any, name: str, kind: Kind, value: Any) -> None:
    if kind is Kind.LABELS:
        getattr(section, name).update(value)
    elif kind is Kind.TEXTS:
        getattr(section, name).extend(value)
    elif kind is Kind.VALUES:
        for key, one in value.items():
            getattr(section, name)[key].CopyFrom(one)
    else:
        setattr(section, name, value)
