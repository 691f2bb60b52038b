"""A document of one long list, written part by part: it is never in memory as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fleetctl.tables.formats import JSON, YAML


class DocumentStream(Protocol):
    """Texts that make one document when they are printed one after the other."""

    def begin(self, before: Mapping[str, Any], name: str) -> str:
        """What stands before the list, and its name."""

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> str:
        """Further rows of the list, one at least: of the same keys, without mappings in them."""

    def end(self, after: Mapping[str, Any]) -> str:
        """What stands behind the list."""


def document_stream(output: str) -> DocumentStream | None:
    """None: this format is not written in parts."""
    if output == JSON:
        return JsonStream()
    return YamlStream() if output == YAML else None


class JsonStream:
    """A row a line."""

    def __init__(self) -> None:
        self._before_row = "    "

    def begin(self, before: Mapping[str, Any], name: str) -> str:
        return f"{{\n  {_inner(before)},\n  {json.dumps(name)}: ["

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> str:
        # All at once, since a call for each row costs as much as the row. Between two rows stands
        # what can stand nowhere else: within a text the quotes would be escaped.
        first = json.dumps(next(iter(rows[0])))
        text = json.dumps(rows)[1:-1].replace(f"}}, {{{first}: ", f"}},\n    {{{first}: ")
        text, self._before_row = self._before_row + text, "   ,"
        return text

    def end(self, after: Mapping[str, Any]) -> str:
        return f"  ],\n  {_inner(after)}\n}}"


class YamlStream:
    def __init__(self) -> None:
        self._name = ""

    def begin(self, before: Mapping[str, Any], name: str) -> str:
        self._name = name
        return yaml_text(before)

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> str:
        text, self._name = f"{self._name}:\n" if self._name else "", ""
        return text + yaml_text(rows)

    def end(self, after: Mapping[str, Any]) -> str:
        return (f"{self._name}: []\n" if self._name else "") + yaml_text(after)


def yaml_text(value: Any) -> str:
    """By LibYAML, which takes a third of the time, where PyYAML was built with it."""
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return text.rstrip("\n")


def _inner(value: Mapping[str, Any]) -> str:
    return json.dumps(value)[1:-1]
