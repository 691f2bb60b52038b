"""States of VMs that no driver has listed since the assignment was taken over.

The assignment will be carried out all the same: observers are to know what the host has, and what
it will have.
"""

from __future__ import annotations

from collections.abc import Mapping

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.model import VmState
from fleet_agent.core.plan.plan import plan
from fleet_agent.core.plan.snapshot import Snapshot
from fleet_agent.core.plan.states import States


def unlisted_states(assignment: Assignment, known: Mapping[Kin, IndexSet]) -> dict[Kin, States]:
    """By kin: known VMs that will go (STOPPING), and wanted VMs that are not known (UNKNOWN).

    `known`: the VMs that existed or were wanted at the last listing. Without any, everything that a
    tombstone names may exist; its generation is not known and given as 0.
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
