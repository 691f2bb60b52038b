"""Tombstones that this host has acknowledged, remembered for what comes about after that.

What an agent has asked of libvirt or of ZFS may be done when that agent is dead: a domain that its
successor, which looked before, has not seen, and a clone as well. The successor has said that
nothing is left, and the leader has forgotten the tombstone. What lands then is named by it all
the same: a birth that a host has let go is never given to it again.
"""

from __future__ import annotations

from fleet.v1 import types_pb2 as types

# Whatever was under way ends within minutes; so many tombstones are hours of much change.
MOST = 64


def past_tombstones(
    past: types.Assignment, before: types.Assignment, after: types.Assignment
) -> types.Assignment:
    """The tombstones of `past` and of `before` that `after` has no more, the newest MOST, with the
    identities of their fleets and nothing else.

    All of one store generation: the leader takes a tombstone away once it is acknowledged.
    """
    present = {stone.id for stone in after.tombstones}
    known = {stone.id: stone for one in (past, before) for stone in one.tombstones}
    kept = [known[number] for number in sorted(known.keys() - present)][-MOST:]
    identities = {fleet.uid: fleet for one in (past, before) for fleet in one.fleets}
    uids = sorted({stone.fleet_uid for stone in kept})
    return types.Assignment(fleets=[identities[uid] for uid in uids], tombstones=kept)
