"""Messages in which every text, however deep, is a given one: made by reflection, so that a field
that is added later is filled as well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from fleet.v1 import cluster_pb2 as cluster

# A line's end, a carriage's return, a window's title, a cleared screen, text that is read from
# right to left, a line's end of Unicode's, and CSI as one character.
NASTY = ("a\nb", "a\rb", "a\x1b]0;b\x07", "a\x1b[2Jb", "a\u202eb", "a\u2028b", "a\x9b2Jb", "a\tb")

M = TypeVar("M", bound=Message)
MESSAGE, STRING = FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING
# No message of ours holds itself; a path that is longer is a mistake.
_DEEPEST = 8


def answers() -> dict[str, Descriptor]:
    """Each answer of ClusterService by its method."""
    service = cluster.DESCRIPTOR.services_by_name["ClusterService"]
    return {method.name: method.output_type for method in service.methods}


def filled(descriptor: Descriptor, text: str, depth: int = 0) -> Any:
    """One entry in each list and map; numbers are absent."""
    assert depth < _DEEPEST
    message: Any = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        _fill(message, field, text, depth)
    return message


def _fill(message: Any, field: FieldDescriptor, text: str, depth: int) -> None:
    value = getattr(message, field.name)
    if field.type == STRING:
        if hasattr(value, "append"):
            value.append(text)
        elif field.containing_oneof is None or not message.WhichOneof(field.containing_oneof.name):
            setattr(message, field.name, text)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, kept = field.message_type.fields_by_name["key"], field.message_type.fields[1]
        if key.type == STRING and kept.type == STRING:
            value[text] = text
    elif field.message_type is not None:
        made = filled(field.message_type, text, depth + 1)
        if hasattr(value, "add"):
            value.add().CopyFrom(made)
        elif field.containing_oneof is None or not message.WhichOneof(field.containing_oneof.name):
            value.CopyFrom(made)


def texts(message: Message) -> Iterator[tuple[str, str]]:
    """Every text in it by its field, keys of maps too."""
    for field, value in message.ListFields():
        name = f"{message.DESCRIPTOR.name}.{field.name}"
        if field.type == STRING:
            yield from ((name, one) for one in ([value] if isinstance(value, str) else value))
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key, kept in value.items():
                yield from ((name, one) for one in (key, kept) if isinstance(one, str))
        elif field.type == MESSAGE:
            for one in [value] if isinstance(value, Message) else value:
                yield from texts(one)
