"""What another assignment changes of what a host holds."""

from __future__ import annotations

from fleet.keys import Kin
from fleet.ranges import IndexSet
from fleet_controller.core.model import Assignment, Shard
from fleet_controller.observed.assignment_change import assignment_change

KIN = Kin("uid", 1, 5)


def shard(start: int, stop: int, *, staged: bool = False, power: bool = True) -> Shard:
    return Shard("uid", IndexSet.span(start, stop), 1, 5, power, staged)


def test_what_is_held_and_was_not_is_gained_and_what_is_gone_is_freed() -> None:
    change = assignment_change(Assignment((shard(0, 6),)), Assignment((shard(4, 9),)))
    assert (change.freed, change.gained) == (
        {KIN: IndexSet.span(0, 4)},
        {KIN: IndexSet.span(6, 9)},
    )
    assert change.freed_fleets == {"uid"} and not change.prepared


def test_what_was_staged_is_gained_once_it_is_held_and_not_before() -> None:
    staged, held = Assignment((shard(0, 4, staged=True),)), Assignment((shard(0, 4),))
    assert not assignment_change(Assignment(), staged).gained
    change = assignment_change(staged, held)
    assert change.gained == change.prepared == {KIN: IndexSet.span(0, 4)}
    assert not change.freed, "it is where it was"


def test_shards_that_differ_in_power_alone_are_one() -> None:
    parted = Assignment((shard(0, 2, power=False), shard(2, 4)))
    change = assignment_change(Assignment((shard(0, 4),)), parted)
    assert not change.freed and not change.gained
