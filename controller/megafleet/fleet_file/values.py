"""One value of a fleet file: how it is written, and what the message holds for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from fleet.template.field import GIB, KIB, MIB, TIB, Field, Kind, allowed, shown, wrong_with
from fleet.v1 import types_pb2 as types

_SIZE_UNITS = {"KiB": KIB, "MiB": MIB, "GiB": GIB, "TiB": TIB}
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_RANGE = re.compile(r"([0-9]{1,16})-([0-9]{1,16})")
# So many digits that any number can be written as what it is.
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,20})?")


def given_value(one: Field, node: yaml.Node) -> Any:
    """Raises ValueError saying what is wrong and what is allowed."""
    if one.kind is Kind.LABELS:
        value: Any = _labels(one, node)
    elif one.kind is Kind.TEXTS:
        value = _texts(one, node)
    elif one.kind is Kind.VALUES:
        value = _values_by_index(one, node)
    elif not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"must be one value: {allowed(one)}")
    elif node.tag.endswith(":null"):
        raise ValueError(f"is empty; it must be {allowed(one)}")
    else:
        value = converted(one, node.value)
    if one.kind is Kind.TEXT and value == "" and one.default is not None:
        return value
    if problem := wrong_with(one, value):
        raise ValueError(problem)
    return value


def _labels(one: Field, node: yaml.Node) -> dict[str, str]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"must be 'label: value' lines, indented: {allowed(one)}")
    labels: dict[str, str] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or not isinstance(value, yaml.ScalarNode):
            raise ValueError(f"must be 'label: value' lines: {allowed(one)}")
        if key.value in labels:
            raise ValueError(f"holds {shown(key.value)} twice")
        labels[key.value] = value.value
    return labels


def _texts(one: Field, node: yaml.Node) -> list[str]:
    if not isinstance(node, yaml.SequenceNode):
        raise ValueError(f"must be a list: {allowed(one)}")
    if not all(isinstance(item, yaml.ScalarNode) for item in node.value):
        raise ValueError(f"must be a list of single values: {allowed(one)}")
    return [item.value for item in node.value]


def _values_by_index(one: Field, node: yaml.Node) -> dict[str, types.VmValues]:
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"must be 'name: [text, text]' lines, indented: {allowed(one)}")
    values: dict[str, types.VmValues] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"must be 'name: [text, text]' lines: {allowed(one)}")
        if key.value in values:
            raise ValueError(f"holds {shown(key.value)} twice")
        values[key.value] = _vm_values(one, key.value, value)
    return values


def _vm_values(one: Field, name: str, node: yaml.Node) -> types.VmValues:
    if isinstance(node, yaml.SequenceNode):
        return types.VmValues(texts=_texts(one, node))
    span = _RANGE.fullmatch(node.value) if isinstance(node, yaml.ScalarNode) else None
    if span is None:
        raise ValueError(f"{shown(name)} must be a list of texts, or a range such as 8000-8999")
    return types.VmValues(start=int(span[1]), stop=int(span[2]) + 1)


def by_default(one: Field) -> Any:
    """What the message holds where a file says nothing. The field has a default."""
    if one.kind in (Kind.LABELS, Kind.VALUES):
        return {}
    return [] if one.kind is Kind.TEXTS else converted(one, one.default or "")


def converted(one: Field, text: str) -> Any:
    """A value as the message holds it. Raises ValueError."""
    if one.kind is Kind.TEXT:
        return text
    if one.kind is Kind.SIZE:
        return _measure(one, text, _SIZE_UNITS, "KiB, MiB, GiB or TiB, such as 256MiB")
    if one.kind in (Kind.DURATION, Kind.SECONDS):
        return _measure(one, text, _DURATION_UNITS, "ms, s, m or h, such as 30s")
    if one.kind in (Kind.COUNT, Kind.RATE):
        number = _NUMBER.fullmatch(text)
        if not number or (one.kind is Kind.COUNT and number[1]):
            raise ValueError(f"must be a {one.kind}: {allowed(one)}; got {shown(text)}")
        return int(text) if one.kind is Kind.COUNT else float(text)
    choices: Mapping[str, Any] = one.choices or {"true": True, "false": False}
    if text == "" and one.kind is Kind.CHOICE and one.default == "":
        return 0
    if text not in choices:
        raise ValueError(f"must be {allowed(one)}; got {shown(text)}")
    return choices[text]


def _measure(one: Field, text: str, units: Mapping[str, float], words: str) -> float:
    """A number with its unit. Raises ValueError for another unit, or none."""
    if text == "0" and one.zero:
        return 0
    parts = re.fullmatch(r"(-?[0-9]{1,18}(?:\.[0-9]{1,20})?) ?([A-Za-z]+)", text)
    if not parts or parts[2] not in units:
        raise ValueError(f"must be a number with its unit, {words}; got {shown(text)}")
    value = float(parts[1]) * units[parts[2]]
    if one.kind is Kind.DURATION:
        return value
    if value != int(value):
        raise ValueError(f"must be {allowed(one)}; got {shown(text)}")
    return int(value)
