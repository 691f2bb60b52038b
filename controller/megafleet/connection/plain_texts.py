"""What a cluster says, made safe to show: done once, where answers arrive.

Hosts, guests, the store and names of files speak in these messages. A newline in any of them would
forge a line of a table, an escape sequence would steer the terminal. Texts that are shown to people
therefore come without either; JSON has them as they are, escaped as JSON escapes.
"""

from __future__ import annotations

import math
from collections.abc import MutableMapping, MutableSequence
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from megafleet.texts import one_line, printable

A = TypeVar("A")
_NUMBERS = frozenset({FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT})
_TEXTS_AND_NUMBERS = _NUMBERS | {FieldDescriptor.TYPE_STRING}

# Fields that are several lines to copy into a file: each is shown indented by itself.
_SEVERAL_LINES = frozenset({"change"})


def plain(answer: A, *, texts: bool = True) -> A:
    """The same message, in which every text is one line of printable characters, and lines to copy
    are several; and fractions that are no numbers are 0: JSON has none such, and nothing can be
    said of them. It is changed in place. Bytes stay: they are content, not words. `texts`: whether
    these are changed."""
    if isinstance(answer, Message):
        _plain(answer, _TEXTS_AND_NUMBERS if texts else _NUMBERS)
    return answer


def _plain(message: Message, kinds: frozenset[int]) -> None:
    for field, value in message.ListFields():
        if field.message_type is None:
            if field.type in kinds:
                _plain_value(message, field, value)
        elif not _reaches(field.message_type, kinds):
            continue  # a list has a million rows of numbers
        elif isinstance(value, Message):
            _plain(value, kinds)
        elif isinstance(value, MutableMapping):
            _plain_map(value, kinds)
        else:
            for one in value:
                _plain(one, kinds)


@cache
def _reaches(kind: Descriptor, kinds: frozenset[int]) -> bool:
    """Whether messages of this kind, or those within them, may have fields of these."""
    return _reaches_below(kind, kinds, frozenset())


def _reaches_below(kind: Descriptor, kinds: frozenset[int], above: frozenset[str]) -> bool:
    seen = above | {kind.full_name}
    return any(
        field.type in kinds
        or (
            field.message_type is not None
            and field.message_type.full_name not in seen
            and _reaches_below(field.message_type, kinds, seen)
        )
        for field in kind.fields
    )


def _plain_value(message: Message, field: FieldDescriptor, value: Any) -> None:
    if field.type == FieldDescriptor.TYPE_STRING:
        _plain_text(message, field.name, value)
    elif not math.isfinite(value):
        setattr(message, field.name, 0.0)


def _plain_text(message: Message, name: str, value: Any) -> None:
    if isinstance(value, str):
        if not value.isprintable():
            setattr(message, name, _shown(name, value))
    else:
        _plain_list(value)


def _shown(name: str, text: str) -> str:
    return printable(text) if name in _SEVERAL_LINES else one_line(text)


def _plain_list(texts: MutableSequence[str]) -> None:
    for at, text in enumerate(texts):
        if not text.isprintable():
            texts[at] = one_line(text)


def _plain_map(entries: MutableMapping[Any, Any], kinds: frozenset[int]) -> None:
    """Maps of the protocol have texts or whole numbers as values, or messages under printable
    keys."""
    for key, value in list(entries.items()):
        if isinstance(value, Message):
            _plain(value, kinds)
        elif (
            FieldDescriptor.TYPE_STRING in kinds
            and isinstance(value, str)
            and not (value.isprintable() and key.isprintable())
        ):
            del entries[key]
            entries[one_line(key)] = one_line(value)
