"""The state of every VM of the host, from what exists and what is planned."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.assignment import Assignment
from fleet_agent.core.model import Phase, VmState
from fleet_agent.core.plan.plan import Plan
from fleet_agent.core.plan.snapshot import Snapshot

# Disjoint sets of one kin, with the state that each has.
States = list[tuple[VmState, IndexSet]]


def states_of(
    assignment: Assignment, snapshot: Snapshot, plan: Plan, failing: Mapping[Kin, IndexSet]
) -> dict[Kin, States]:
    """By kin, for everything that exists here or is wanted here.

    A VM that is ready is running whatever failed before; one that is being removed is stopping
    even when a step of that failed.
    """
    members = dict(snapshot.exists)
    for shard in assignment.shards:
        members[shard.kin] = members.get(shard.kin, EMPTY) | shard.indices
    return {
        kin: _states(
            indices,
            kin,
            snapshot,
            plan.removing.get(kin, EMPTY),
            _failed(kin, plan, failing),
        )
        for kin, indices in members.items()
    }


def _failed(kin: Kin, plan: Plan, failing: Mapping[Kin, IndexSet]) -> IndexSet:
    amiss = plan.unmet.get(kin, EMPTY) & failing.get(kin, EMPTY)
    refused = plan.bad_specs.get(kin)
    return amiss | plan.conflicts.get(kin, EMPTY) | (refused.indices if refused else EMPTY)


def _states(
    members: IndexSet, kin: Kin, snapshot: Snapshot, removing: IndexSet, failed: IndexSet
) -> States:
    found: States = []
    rest = members
    for state, indices in (
        (VmState.STOPPING, removing),
        (VmState.RUNNING, snapshot.phase(kin, Phase.READY)),
        (VmState.FAILED, failed),
        (VmState.FAILED, snapshot.phase(kin, Phase.HALTED)),
        (VmState.FAILED, snapshot.phase(kin, Phase.SUSPENDED)),
        (VmState.BOOTING, snapshot.phase(kin, Phase.ACTIVE)),
        (VmState.DEFINED, snapshot.phase(kin, Phase.DEFINED)),
        (VmState.CLONING, snapshot.clones.get(kin, EMPTY)),
        (VmState.PENDING, members),
    ):
        part = rest & indices if indices else EMPTY
        if part:
            found.append((state, part))
            rest = rest - part
    return found
