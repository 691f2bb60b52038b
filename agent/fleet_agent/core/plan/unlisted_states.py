"""What an assignment makes of a host's VMs where no driver was asked since it was taken over.

It will be carried out all the same: whoever is to know what the host has, or will have, is told.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.model import Kin, VmState
from fleet_agent.core.plan.plan import plan
from fleet_agent.core.plan.snapshot import Snapshot
from fleet_agent.core.plan.states import States


def unlisted_states(assignment: Assignment, known: Mapping[Kin, IndexSet]) -> dict[Kin, States]:
    """What is to be said besides of VMs that are `known`, which are those that were there or wanted
    when the drivers were asked last: some of them go, and of others that are wanted nothing more
    is known.

    Where nothing is known, whatever a tombstone names may be there, of a generation that nobody
    can tell: 0.
    """
    there = known or _named(assignment)
    removing = plan(assignment, Snapshot({}, {}, {}, there), {}).removing
    found: dict[Kin, States] = {
        kin: [(VmState.STOPPING, indices)] for kin, indices in removing.items()
    }
    for shard in assignment.shards:
        if fresh := shard.indices - known.get(shard.kin, EMPTY):
            found.setdefault(shard.kin, []).append((VmState.UNKNOWN, fresh))
    return found


def _named(assignment: Assignment) -> dict[Kin, IndexSet]:
    named: dict[Kin, IndexSet] = {}
    for tombstone in assignment.tombstones:
        kin = Kin(tombstone.fleet_uid, 0, tombstone.born_until)
        named[kin] = named.get(kin, EMPTY) | tombstone.indices
    return named
