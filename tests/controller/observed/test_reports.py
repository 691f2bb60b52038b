"""What reports make of the leader's memory."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fleet.keys import Kin
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import to_wire
from fleet_controller.core.model import Assignment, Shard, Tombstone
from fleet_controller.core.vm_states import DEFINED, PENDING, RUNNING, UNKNOWN
from fleet_controller.observed.reports import Observed

UID = "uid-1"
FAILED = int(types.VM_STATE_FAILED)
EPOCH = 50


def span(start: int, stop: int) -> IndexSet:
    return IndexSet.span(start, stop)


def shard(indices: IndexSet, birth: int = 10, generation: int = 1, power: bool = True) -> Shard:
    return Shard(UID, indices, generation, birth, power)


def tombstone(identity: int, indices: IndexSet) -> Tombstone:
    return Tombstone(identity, UID, indices, 10)


def report(
    states: Iterable[tuple[int, int, int]] = (), *, birth: int = 10, generation: int = 1,
    epoch: int = EPOCH, **fields: object,
) -> wire.Report:  # fmt: skip
    """`states`: (first index, how many, state)."""
    runs = [wire.StateRun(start=start, states=bytes([state] * n)) for start, n, state in states]
    made = wire.Report(
        epoch=types.Epoch(store_generation=1, revision=epoch),
        **fields,  # type: ignore[arg-type]
    )
    if runs:
        made.shards.append(
            wire.ShardReport(fleet_uid=UID, generation=generation, birth=birth, runs=runs)
        )
    return made


def counts(observed: Observed) -> dict[int, int]:
    return {state: n for state, n in enumerate(observed.vectors[UID].counts()) if n}


def linked(*assignment: Shard | Tombstone) -> Observed:
    """One host `a` that has sent a full report, and then been assigned this."""
    observed = Observed()
    observed.reported("a", report(full=True), 0)
    observed.assigned("a", parts(*assignment))
    return observed


def parts(*assignment: Shard | Tombstone) -> Assignment:
    return Assignment(
        tuple(one for one in assignment if isinstance(one, Shard)),
        tuple(one for one in assignment if isinstance(one, Tombstone)),
    )


def test_what_a_live_host_gains_is_pending_and_on_one_not_heard_unknown() -> None:
    assert counts(linked(shard(span(0, 5)))) == {PENDING: 5}
    unheard = Observed()
    unheard.assigned("a", parts(shard(span(0, 5))))
    assert counts(unheard) == {UNKNOWN: 5}


def test_states_are_taken_over_by_index() -> None:
    observed = linked(shard(span(0, 10)))
    observed.reported("a", report([(0, 4, RUNNING), (6, 2, FAILED)]), EPOCH)
    assert counts(observed) == {RUNNING: 4, FAILED: 2, PENDING: 4}


@pytest.mark.parametrize(
    "stray",
    [
        report([(0, 10, RUNNING)], birth=9),
        report([(0, 10, RUNNING)], birth=11),
        report([(0, 10, RUNNING)], generation=2),
        report([(10, 90, RUNNING)]),
        report(),
    ],
)
def test_what_is_said_of_other_vms_is_ignored(stray: wire.Report) -> None:
    observed = linked(shard(span(0, 10)))
    observed.reported("a", stray, EPOCH)
    assert counts(observed) == {PENDING: 10}


def test_a_run_that_covers_more_than_the_assignment_is_cut_to_it() -> None:
    observed = linked(shard(span(5, 8)), shard(span(9, 10)))
    observed.reported("a", report([(0, 20, RUNNING)]), EPOCH)
    assert counts(observed) == {RUNNING: 4}


def test_a_host_cannot_speak_for_another() -> None:
    observed = linked(shard(span(0, 5)))
    observed.reported("b", report(full=True), 0)
    observed.assigned("b", parts(shard(span(5, 10))))
    observed.reported("b", report([(0, 10, RUNNING)]), EPOCH)
    assert counts(observed) == {RUNNING: 5, PENDING: 5}


def test_shards_that_differ_in_power_alone_are_reported_on_as_one() -> None:
    observed = linked(shard(span(0, 3)), shard(span(3, 6), power=False))
    observed.reported("a", report([(0, 6, RUNNING)]), EPOCH)
    assert counts(observed) == {RUNNING: 6}


def test_a_full_report_replaces_everything() -> None:
    observed = linked(shard(span(0, 10)), tombstone(1, span(20, 25)))
    problem = wire.Problem(kind="no_space", fleet_uid=UID, count=3)
    first = report([(0, 10, RUNNING)], full=True, released=[1], problems=[problem])
    observed.reported("a", first, EPOCH)
    assert (counts(observed), observed.releasing[UID]) == ({RUNNING: 10}, 0)
    assert observed.troubled == {"a"}
    observed.reported("a", report([(0, 2, RUNNING)], full=True), EPOCH)
    assert (counts(observed), observed.releasing[UID]) == ({RUNNING: 2, PENDING: 8}, 5)
    assert observed.troubled == set()


def test_a_host_out_of_sight_has_vms_in_an_unknown_state_until_it_reports() -> None:
    observed = linked(shard(span(0, 10)))
    observed.reported("a", report([(0, 10, RUNNING)], converged=True), EPOCH)
    assert observed.converged == 1
    observed.lost_sight("a")
    assert (counts(observed), observed.converged) == ({UNKNOWN: 10}, 0)
    observed.reported("a", report([(0, 10, RUNNING)], full=True, converged=True), EPOCH)
    assert (counts(observed), observed.converged) == ({RUNNING: 10}, 1)


def test_what_a_host_without_an_assignment_holds_may_run() -> None:
    observed = linked(shard(span(0, 10)))
    assert not observed.standing(UID).unknown, "it was heard, and says that nothing is done yet"
    observed.lost_sight("a")
    observed.reported("a", report(full=True, epoch=0), EPOCH)
    assert counts(observed) == {PENDING: 10}
    assert observed.standing(UID).unknown == span(0, 10), "its ledger was lost; they may run on"
    observed.reported("a", report([(0, 6, RUNNING)]), EPOCH)
    standing = observed.standing(UID)
    assert (standing.running, standing.unknown) == (span(0, 6), span(0, 0))


def test_what_leaves_an_assignment_is_no_longer_counted() -> None:
    observed = linked(shard(span(0, 10)))
    observed.reported("a", report([(0, 10, RUNNING)]), EPOCH)
    observed.assigned("a", parts(shard(span(0, 4)), tombstone(1, span(4, 10))))
    assert (counts(observed), observed.vectors[UID].placed) == ({RUNNING: 4}, 4)
    assert observed.releasing[UID] == 6


def test_an_index_born_again_is_pending_again() -> None:
    observed = linked(shard(span(0, 4)))
    observed.reported("a", report([(0, 4, RUNNING)]), EPOCH)
    observed.assigned("a", parts(shard(span(0, 3)), shard(span(3, 4), birth=20)))
    assert counts(observed) == {RUNNING: 3, PENDING: 1}


def test_an_index_that_moves_is_counted_once_whoever_is_told_first() -> None:
    observed = linked(shard(span(0, 4)))
    observed.assigned("b", parts(shard(span(2, 4), birth=20)))
    observed.assigned("a", parts(shard(span(0, 2))))
    assert observed.vectors[UID].placed == 4
    observed.lost_sight("a")
    assert counts(observed) == {UNKNOWN: 4}


def test_tombstones_are_releasing_until_acknowledged() -> None:
    observed = linked(tombstone(1, span(0, 5)), tombstone(2, span(7, 9)))
    assert observed.releasing[UID] == 7
    assert observed.reported("a", report(released=[1]), EPOCH), "placement may use them"
    assert observed.releasing[UID] == 2
    assert not observed.reported("a", report(released=[1]), EPOCH), "nothing new"
    observed.reported("a", report(released=[2, 99]), EPOCH)
    assert observed.releasing[UID] == 0
    assert observed.host("a").released >= {1, 2}


def test_acknowledgements_of_tombstones_that_are_gone_are_not_kept_for_ever() -> None:
    observed = linked(tombstone(1, span(0, 5)))
    observed.reported("a", report(released=[1]), EPOCH)
    observed.assigned("a", parts(tombstone(2, span(0, 5))))
    assert observed.host("a").released == set()


def test_a_host_has_converged_when_it_says_so_of_its_present_assignment() -> None:
    observed = linked(shard(span(0, 4)))
    observed.reported("a", report(converged=True, epoch=EPOCH - 1), EPOCH)
    assert observed.converged == 0
    observed.reported("a", report(converged=True), EPOCH)
    assert observed.converged == 1
    observed.reported("a", report(converged=True), EPOCH)
    assert observed.converged == 1
    observed.assigned("a", parts(shard(span(0, 5))))
    assert observed.converged == 0


def test_problems_and_orphans_stand_until_told_otherwise() -> None:
    observed = linked(shard(span(0, 4)))
    orphans = [wire.Orphans(fleet_uid=UID, birth=3, ranges=to_wire(span(7, 9)))]
    problem = wire.Problem(kind="no_memory", fleet_uid=UID, count=2)
    news = report(problems=[problem], problems_set=True, orphans=orphans, orphans_set=True)
    assert observed.reported("a", news, EPOCH), "orphans matter to placement"
    observed.reported("a", report(), EPOCH)
    assert observed.host("a").orphans == ((UID, 3, span(7, 9)),)
    assert (observed.troubled, observed.orphaned) == ({"a"}, {"a"})
    gone = report(problems_set=True, orphans_set=True)
    assert observed.reported("a", gone, EPOCH)
    assert (observed.troubled, observed.orphaned) == (set(), set())


def test_why_vms_were_begun_otherwise_stands_until_told_otherwise_and_may_not_be_known() -> None:
    observed = linked(shard(span(0, 4)))
    host = observed.host("a")
    assert host.why_begun_otherwise(UID, 1) is None, "an older agent"
    booted = wire.Fallback(fleet_uid=UID, ranges=to_wire(span(1, 3)), why="no room")
    observed.reported("a", report(fallbacks=[booted], fallbacks_set=True), EPOCH)
    observed.reported("a", report(), EPOCH)
    told = [host.why_begun_otherwise(UID, index) for index in range(4)]
    assert told == ["", "no room", "no room", ""]
    observed.reported("a", report(fallbacks_set=True), EPOCH)
    assert host.why_begun_otherwise(UID, 1) == ""
    observed.reported("a", report(full=True), EPOCH)
    assert host.why_begun_otherwise(UID, 1) is None


def test_a_fleet_that_is_gone_leaves_nothing() -> None:
    observed = linked(shard(span(0, 4)), tombstone(1, span(7, 9)))
    observed.assigned("a", parts())
    observed.forget_fleet(UID)
    assert UID not in observed.vectors and not observed.releasing[UID]


def test_a_report_that_makes_no_sense_is_said_to() -> None:
    observed = linked()
    backwards = wire.Orphans(fleet_uid=UID, ranges=[types.IndexRange(start=5, stop=5)])
    with pytest.raises(ValueError, match="not a range"):
        observed.reported("a", report(orphans=[backwards], orphans_set=True), EPOCH)


def test_states_that_nobody_knows_are_unknown() -> None:
    observed = linked(shard(span(0, 3)))
    observed.reported("a", report([(0, 1, 0), (1, 1, 9), (2, 1, 255)]), EPOCH)
    assert counts(observed) == {UNKNOWN: 3}


def test_every_change_beats_the_pulse() -> None:
    observed = Observed()
    seen = observed.pulse.version
    observed.assigned("a", parts(shard(span(0, 3))))
    observed.reported("a", report(), EPOCH)
    observed.lost_sight("a")
    assert observed.pulse.version == seen + 3


def staged(indices: IndexSet, birth: int = 20, power: bool = True) -> Shard:
    return Shard(UID, indices, 1, birth, power, staged=True)


def moving() -> Observed:
    """`a` runs 0-9; `b` has 0-3 staged."""
    observed = linked(shard(span(0, 10)))
    observed.reported("a", report([(0, 10, RUNNING)]), EPOCH)
    observed.reported("b", report(full=True), 0)
    observed.assigned("b", parts(staged(span(0, 4))))
    return observed


def test_what_is_staged_belongs_to_whoever_runs_it() -> None:
    observed = moving()
    told = report([(0, 4, DEFINED)], birth=20)
    assert observed.reported("b", told, EPOCH), "the leader is to hear that it is prepared"
    assert not observed.reported("b", told, EPOCH)
    assert counts(observed) == {RUNNING: 10}
    assert observed.host("b").prepared == {Kin(UID, 1, 20): span(0, 4)}
    assert observed.vectors[UID].placed == 10


def test_only_what_is_defined_is_prepared() -> None:
    observed = moving()
    observed.reported("b", report([(0, 2, DEFINED), (2, 2, FAILED)], birth=20), EPOCH)
    assert observed.host("b").prepared == {Kin(UID, 1, 20): span(0, 2)}
    observed.reported("b", report([(0, 1, FAILED)], birth=20), EPOCH)
    assert observed.host("b").prepared == {Kin(UID, 1, 20): span(1, 2)}
    observed.lost_sight("b")
    assert observed.host("b").prepared == {}


def test_what_is_let_go_belongs_to_whoever_has_it_staged() -> None:
    observed = moving()
    observed.reported("b", report([(0, 4, DEFINED)], birth=20), EPOCH)
    observed.assigned("a", parts(shard(span(4, 10)), tombstone(1, span(0, 4))))
    assert counts(observed) == {RUNNING: 6, DEFINED: 4}
    assert observed.vectors[UID].placed == 10, "placed all the while"
    observed.assigned("b", parts(shard(span(0, 4), birth=20)))
    assert counts(observed) == {RUNNING: 6, DEFINED: 4}, "what it was known to be"
    observed.reported("b", report([(0, 4, RUNNING)], birth=20), EPOCH)
    assert counts(observed) == {RUNNING: 10}
    assert not any(observed.staging.values())


def test_a_leader_that_reads_the_store_in_any_order_sees_the_same() -> None:
    for order in ("ab", "ba"):
        observed = Observed()
        held = {"a": parts(shard(span(0, 10))), "b": parts(staged(span(0, 4)))}
        for host in order:
            observed.assigned(host, held[host])
        assert counts(observed) == {UNKNOWN: 10}
        assert observed.vectors[UID].held(observed.host("a").number, span(0, 10)) == span(0, 10)


def test_a_staged_shard_that_is_taken_back_leaves_no_trace() -> None:
    observed = moving()
    observed.reported("b", report([(0, 4, DEFINED)], birth=20), EPOCH)
    observed.assigned("b", parts(tombstone(1, span(0, 4))))
    assert counts(observed) == {RUNNING: 10}
    assert observed.host("b").prepared == {} and not any(observed.staging.values())


def test_power_follows_the_assignment_and_states_stay() -> None:
    observed = linked(shard(span(0, 10)))
    observed.reported("a", report([(0, 10, RUNNING)]), EPOCH)
    vector = observed.vectors[UID]
    observed.assigned("a", parts(shard(span(0, 4), power=False), shard(span(4, 10))))
    assert (vector.powered_off, vector.as_wanted, counts(observed)) == (4, 6, {RUNNING: 10})
    observed.reported("a", report([(0, 4, DEFINED)]), EPOCH)
    assert vector.as_wanted == 10
    observed.assigned("a", parts(shard(span(0, 10))))
    assert (vector.powered_off, vector.as_wanted) == (0, 6)


def test_a_removed_host_troubles_nobody() -> None:
    observed = linked(shard(span(0, 4)), tombstone(1, span(4, 8)))
    observed.reported(
        "a", report(problems=[wire.Problem(kind="no_space")], problems_set=True), EPOCH
    )
    observed.removed("a")
    observed.assigned("a", parts())
    assert (counts(observed), observed.releasing[UID], observed.troubled) == ({}, 0, set())


def test_what_a_host_makes_up_beside_its_assignment_does_not_pile_up() -> None:
    observed = linked()
    for birth in range(3000):
        observed.reported("a", report([(birth, 3, RUNNING)], birth=birth), EPOCH)
    for start in range(0, 60_000, 4):
        observed.reported("a", report([(start, 2, RUNNING)], birth=0), EPOCH)
    strays = observed.hosts["a"].strays
    assert len(strays) == 256
    assert sum(len(one.ranges) for one in strays.values()) <= 4096


def failing(*spans: tuple[int, int]) -> wire.Problem:
    ranges = [wire.FailedRange(start=a, stop=b, since_unix=1) for a, b in spans]
    return wire.Problem(kind="kernel", fleet_uid=UID, lasting=True, failed=ranges)


def test_what_has_failed_for_good_is_counted_of_a_hosts_own_vms_that_are_to_be_on() -> None:
    observed = linked(shard(span(0, 4), power=False), shard(span(4, 10)))
    told = report(
        [(0, 10, FAILED)], problems=[failing((0, 10), (2**24 - 1, 2**24))], problems_set=True,
        converged=True,
    )  # fmt: skip
    observed.reported("a", told, EPOCH)
    assert observed.failing.of_fleet(UID) == 6
    assert len(observed.vectors[UID].hosts) < 2**20, "an index far away costs no memory"
    observed.reported("a", report([(4, 1, RUNNING)], converged=True), EPOCH)
    assert observed.failing.of_fleet(UID) == observed.failing.of_generation(UID, 1) == 5
    observed.reported("a", report(converged=False), EPOCH)
    assert observed.failing.of_fleet(UID) == 0
    observed.reported("a", report(converged=True), EPOCH)
    observed.lost_sight("a")
    assert observed.failing.of_fleet(UID) == 0
