"""What recovery would write where VMs were on their way, stopped or restarted, and hosts left."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import (
    Assignment,
    HostRecord,
    RolloutRecord,
    RolloutState,
    Shard,
    Tombstone,
)
from fleet_controller.core.recovery.recovery import RecoveryPlan, plan_recovery
from fleet_controller.core.recovery.view import RecoveryChoice
from tests.controller.recovery.recovery_views import (
    ADOPT,
    DEFINED,
    PENDING,
    RUNNING,
    has,
    report,
    shard,
    stones,
    view,
)

NOTHING = Assignment()


def kinds(plan: RecoveryPlan, host: str) -> list[tuple[str, int, str]]:
    """(indices, birth, on, off or staged) of each shard that the host is to have."""
    return [
        (str(one.ranges), one.birth, "staged" if one.staged else "on" if one.power else "off")
        for one in plan.assignments[host].shards
    ]


# On their way


def test_what_is_staged_goes_on_being_staged_beside_whoever_has_it() -> None:
    stored = {
        "h1": Assignment((shard("0-9", 400),)),
        "h2": Assignment((shard("0-4", 490, staged=True), shard("20", 400))),
    }
    reports = {
        "h1": report(has("0-9", 400)),
        "h2": report(has("0-2", 490, DEFINED), has("3-4", 490, PENDING), has("20-21", 400)),
    }
    plan = plan_recovery(view(reports, stored, ahead="h2"), ADOPT)
    assert kinds(plan, "h2") == [("20-21", 400, "on"), ("0-4", 490, "staged")]
    assert "h1" not in plan.assignments
    assert (plan.fleets[0].twice, plan.fleets[0].adopted) == (0, 2)


def test_what_was_staged_and_runs_by_now_is_held() -> None:
    stored = {"h2": Assignment((shard("0-4", 490, staged=True),))}
    plan = plan_recovery(view({"h2": report(has("0-4", 490))}, stored), ADOPT)
    assert kinds(plan, "h2") == [("0-4", 490, "on")]


def test_what_was_stopped_and_is_staged_stays_both() -> None:
    staged = shard("0-4", 490, staged=True, power=False)
    stored = {"h2": Assignment((staged, shard("9", 400)))}
    told = report(has("0-4", 490, DEFINED), converged=True)
    plan = plan_recovery(view({"h2": told}, stored), ADOPT)
    assert plan.assignments["h2"].shards == (staged,)


def test_what_two_have_staged_stays_staged_on_one() -> None:
    stored = {
        "h1": Assignment((shard("0-9", 400),)),
        "h2": Assignment((shard("0-4", 490, staged=True),)),
    }
    reports = {
        "h1": report(has("0-9", 400)),
        "h2": report(has("0-4", 490, DEFINED)),
        "h3": report(has("0-4", 590, DEFINED), converged=True),
    }
    plan = plan_recovery(view(reports, stored, ahead="h2 h3"), ADOPT)
    assert kinds(plan, "h3") == [("0-4", 590, "staged")]
    assert kinds(plan, "h2") == [] and stones(plan, "h2") == [("0-4", 490)]
    assert [stone.staged for stone in plan.assignments["h2"].tombstones] == [True]


@pytest.mark.parametrize("power", [True, False])
@pytest.mark.parametrize("heard", [True, False])
def test_what_is_defined_where_the_store_does_not_know_it_is_on_its_way_if_another_has_it(
    heard: bool, power: bool
) -> None:
    stored = {"h1": Assignment((shard("0-9", 400, power=power),)), "h2": NOTHING}
    reports = {"h2": report(has("5-14", 590, DEFINED), converged=True)}
    if heard:
        reports["h1"] = report(has("0-9", 400, RUNNING if power else DEFINED), converged=True)
    plan = plan_recovery(view(reports, stored, ahead="h2"), ADOPT)
    assert kinds(plan, "h2") == [("10-14", 590, "off"), ("5-9", 590, "staged")]
    moving = plan.assignments["h2"].shards[1]
    assert moving.power is power and "h1" not in plan.assignments


def test_confirming_counts_nothing_twice_that_is_only_staged() -> None:
    stored = {
        "h1": Assignment((shard("0-9", 400),)),
        "h2": Assignment((shard("0-9", 490, staged=True),)),
    }
    plan = plan_recovery(view({}, stored), RecoveryChoice(adopt=False))
    assert (plan.fleets[0].twice, plan.fleets[0].missing) == (0, 90)


# Stopped and restarted


@pytest.mark.parametrize("birth", [400, 590])
@pytest.mark.parametrize("state", [PENDING, DEFINED])
def test_what_the_store_says_is_off_stays_off_unless_it_runs(birth: int, state: int) -> None:
    """Though the host is busy, so that what is defined may be about to start."""
    stored = {"h1": Assignment((shard("0-9", 400, power=False),))}
    busy = report(has("0-4", birth, state), has("5-9", birth))
    plan = plan_recovery(view({"h1": busy}, stored), ADOPT)
    assert kinds(plan, "h1") == [("0-4", birth, "off"), ("5-9", birth, "on")]


def test_what_was_stopped_on_one_host_stays_off_on_another_that_has_it_since() -> None:
    given_up = Tombstone(9, "uid-spv", IndexSet.span(5, 9), 300, off=IndexSet.span(5, 9))
    stored = {"h1": Assignment((shard("0-4", 400, power=False),), (given_up,)), "h2": NOTHING}
    reports = {"h1": report(), "h2": report(has("0-8", 590, PENDING))}
    plan = plan_recovery(view(reports, stored), ADOPT)
    assert kinds(plan, "h2") == [("0-8", 590, "off")]


def test_what_is_stopped_and_placed_nowhere_is_not_forgotten() -> None:
    given_up = Tombstone(9, "uid-spv", IndexSet.span(5, 9), 300, off=IndexSet.span(5, 9))
    stale = Tombstone(8, "uid-spv", IndexSet.span(0, 4), 300)
    stored = {"h1": Assignment((), (stale, given_up))}
    plan = plan_recovery(view({"h1": report(has("0-4", 590))}, stored), ADOPT)
    assert plan.assignments["h1"].tombstones == (given_up,)


def test_what_is_to_be_restarted_is_remembered() -> None:
    stored = {"h1": Assignment((shard("5-9", 400), shard("0-4", 400, restart=450)))}
    plan = plan_recovery(view({"h1": report(has("0-9", 400))}, stored), ADOPT)
    again = {str(one.ranges): one.restart for one in plan.assignments.get("h1", NOTHING).shards}
    assert not again, "nothing changes"
    more = report(has("0-9", 400), has("10", 590))
    plan = plan_recovery(view({"h1": more}, stored), ADOPT)
    again = {str(one.ranges): one.restart for one in plan.assignments["h1"].shards}
    assert again == {"0-4": 450, "5-9": 0, "10": 0}


# Hosts and rollouts


def test_a_lost_host_that_is_ahead_is_lost_no_more_or_what_it_runs_would_be_given_up() -> None:
    stored = {"h1": Assignment((shard("0-9", 400),)), "h2": NOTHING, "h3": NOTHING}
    reports = {"h1": report(has("0-9", 400)), "h2": report(has("10-19", 590))}
    seen = view(reports, stored, ahead="h2")
    lost = {name: msgspec.structs.replace(one, lost=True) for name, one in seen.hosts.items()}
    seen = replace(seen, hosts=lost)
    plan = plan_recovery(seen, ADOPT)
    assert [(one.id, one.lost) for one in plan.returned] == [("h2", False)]
    assert not plan_recovery(seen, RecoveryChoice(adopt=False)).returned


def test_a_drained_host_stays_so_and_a_removed_one_keeps_what_it_is_to_let_go() -> None:
    stored = {"h1": Assignment((shard("0-9", 400),))}
    removed = Assignment((), (Tombstone(7, "uid-spv", IndexSet.span(0, 5), 3),))
    seen = view({"h1": report(has("0-9", 400), has("10", 590))}, stored)
    seen = replace(
        seen,
        hosts={"h1": HostRecord("h1", "h1:1", draining=True)},
        assignments={**stored, "gone": removed},
    )
    plan = plan_recovery(seen, ADOPT)
    assert plan.assignments.keys() == {"h1"} and not (plan.lost or plan.returned)


@pytest.mark.parametrize("state", [RolloutState.RUNNING, RolloutState.CANARY])
def test_rollouts_under_way_are_paused_by_adopting_alone(state: RolloutState) -> None:
    running = RolloutRecord("uid-spv", 1, 2, 300, state=state)
    done = RolloutRecord("uid-old", 1, 2, 300, state=RolloutState.DONE)
    seen = replace(
        view({"h1": report(has("0-9", 400))}), rollouts={"uid-spv": running, "uid-old": done}
    )
    (paused,) = plan_recovery(seen, ADOPT).paused
    assert (paused.fleet, paused.state) == ("uid-spv", "paused") and "by a recovery" in paused.why
    assert not plan_recovery(seen, RecoveryChoice(adopt=False)).paused


# For all


HOSTS = ["h1", "h2", "h3"]
holdings = st.lists(
    st.tuples(
        st.sampled_from(HOSTS), st.integers(0, 7), st.sampled_from([400, 590]),
        st.sampled_from([RUNNING, PENDING, DEFINED]),
    ),
    max_size=12,
)  # fmt: skip
shards_ = st.lists(
    st.tuples(st.sampled_from(HOSTS), st.integers(0, 7), st.booleans(), st.booleans()), max_size=10
)


@given(holdings, shards_, st.sets(st.sampled_from(HOSTS)), st.sets(st.sampled_from(HOSTS)))
def test_nothing_starts_twice_and_what_was_off_and_does_not_run_is_off(
    held: list[tuple[str, int, int, int]],
    known: list[tuple[str, int, bool, bool]],
    ahead: set[str],
    busy: set[str],
) -> None:
    exists = {(host, index): (birth, state) for host, index, birth, state in held}
    reports = {
        name: report(
            *(has(str(i), birth, s) for (host, i), (birth, s) in exists.items() if host == name),
            converged=name not in busy,
        )
        for name in HOSTS
    }
    kept: dict[str, list[Shard]] = {name: [] for name in HOSTS}
    owners: dict[tuple[int, bool], str] = {}
    for host, index, power, staged in known:  # as the leader keeps it: one holder, one staged
        mine = any(index in one.ranges for one in kept[host])
        if not mine and owners.setdefault((index, staged), host) == host:
            kept[host].append(shard(str(index), 400, power=power, staged=staged))
    stored = {name: Assignment(tuple(mine)) for name, mine in kept.items()}
    plan = plan_recovery(view(reports, stored, ahead=" ".join(ahead) or "-"), ADOPT)
    after = {**stored, **plan.assignments}
    ordinary = [
        (host, one) for host, made in after.items() for one in made.shards if not one.staged
    ]
    waiting = [one.ranges for made in after.values() for one in made.shards if one.staged]
    for sets in ([one.ranges for _, one in ordinary], waiting):
        assert sum(map(len, sets)) == len(IndexSet.union_of(sets))
    off = IndexSet.union_of(s.ranges for mine in kept.values() for s in mine if not s.power)
    for host, one in ordinary:
        for index in one.ranges & off if one.power else EMPTY:
            runs = exists.get((host, index), (0, 0))[1] == RUNNING
            says_on = any(index in s.ranges and s.power and not s.staged for s in kept[host])
            assert runs or says_on, "started though it was stopped"
