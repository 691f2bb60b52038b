"""The bytes of an assignment that its seal is made over: leaders and agents derive them alike."""

from __future__ import annotations

from fleet.v1 import types_pb2 as types


def assignment_bytes(assignment: types.Assignment) -> bytes:
    """Equal for equal assignments; what a party does not know of it is kept in them."""
    return assignment.SerializeToString(deterministic=True)
