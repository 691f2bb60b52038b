"""Messages that are valid, and then not quite: made from the project's own descriptors, so that a
new field is fuzzed from its first day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_F = FieldDescriptor
_SIGNED = {_F.TYPE_INT32: 31, _F.TYPE_SINT32: 31, _F.TYPE_SFIXED32: 31, _F.TYPE_INT64: 63,
           _F.TYPE_SINT64: 63, _F.TYPE_SFIXED64: 63}  # fmt: skip
_UNSIGNED = {_F.TYPE_UINT32: 32, _F.TYPE_FIXED32: 32, _F.TYPE_UINT64: 64, _F.TYPE_FIXED64: 64}
_ODD_FLOATS = (float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7e308, -1.0)
_ODD_TEXTS = (
    "", "\0", "a" * 256, "../../etc/passwd", "%s%n{0}{name}", "-1", "\x1b[2J\nh1 lost", "\u202e",
    "h\N{COMBINING ACUTE ACCENT}" * 40, "[::1]:0", "0.0.0.0:0", "$(reboot)", "a/b/c", "*", "(a*)*b",
)  # fmt: skip
DEEPEST = 6
_PYTHON = {
    _F.CPPTYPE_INT32: int, _F.CPPTYPE_INT64: int, _F.CPPTYPE_UINT32: int, _F.CPPTYPE_UINT64: int,
    _F.CPPTYPE_DOUBLE: float, _F.CPPTYPE_FLOAT: float, _F.CPPTYPE_STRING: str,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Names:
    """What exists, by the end of a field's name: such values lead further than drawn ones."""

    known: Mapping[str, Sequence[Any]]

    def of(self, field: FieldDescriptor) -> Sequence[Any]:
        kind = _PYTHON.get(field.cpp_type)
        known = next((v for end, v in self.known.items() if field.name.endswith(end)), ())
        return [value for value in known if type(value) is kind]


class Mutations:
    """Everything follows from `random`."""

    def __init__(self, random: Random, names: Names) -> None:
        self.random = random
        self._names = names

    def message(self, kind: Descriptor, depth: int = 0) -> Message:
        """One of a kind; most of its values are of what exists, few are extreme."""
        made = GetMessageClass(kind)()
        for field in kind.fields:
            if self.random.random() < 0.6 and (depth < DEEPEST or field.message_type is None):
                self._fill(made, field, depth)
        return made

    def wire(self, message: Message) -> bytes:
        """As it goes over the wire; of every few the bytes are not what they should be."""
        data = message.SerializePartialToString()
        return self.bytes_of(data) if self.random.random() < 0.2 else data

    def bytes_of(self, data: bytes) -> bytes:
        """Some bytes of others: cut, flipped, doubled, no UTF-8, unknown fields."""
        random = self.random
        for _ in range(random.choice((1, 1, 2, 8))):
            at = random.randrange(len(data) + 1)
            part = data[at : at + random.randrange(1, 9)]
            how = random.randrange(8)
            if how == 0:
                data = data[:at]
            elif how == 1:
                data = data[:at] + random.randbytes(len(part)) + data[at + len(part) :]
            elif how == 2:
                data = data[:at] + part * random.choice((2, 3, 100)) + data[at:]
            elif how == 3:
                data = data[:at] + b"\xff\xfe\xc0" + data[at + 3 :]
            elif how == 4:
                data += b"\xfa\xff\x07" + bytes((random.randrange(128),)) + b"\0" * 9
            elif how == 5:
                data = data[:at] + random.choice((b"\xff" * 9 + b"\1", b"\x80" * 11)) + data[at:]
            elif how == 6:
                data = data[:at] + data[at + len(part) :]
            else:
                data = data[:at] + random.choice(_TOKENS) + data[at:]
        return data

    def _fill(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entries = getattr(made, field.name)
            for _ in range(self._count()):
                key = self._value(field.message_type.fields_by_name["key"], depth)
                value = field.message_type.fields_by_name["value"]
                if value.message_type is None:
                    entries[key] = self._value(value, depth)
        elif field.is_repeated:
            several = getattr(made, field.name)
            if field.message_type is not None:
                several.extend(
                    self.message(field.message_type, depth + 1) for _ in range(self._count())
                )
            else:
                several.extend(self._value(field, depth) for _ in range(self._count()))
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(self.message(field.message_type, depth + 1))
        else:
            setattr(made, field.name, self._value(field, depth))

    def _count(self) -> int:
        return self.random.choice((0, 1, 1, 1, 2, 3)) if self.random.random() < 0.98 else 400

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        random, known = self.random, self._names.of(field)
        if known and random.random() < 0.7:
            return random.choice(known)
        if field.type in _SIGNED:
            bits = _SIGNED[field.type]
            return random.choice((0, 1, -1, 2**bits - 1, -(2**bits), random.randrange(1000)))
        if field.type in _UNSIGNED:
            bits = _UNSIGNED[field.type]
            return random.choice((0, 1, 5, 2**bits - 1, 2 ** (bits - 1), random.randrange(1000)))
        if field.type in (_F.TYPE_DOUBLE, _F.TYPE_FLOAT):
            return random.choice((*_ODD_FLOATS, 0.5, 1.0, random.random() * 100))
        if field.type == _F.TYPE_BOOL:
            return random.random() < 0.5
        if field.type == _F.TYPE_ENUM:
            assert field.enum_type is not None
            numbers = [value.number for value in field.enum_type.values]
            return random.choice((*numbers, 2**31 - 1, -1, 99))
        if field.type == _F.TYPE_BYTES:
            return random.randbytes(random.choice((0, 1, 16, 300)))
        return self._text()

    def _text(self) -> str:
        random = self.random
        if random.random() < 0.02:
            return "x" * random.choice((4_000, 70_000))
        return random.choice(_ODD_TEXTS)


_TOKENS = (
    b"\0", b"{", b"}}", b"[[", b'"', b"\n", b": ", b"- ", b"&a *a", b"!!python/object:os.system ",
    b"1e999", b"NaN", b"-1", b"4294967295",
    b"18446744073709551616", b"\\ud800", b"null", b"\xc3\x28",
)  # fmt: skip
