"""What a cluster says, made safe to show: done once, where answers arrive.

Hosts, guests, the store and names of files speak in these messages. A newline in any of them would
forge a line of a table, an escape sequence would steer the terminal. Texts that are shown to people
therefore come without either; JSON has them as they are, escaped as JSON escapes.
"""

from __future__ import annotations

from collections.abc import MutableMapping, MutableSequence
from functools import cache
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from fleetctl.outcome import one_line, printable

A = TypeVar("A")

# Fields that are several lines to copy into a file: each is shown indented by itself.
_SEVERAL_LINES = frozenset({"change"})


def plain(answer: A) -> A:
    """The same message, in which every text is one line of printable characters, and lines to copy
    are several. It is changed in place. Bytes stay: they are content, not words."""
    if isinstance(answer, Message):
        _plain(answer)
    return answer


def _plain(message: Message) -> None:
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_STRING:
            _plain_text(message, field.name, value)
        elif field.message_type is None or not _has_texts(field.message_type):
            continue  # a list has a million rows of numbers
        elif isinstance(value, Message):
            _plain(value)
        elif isinstance(value, MutableMapping):
            _plain_map(value)
        else:
            for one in value:
                _plain(one)


@cache
def _has_texts(kind: Descriptor) -> bool:
    """Whether messages of this kind, or those within them, may have texts."""
    return _reaches_texts(kind, frozenset())


def _reaches_texts(kind: Descriptor, above: frozenset[str]) -> bool:
    seen = above | {kind.full_name}
    return any(
        field.type == FieldDescriptor.TYPE_STRING
        or (
            field.message_type is not None
            and field.message_type.full_name not in seen
            and _reaches_texts(field.message_type, seen)
        )
        for field in kind.fields
    )


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


def _plain_map(entries: MutableMapping[Any, Any]) -> None:
    """Maps of the protocol have texts or numbers as values, or messages under printable keys."""
    for key, value in list(entries.items()):
        if isinstance(value, Message):
            _plain(value)
        elif isinstance(value, str) and not (value.isprintable() and key.isprintable()):
            del entries[key]
            entries[one_line(key)] = one_line(value)
