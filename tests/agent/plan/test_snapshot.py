"""What follows from what the drivers list."""

from __future__ import annotations

from fleet.keys import NO_EPOCH, Epoch, Kin
from fleet.ranges import IndexSet
from fleet_agent.core.model import CloneRun, DomainRun, Phase
from fleet_agent.core.plan.snapshot import snapshot_of

OURS, THEIRS = Kin("ours", 1, 1), Kin("theirs", 1, 1)


def test_what_another_agent_on_this_machine_has_made_says_nothing_of_this_ones_ledger() -> None:
    domains = [
        DomainRun(OURS, IndexSet.span(0, 2), Phase.ACTIVE, newest=Epoch(1, 11)),
        DomainRun(THEIRS, IndexSet.span(0, 1), Phase.DEFINED, newest=Epoch(1, 17)),
    ]
    assert snapshot_of([], domains).newest == NO_EPOCH
    clones = [CloneRun(OURS, IndexSet.span(0, 2), Epoch(1, 10))]
    assert snapshot_of(clones, domains).newest == Epoch(1, 11)
