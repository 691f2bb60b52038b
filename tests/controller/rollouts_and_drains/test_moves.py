"""Moves off draining hosts: never two copies, nothing lost, whatever is heard and written when."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet_controller.core.rollouts_and_drains.drain_blockers import (
    DrainFacts,
    Taker,
    drain_blockers,
)
from fleet_controller.core.rollouts_and_drains.drain_progress import (
    DrainProgress,
    drain_progress_of,
    planned_drain,
    staged_everywhere,
)
from tests.controller.rollouts_and_drains.moving_world import UID, World

HOSTS = 4


def world_of(total: int, capacities: list[int] | None = None) -> World:
    world = World(capacities or [8] * HOSTS)
    world.scale(total)
    world.step()
    assert len(world.placed) == total
    return world


def test_one_copy_a_move_stages_first_then_lets_go_then_starts() -> None:
    world = world_of(4)
    leaving = world.held("h0")
    world.set_record("h0", draining=True)
    world.write(world.decide())
    staged = IndexSet.union_of(world.staged(name) for name in world.hosts)
    assert (world.held("h0"), staged) == (leaving, leaving), "prepared, and where it was"
    unheard = world.decide()
    assert not unheard.assignments, "nothing more before it is heard to be prepared"
    world.settle()
    assert world.hosts["h0"].running == set(leaving), "it runs until the other is prepared"
    world.write(world.decide())
    assert not world.held("h0")
    assert [t.ranges for t in world.hosts["h0"].stored.tombstones] == [leaving]
    assert not world.decide().assignments, "nothing starts before it is let go"
    world.settle()
    assert not world.hosts["h0"].running
    world.step()
    assert world.placed == IndexSet.span(0, 4)
    running = {i for host in world.hosts.values() for i in host.running}
    assert running == set(range(4))


def test_a_drained_host_gets_nothing_new() -> None:
    world = world_of(4)
    world.set_record("h0", draining=True)
    world.scale(20)
    for _ in range(4):
        world.step()
    assert not world.held("h0") and len(world.placed) == 20


def test_no_more_are_staged_at_once_than_the_budget_allows() -> None:
    world = world_of(16)
    world.set_record("h0", draining=True)
    most = 0
    for _ in range(12):
        world.step(most=2)
        most = max(most, sum(len(world.staged(name)) for name in world.hosts))
    assert most == 2
    assert not world.held("h0") and len(world.placed) == 16


def test_what_is_taken_back_counts_until_that_is_written() -> None:
    """Assignments are written a few at a time, those of one pass in any order."""
    world = world_of(16)
    world.set_record("h0", draining=True)
    world.write(world.decide(most=2))
    staging = next(name for name in world.hosts if world.staged(name))
    before = {name: world.staged(name) for name in world.hosts}
    world.set_record(staging, draining=True)
    decided = world.decide(most=2)
    assert staging in decided.assignments
    world.write(decided, landing=[name for name in decided.assignments if name != staging])
    assert {name: world.staged(name) for name in world.hosts} == before
    for _ in range(20):
        world.step(most=2)
    assert not world.held("h0") and not world.held(staging) and len(world.placed) == 16


def test_what_fits_nowhere_stays_and_is_told() -> None:
    world = world_of(28)
    world.set_record("h0", draining=True)
    told, why = 0, ""
    for _ in range(8):
        if stuck := world.step().unplaced.get("h0"):
            told, why = stuck.count, stuck.why
    assert why.startswith("3 hosts are full at 8 each (guests)")
    assert len(world.held("h0")) == told == 28 - 3 * 8
    assert len(world.hosts["h0"].running) == told, "and runs"


def test_a_cancelled_drain_gives_up_what_is_only_staged_and_ends_what_is_let_go() -> None:
    world = world_of(16)
    world.set_record("h0", draining=True)
    world.step(most=2)
    world.write(world.decide(most=2))  # two are let go, and not heard yet
    gone = IndexSet.span(0, 16) - world.placed
    world.set_record("h0", draining=False)
    for _ in range(5):
        world.step()
    assert len(gone) == 2
    assert world.placed == IndexSet.span(0, 16)
    assert len(world.held("h0")) == 2, "those that were let go went on"
    assert not any(world.staged(name) for name in world.hosts)


def test_a_host_that_cannot_be_reached_keeps_what_it_has() -> None:
    world = world_of(16)
    before = world.held("h0")
    world.set_record("h0", draining=True)
    world.step()
    world.hosts["h0"].reachable = False
    for _ in range(5):
        world.step()
    assert world.held("h0") == before, "it may run there, and cannot be asked to let go"
    world.hosts["h0"].reachable = True
    for _ in range(5):
        world.step()
    assert not world.held("h0") and len(world.placed) == 16


def test_a_new_host_that_is_out_of_reach_is_waited_for() -> None:
    world = world_of(8)
    leaving = world.held("h0")
    world.set_record("h0", draining=True)
    world.write(world.decide())
    for name in ("h1", "h2", "h3"):
        world.hosts[name].reachable = False
    for _ in range(5):
        world.step()
    assert world.held("h0") == leaving and world.hosts["h0"].running == set(leaving)
    for name in ("h1", "h2", "h3"):
        world.hosts[name].reachable = True
    for _ in range(5):
        world.step()
    assert not world.held("h0") and len(world.placed) == 8


def test_what_is_only_staged_on_a_host_that_is_cordoned_is_staged_elsewhere() -> None:
    world = world_of(8)
    world.set_record("h0", draining=True)
    world.write(world.decide())
    assert world.staged("h1")
    world.set_record("h1", cordoned=True)
    before = world.held("h1")
    for _ in range(6):
        world.step()
    assert not world.staged("h1") and world.held("h1") == before
    assert not world.held("h0") and len(world.placed) == 8


def test_scale_down_during_a_drain_takes_the_staged_copies_too() -> None:
    world = world_of(16)
    world.set_record("h0", draining=True)
    world.write(world.decide())
    world.scale(0)
    for _ in range(3):
        world.step()
    assert not any(host.exists for host in world.hosts.values())
    assert not any(host.stored.shards for host in world.hosts.values())


def test_two_hosts_are_drained_into_the_rest() -> None:
    world = world_of(16)
    world.set_record("h0", draining=True)
    world.set_record("h1", draining=True)
    for _ in range(5):
        world.step()
    assert len(world.held("h2")) == len(world.held("h3")) == 8


def test_progress_follows_from_the_assignments_alone() -> None:
    world = world_of(16)
    world.set_record("h0", draining=True)

    def now() -> tuple[int, int]:
        view = world.view()
        staged = staged_everywhere({n: h.assignment for n, h in view.hosts.items()})
        found = drain_progress_of(view.hosts["h0"], staged)
        return found.left, found.moving

    assert now() == (4, 0)
    world.step(most=2)
    assert now() == (4, 2), "prepared elsewhere"
    world.write(world.decide(most=2))
    assert now() == (4, 2), "being let go"
    for _ in range(8):
        world.step(most=2)
    assert now() == (0, 0)


def test_a_plan_says_what_would_move_and_what_fits_nowhere() -> None:
    world = world_of(28)
    plan = planned_drain(world.view(), "h0")
    assert (plan.left, plan.moving, plan.unplaced) == (7, 3, 4)


TAKER = Taker("h1", 2, "cannot be reached")
AT_WORK = Taker("h2", 1, "")


@pytest.mark.parametrize(
    ("now", "seen", "why"),
    [
        (DrainProgress(4, 4, 0), DrainFacts(1.0, takers=[AT_WORK]), ""),
        (DrainProgress(4, 4, 0, 2), DrainFacts(1.0), ""),
        (DrainProgress(4, 0, 0), DrainFacts(1.0, prepared=4, most=5), ""),
        (
            DrainProgress(4, 0, 0),
            DrainFacts(1.0, prepared=5, most=5),
            "its VMs wait for those of other draining hosts: 5 are prepared at once "
            "(--moves-at-once)",
        ),
        (DrainProgress(4, 3, 0), DrainFacts(1.0, prepared=5, most=5), ""),
        (
            DrainProgress(4, 3, 0),
            DrainFacts(1.0, takers=[AT_WORK, TAKER]),
            "2 VMs wait for h1, which cannot be reached",
        ),
        (
            DrainProgress(4, 3, 0, 1),
            DrainFacts(1.0, trouble="reports destroy: busy"),
            "1 VM waits for h0 to let it go, which reports destroy: busy",
        ),
        (
            DrainProgress(9, 5, 4),
            DrainFacts(1.0, why_unplaced="3 hosts are full", takers=[TAKER] * 5),
            "4 VMs fit on no other host and stay where they are: 3 hosts are full; "
            "2 VMs wait for h1, which cannot be reached; "
            "2 VMs wait for h1, which cannot be reached; "
            "2 VMs wait for h1, which cannot be reached; 4 VMs wait for 2 more such hosts",
        ),
        (
            DrainProgress(4, 0, 0),
            DrainFacts(1.0, paused="changes are frozen"),
            "changes are frozen",
        ),
        (DrainProgress(0, 0, 0), DrainFacts(1.0, paused="changes are frozen"), ""),
    ],
)
def test_what_keeps_a_drain_is_named_with_where_and_why(
    now: DrainProgress, seen: DrainFacts, why: str
) -> None:
    world = world_of(4)
    world.set_record("h0", draining=True)
    assert drain_blockers("h0", world.view().hosts["h0"], now, seen) == why


events = st.lists(
    st.one_of(
        st.tuples(st.just("pass"), st.integers(0, 2**HOSTS - 1)),
        st.tuples(st.just("pass"), st.just(2**HOSTS - 1)),
        st.tuples(st.sampled_from(["obey", "report", "drain", "undrain"]), st.integers(0, 3)),
        st.tuples(st.sampled_from(["cut", "mend", "cordon", "uncordon"]), st.integers(0, 3)),
        st.tuples(st.just("scale"), st.integers(0, 20)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(events)
def test_no_index_is_lost_or_doubled_whatever_is_written_and_heard(
    happened: list[tuple[str, int]],
) -> None:
    """Of each pass any part may be written; hosts obey and report when they like."""
    world = world_of(12)
    for what, which in happened:
        _happen(world, what, which)
        world.check()
    for name, host in world.hosts.items():
        host.reachable = True
        world.set_record(name, cordoned=False, draining=name == "h3")
    for _ in range(16):
        world.step()
    assert world.placed == IndexSet.span(0, world.fleet.total)
    assert not world.held("h3") and not any(world.staged(name) for name in world.hosts)
    running = [i for host in world.hosts.values() for i in host.running]
    assert sorted(running) == list(range(world.fleet.total))


def _happen(world: World, what: str, which: int) -> None:
    name = f"h{which}"
    match what:
        case "pass":
            landing = [f"h{n}" for n in range(HOSTS) if which >> n & 1]
            world.write(world.decide(most=5), landing)
        case "obey" if world.hosts[name].reachable:
            world.hosts[name].obey()
        case "report" if world.hosts[name].reachable:
            world.hosts[name].report()
        case "drain" | "undrain":
            world.set_record(name, draining=what == "drain")
        case "cordon" | "uncordon":
            world.set_record(name, cordoned=what == "cordon")
        case "cut" | "mend":
            world.hosts[name].reachable = what == "mend"
        case "scale":
            world.scale(which)
    assert UID == world.fleet.uid
