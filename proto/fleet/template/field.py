"""One field of a fleet's template: how it is written, what it may hold, what is wrong with a value.

Values here are those of the message: bytes, seconds, enum numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fleet.labels import label_problem
from fleet.template.identity_fields import values_problem
from fleet.v1 import types_pb2 as types

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40


class Kind(StrEnum):
    """How a field is written and compared."""

    TEXT = "text"
    SIZE = "size"
    COUNT = "whole number"
    RATE = "number"
    DURATION = "duration"
    SECONDS = "duration of whole seconds"
    FLAG = "true or false"
    CHOICE = "choice"
    LABELS = "labels"
    TEXTS = "list of texts"
    VALUES = "values by index"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the fleet file and of FleetSpec.

    `path` begins with its section; a section that ends in [] is a list (LISTS). `default` is as
    written in a file; None: the field is required. `holds` names the field of the message where
    it is called otherwise; empty: not a part of FleetSpec.
    """

    path: str
    kind: Kind
    says: str
    default: str | None
    holds: str | None = None
    low: float = 0
    high: float = math.inf
    step: int = 1
    zero: str = ""  # what 0 stands for, where it is allowed below `low`
    pattern: re.Pattern[str] | None = None
    words: str = ""  # what the pattern allows, for people
    choices: Mapping[str, int] = field(default_factory=dict)
    check: Callable[[str], str | None] | None = None  # what is wrong with a text, or None

    @property
    def message_path(self) -> str:
        return self.path if self.holds is None else self.holds

    @property
    def section(self) -> str:
        """The section it stands in; empty at the top."""
        return self.path.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Listed:
    """A section that stands any number of times: in a file as a list, in FleetSpec repeated."""

    path: str  # ends in "[]", as the start of its fields' paths does
    holds: str  # the field of the message, below its sections
    most: int

    @property
    def name(self) -> str:
        return self.path.removesuffix("[]")

    def items(self, spec: types.FleetSpec) -> Any:
        """The repeated field of a spec."""
        return value_of(spec, self.holds)


def value_of(spec: types.FleetSpec, path: str) -> Any:
    """What stands at this path of the message."""
    value: Any = spec
    for name in path.split("."):
        value = getattr(value, name)
    return value


def allowed(one: Field) -> str:
    """What a field may hold, in words, as the fleet file writes it."""
    if one.choices:
        return " or ".join(one.choices)
    if one.words:
        return one.words
    if one.kind is Kind.FLAG:
        return "true or false"
    bounds = f"{written(one, one.low)} to {written(one, one.high)}"
    steps = f", in whole {written(one, one.step)[1:]}" if one.step > 1 else ""
    return f"{bounds}{steps}{f', or 0: {one.zero}' if one.zero else ''}"


def written(one: Field, value: float) -> str:
    """A number as the fleet file writes it: 256MiB, 30s, 250."""
    if one.kind is Kind.SIZE:
        for unit, name in ((TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
            if value and value % unit == 0:
                return f"{int(value // unit)}{name}"
        return f"{int(value)} bytes"
    return f"{value:.15g}{'s' if one.kind in (Kind.DURATION, Kind.SECONDS) else ''}"


def wrong_with(one: Field, value: Any) -> str | None:
    """What is wrong with a value of the message, and what is allowed; None when it is good."""
    if one.kind is Kind.LABELS:
        return _wrong_labels(one, value)
    if one.kind is Kind.TEXT:
        return _wrong_text(one, value)
    if one.kind is Kind.TEXTS:
        return _wrong_texts(one, value)
    if one.kind is Kind.VALUES:
        return values_problem(value)
    if one.kind is Kind.CHOICE:
        good = value in one.choices.values() or (value == 0 and one.default == "")
        return None if good else f"must be {allowed(one)}"
    if one.kind is Kind.FLAG or (one.zero and value == 0):
        return None
    good = one.low <= value <= one.high and (one.step == 1 or value % one.step == 0)
    return None if good else f"must be {allowed(one)}; got {written(one, value)}"


def _wrong_text(one: Field, text: str) -> str | None:
    if one.pattern and not one.pattern.fullmatch(text):
        return f"must be {one.words}; got {shown(text)}"
    return one.check(text) if one.check and text else None


def _wrong_texts(one: Field, texts: Sequence[str]) -> str | None:
    if len(texts) > one.high:
        return f"must be {one.words}; got {len(texts)}"
    return next((wrong for text in texts if (wrong := _wrong_text(one, text))), None)


def _wrong_labels(one: Field, labels: Mapping[str, str]) -> str | None:
    if len(labels) > one.high:
        return f"must be {one.words}; got {len(labels)}"
    for key, value in labels.items():
        if problem := label_problem(key, value):
            return problem
    return None


def shown(text: str, limit: int = 60) -> str:
    """A text from outside, quoted, escaped and cut, so that it is safe to print."""
    return ascii(text if len(text) <= limit else text[:limit] + "...")
