"""The term that an agent has heard, as its refusal of a lower one says it: with the seal that
proves it."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError

from fleet.v1 import types_pb2 as types

_HEARD = "heard"


def term_metadata(term: types.Term) -> dict[str, str]:
    """What goes into the refusal's ErrorDetail."""
    return {_HEARD: term.SerializeToString().hex()}


def term_heard(metadata: Mapping[str, str]) -> types.Term:
    """From there; an empty term where there is none, or none that makes sense."""
    try:
        return types.Term.FromString(bytes.fromhex(metadata.get(_HEARD, "")[:200]))
    except (ValueError, DecodeError):
        return types.Term()
