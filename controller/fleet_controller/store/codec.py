"""Records to bytes and back: JSON, so that an operator can read them with etcdctl.

Unknown fields are ignored: a record written by a newer controller can be read.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from google.protobuf import json_format

from fleet.ranges import IndexSet
from fleet.spec import check_numbers
from fleet.v1 import types_pb2 as types

Record = TypeVar("Record", bound=msgspec.Struct)


class BrokenRecord(Exception):
    """A stored value cannot be understood; the message names the key."""


def encode(record: msgspec.Struct) -> bytes:
    return msgspec.json.encode(record, enc_hook=_plain)


def decode(kind: type[Record], key: str, value: bytes) -> Record:
    """Raises BrokenRecord."""
    try:
        return msgspec.json.decode(value, type=kind, dec_hook=_rich)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
        raise BrokenRecord(f"the store's key {key} cannot be understood: {error}") from error


def encode_spec(spec: types.FleetSpec) -> bytes:
    return json_format.MessageToJson(
        spec, preserving_proto_field_name=True, indent=None, sort_keys=True
    ).encode()


def decode_spec(key: str, value: bytes) -> types.FleetSpec:
    """Raises BrokenRecord."""
    try:
        spec = json_format.Parse(value, types.FleetSpec(), ignore_unknown_fields=True)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise BrokenRecord(f"the store's key {key} cannot be understood: {error}") from error
    if wrong := check_numbers(spec):
        raise BrokenRecord(f"the store's key {key} cannot be carried out: {wrong[0]}")
    return spec


def _plain(value: Any) -> Any:
    if isinstance(value, IndexSet):
        return value.ranges
    raise TypeError(f"not a stored type: {type(value)}")


def _rich(kind: type, value: Any) -> Any:
    if kind is IndexSet:
        return IndexSet((start, stop) for start, stop in value)
    raise TypeError(f"not a stored type: {kind}")
