"""Sums of what many VMs use, as their hosts say: no number of one host spoils those of others."""

from __future__ import annotations

import math

from fleet.v1 import agent_pb2 as wire

# The fields of a sum, and the most that each can say.
_MOST = {
    field.name: {field.TYPE_UINT32: 2**32 - 1, field.TYPE_UINT64: 2**64 - 1}.get(field.type, 1e18)
    for field in wire.Usage.DESCRIPTOR.fields
}


def add_usage(total: wire.Usage, more: wire.Usage) -> None:
    """What is no number, or below none, adds nothing."""
    for field, most in _MOST.items():
        value = getattr(more, field)
        if value > 0 and math.isfinite(value):
            setattr(total, field, min(getattr(total, field) + value, most))
