"""What recovery gives to hosts that are ahead of the store, and the fleets it makes again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, FleetRecord, Tombstone
from fleet_controller.core.recovery.recovery import MARGIN, plan_recovery
from fleet_controller.core.recovery.view import RecoveryChoice
from fleet_controller.core.shards import had_by_an_earlier_one
from tests.controller.recovery.recovery_views import (
    ADOPT,
    DEFINED,
    PENDING,
    RUNNING,
    SPEC,
    STOPPING,
    UNKNOWN,
    has,
    orphan,
    report,
    shard,
    shards,
    stones,
    view,
)


def test_a_host_that_is_ahead_is_assigned_what_it_has_with_its_births() -> None:
    stored = {"h1": Assignment((shard("0-9", 400),))}
    plan = plan_recovery(view({"h1": report(has("0-9", 400), has("10-19", 590))}, stored), ADOPT)
    assert shards(plan, "h1") == [("0-9", 400, True), ("10-19", 590, True)]
    assert stones(plan, "h1") == []


def test_a_host_of_which_the_store_knows_nothing_keeps_its_orphans() -> None:
    plan = plan_recovery(
        view({"h1": report(has("0-9", 590), epoch=0, orphans=[orphan("0-9", 590)])}, ahead="-"),
        ADOPT,
    )
    assert shards(plan, "h1") == [("0-9", 590, True)]


def test_a_host_that_has_heard_nothing_newer_keeps_what_the_store_says() -> None:
    stored = {"h1": Assignment((shard("0-9", 400),), (Tombstone(7, "uid-spv", IndexSet(), 3),))}
    plan = plan_recovery(view({"h1": report(has("0-4", 400), epoch=400)}, stored, ahead="-"), ADOPT)
    assert not plan.assignments


def test_what_was_being_released_goes_on_being_released() -> None:
    plan = plan_recovery(view({"h1": report(has("0-4", 400), has("5-9", 400, STOPPING))}), ADOPT)
    assert (shards(plan, "h1"), stones(plan, "h1")) == ([("0-4", 400, True)], [("5-9", 400)])


def test_what_a_host_was_assigned_and_has_not_begun_stays_with_it() -> None:
    """It begins as soon as its drivers work, whatever the store says."""
    told = report(has("0-4", 400, UNKNOWN), has("5-9", 300, STOPPING, generation=0))
    plan = plan_recovery(view({"h1": told}), ADOPT)
    assert (shards(plan, "h1"), stones(plan, "h1")) == ([("0-4", 400, True)], [("5-9", 300)])


def test_a_vm_that_is_defined_on_a_host_with_nothing_left_to_do_is_wanted_off() -> None:
    settled = report(has("0-4", 400), has("5-9", 400, DEFINED), converged=True)
    plan = plan_recovery(view({"h1": settled}), ADOPT)
    assert shards(plan, "h1") == [("5-9", 400, False), ("0-4", 400, True)]
    busy = report(has("5-9", 400, DEFINED))
    assert shards(plan_recovery(view({"h1": busy}), ADOPT), "h1") == [("5-9", 400, True)]


@pytest.mark.parametrize(
    ("one", "other", "keeper"),
    [
        ((RUNNING, 400, ""), (PENDING, 590, ""), "h1"),
        ((RUNNING, 400, ""), (RUNNING, 590, ""), "h2"),
        ((RUNNING, 590, "0-9"), (RUNNING, 400, ""), "h2"),
        ((RUNNING, 400, ""), (RUNNING, 400, ""), "h1"),
    ],
)
def test_an_index_that_two_have_stays_with_one_by_the_rule(
    one: tuple[int, int, str], other: tuple[int, int, str], keeper: str
) -> None:
    reports = {
        host: report(has("0-9", birth, state), orphans=[orphan(lost, birth)] if lost else [])
        for host, (state, birth, lost) in (("h1", one), ("h2", other))
    }
    plan = plan_recovery(view(reports), ADOPT)
    births = {"h1": one[1], "h2": other[1]}
    loser = ({"h1", "h2"} - {keeper}).pop()
    assert shards(plan, keeper) == [("0-9", births[keeper], True)]
    assert (shards(plan, loser), stones(plan, loser)) == ([], [("0-9", births[loser])])
    assert plan.fleets[0].twice == 10


def test_a_host_that_was_heard_takes_what_one_not_heard_is_assigned() -> None:
    stored = {"away": Assignment((shard("0-9", 400),)), "h1": Assignment()}
    plan = plan_recovery(view({"h1": report(has("5-9", 590))}, stored), ADOPT)
    assert shards(plan, "away") == [("0-4", 400, True)]
    assert stones(plan, "away") == [("5-9", 400)]
    assert plan.unseen == ("away",) and not plan.complete


def test_generations_and_births_rise_above_all_that_was_heard_of() -> None:
    told = report(has("0-9", 590), term=types.Term(store_generation=3, revision=9000))
    plan = plan_recovery(view({"h1": told}), ADOPT)
    assert (plan.meta.generation, plan.meta.cluster) == (4, "new")
    assert 500 + plan.meta.raised == 9000 + MARGIN
    again = view({"h1": told}, meta=plan.meta)
    assert plan_recovery(again, ADOPT).meta.raised > plan.meta.raised


def test_numbers_that_no_store_can_have_reached_are_not_believed() -> None:
    told = report(has("0-9", 2**62), term=types.Term(store_generation=2**63, revision=2**62))
    meta = plan_recovery(view({"h1": told}), ADOPT).meta
    assert meta.generation == 2 and meta.raised < 2**40


def test_tombstones_of_a_recovery_are_above_all_before_it() -> None:
    plan = plan_recovery(view({"h1": report(has("0-9", 590, STOPPING))}), ADOPT)
    (stone,) = plan.assignments["h1"].tombstones
    assert stone.id > (600 << 16) + 0xFFFF


# Fleets


IDENTITY = types.FleetIdentity(uid="uid-new", name="new", number=7)


def told_of(uid: str = "uid-new", generation: int = 2) -> dict[str, Any]:
    spec = types.GenerationSpec(fleet_uid=uid, generation=generation, spec=SPEC)
    return {"fleets": [IDENTITY], "specs": [spec]}


def test_a_fleet_that_the_store_has_forgotten_is_made_again_of_what_agents_were_told() -> None:
    running = report(has("0-9", 590, uid="uid-new", generation=2), **told_of())
    plan = plan_recovery(view({"h1": running}, fleets=()), RecoveryChoice(True, {"new": 10}))
    (found,) = plan.fleets
    record = found.record
    assert (record.name, record.number, record.total, record.generation) == ("new", 7, 10, 2)
    assert plan.specs == {("uid-new", 2): SPEC} and plan.complete
    assert plan.meta.last_number == 7
    assert [s.generation for s in plan.assignments["h1"].shards] == [2]


@pytest.mark.parametrize(
    ("fleets", "told", "why"),
    [
        ((), {}, "no host that was heard knows its name"),
        ((), {"fleets": [IDENTITY]}, "no host that was heard has its template"),
        ((FleetRecord("new", "uid-other", 1),), told_of(), "another fleet of this name"),
        ((FleetRecord("other", "uid-other", 7),), told_of(), "fleet other has its number 7"),
    ],
)  # fmt: skip
def test_what_runs_of_a_fleet_that_cannot_be_had_is_left_alone(
    fleets: tuple[FleetRecord, ...], told: dict[str, Any], why: str
) -> None:
    running = report(has("0-9", 590, uid="uid-new", generation=2), **told)
    plan = plan_recovery(view({"h1": running}, fleets=fleets), ADOPT)
    (found,) = [one for one in plan.fleets if one.record.uid == "uid-new"]
    assert why in found.problem and found.running == 10
    assert not plan.assignments
    assert plan.unconfirmed == tuple(fleet.name for fleet in fleets), "of the store's alone"


def test_a_newer_template_that_agents_were_told_is_taken_over() -> None:
    told = told_of("uid-spv", 2) | {"fleets": []}
    plan = plan_recovery(view({"h1": report(has("0-9", 590, generation=2), **told)}), ADOPT)
    assert (plan.fleets[0].record.generation, plan.specs) == (2, {("uid-spv", 2): SPEC})


# For all


ranges = st.builds(
    lambda pairs: IndexSet((a, a + n) for a, n in pairs),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=5),
)


@given(st.lists(ranges, max_size=6))
def test_what_one_before_it_has_as_well(sets: list[IndexSet]) -> None:
    expected = [
        [index for index in one if any(index in before for before in sets[:number])]
        for number, one in enumerate(sets)
    ]
    assert list(map(list, had_by_an_earlier_one(sets))) == expected


holdings = st.lists(
    st.tuples(
        st.sampled_from(["h1", "h2", "h3"]), ranges, st.integers(1, 4),
        st.sampled_from([RUNNING, PENDING, DEFINED, STOPPING]),
    ),
    max_size=8,
)  # fmt: skip


@given(holdings, st.sets(st.sampled_from(["h1", "h2", "h3"])))
def test_every_index_that_is_had_is_assigned_once_or_being_released(
    held: list[tuple[str, IndexSet, int, int]], ahead: set[str]
) -> None:
    """Nothing that exists is left without a word but on hosts that keep the store's."""
    by_host: dict[str, list[wire.ShardReport]] = {"h1": [], "h2": [], "h3": []}
    taken: dict[tuple[str, int], IndexSet] = {}
    for host, indices, birth, state in held:  # one state for each VM of a birth
        indices = indices - IndexSet.union_of(taken.get((host, b), IndexSet()) for b in range(5))
        taken[host, birth] = taken.get((host, birth), IndexSet()) | indices
        if indices:
            by_host[host].append(has(str(indices), birth, state))
    seen = view({host: report(*mine) for host, mine in by_host.items()}, ahead="h1 h2 h3")
    plan = plan_recovery(seen, ADOPT)
    assigned = [one.indices("uid-spv") for one in plan.assignments.values()]
    together = IndexSet.union_of(assigned)
    assert sum(map(len, assigned)) == len(together), "no index is assigned twice"
    for host, mine in by_host.items():
        everything = IndexSet.union_of(
            IndexSet.span(run.start, run.start + len(run.states))
            for one in mine
            for run in one.runs
        )
        made = plan.assignments.get(host, Assignment())
        buried = IndexSet.union_of(stone.ranges for stone in made.tombstones)
        assert made.indices("uid-spv") | buried == everything
        assert not made.indices("uid-spv") & buried
