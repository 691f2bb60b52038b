"""What lost hosts held: let go first, packed on few others, and told as running twice meanwhile."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.host_loss.duplicates import duplicates
from fleet_controller.core.model import (
    Assignment,
    Capacity,
    ClusterView,
    FleetRecord,
    HostRecord,
    HostView,
    Shard,
    Tombstone,
)
from fleet_controller.core.passes import Pass, decide
from fleet_controller.core.placement.placement import Placement, place

UID = "0b8f3f0e-3c1a-4b57-9a43-5d2f6f0a1c11"
GONE = "5a1e3c55-5f5c-4d0e-a7c5-0f6d3a2b9e22"
REPLACE = types.FleetSpec(memory_bytes=4 << 20, on_loss=types.ON_LOSS_REPLACE)
WAIT = types.FleetSpec(memory_bytes=4 << 20, on_loss=types.ON_LOSS_WAIT)


def span(start: int, stop: int) -> IndexSet:
    return IndexSet.span(start, stop)


def shard(start: int, stop: int, birth: int = 10, generation: int = 1) -> Shard:
    return Shard(UID, span(start, stop), generation, birth)


def host(
    name: str, *shards: Shard, lost: bool = False, guests: int = 10, **fields: object
) -> HostView:
    record = HostRecord(name, f"{name}:1", capacity=Capacity(guests), lost=lost)
    quarantine = fields.pop("quarantine", "")
    record = msgspec.structs.replace(record, quarantine=quarantine)
    view = HostView(record, Assignment(shards), not lost)
    return msgspec.structs.replace(view, **fields)


def cluster(
    *hosts: HostView, total: int, specs: tuple[types.FleetSpec, ...] = (REPLACE,)
) -> ClusterView:
    fleet = FleetRecord("spv", UID, 1, total=total, generation=len(specs))
    by_generation = {(UID, number): one for number, one in enumerate(specs, start=1)}
    known = {one.record.id: one for one in hosts}
    return ClusterView(100, known, {"spv": fleet}, by_generation, gone=frozenset({GONE}))


def written(view: ClusterView, placement: Placement | Pass) -> ClusterView:
    hosts = {
        name: msgspec.structs.replace(one, assignment=placement.assignments[name])
        if name in placement.assignments
        else one
        for name, one in view.hosts.items()
    }
    return msgspec.structs.replace(view, hosts=hosts, revision=view.revision + 50)


def test_what_a_lost_host_held_is_buried_there_and_placed_elsewhere_in_the_same_plan() -> None:
    view = cluster(host("a", shard(0, 5), lost=True), host("b", shard(5, 10)), total=10)
    placement = place(view)
    lost = placement.assignments["a"]
    (stone,) = lost.tombstones
    assert (lost.shards, stone.ranges, stone.born_until) == ((), span(0, 5), 10)
    assert placement.assignments["b"].indices(UID) == span(0, 10)
    assert {s.birth for s in placement.assignments["b"].shards} == {10, 100}


def test_those_that_let_go_are_written_before_those_that_take_over() -> None:
    view = cluster(host("z", shard(0, 5), lost=True), host("b"), host("c"), total=5)
    placement = place(view)
    assert placement.first == {"z"}
    assert next(iter(placement.assignments)) == "z"


def test_the_tombstones_of_a_lost_host_hold_no_index_and_those_of_others_do() -> None:
    for lost, placed in ((True, 5), (False, 0)):
        away = host("a", lost=lost, reachable=False)
        stones = (Tombstone(1, UID, span(0, 5), 10),)
        away = msgspec.structs.replace(away, assignment=Assignment((), stones))
        plan = place(cluster(away, host("b"), total=5)).fleets["spv"]
        assert plan.adds == placed


def test_shards_that_wait_stay_and_hold_their_indices() -> None:
    view = cluster(host("a", shard(0, 5), lost=True), host("b"), total=5, specs=(WAIT,))
    placement = place(view)
    assert placement.assignments == {} and placement.fleets["spv"].adds == 0


def test_a_vms_own_generation_says_whether_it_waits() -> None:
    old, new = shard(0, 3, generation=1), shard(3, 5, generation=2)
    view = cluster(host("a", old, new, lost=True), host("b"), total=5, specs=(WAIT, REPLACE))
    placement = place(view)
    assert placement.assignments["a"].shards == (old,)
    assert placement.assignments["b"].indices(UID) == span(3, 5)


def test_replacements_are_packed_where_most_room_is_and_the_rest_is_spread() -> None:
    view = cluster(
        host("a", shard(0, 8), lost=True),
        host("b", shard(8, 12)), host("c", shard(12, 15)), host("d", shard(15, 20)),
        total=20,
    )  # fmt: skip
    adds = {delta.host: delta.adds for delta in place(view).fleets["spv"].deltas}
    assert adds == {"c": 7, "b": 1}
    grown = msgspec.structs.replace(view.fleets["spv"], total=22)
    view = msgspec.structs.replace(view, fleets={"spv": grown})
    adds = {delta.host: delta.adds for delta in place(view).fleets["spv"].deltas}
    assert adds == {"c": 7, "b": 2, "d": 1}


def test_lost_hosts_and_those_in_quarantine_get_nothing() -> None:
    view = cluster(host("a", lost=True, reachable=True), host("b", quarantine="ill"), total=5)
    (reason,) = place(view).fleets["spv"].unplaced
    assert "all 2 hosts are cordoned, draining, lost or in quarantine" in reason.message


def test_what_fits_nowhere_is_placed_as_soon_as_there_is_room() -> None:
    view = cluster(host("a", shard(0, 5), lost=True), host("b", guests=2), total=5)
    first = place(view)
    assert len(first.assignments["b"].indices(UID)) == 2
    later = written(view, first)
    more = msgspec.structs.replace(later, hosts={**later.hosts, "c": host("c")})
    assert place(more).assignments["c"].indices(UID) == span(2, 5)


def test_orphans_are_buried_when_another_holds_them_or_their_fleet_was_deleted() -> None:
    orphans = ((UID, 7, span(0, 8)), (GONE, 8, span(0, 2)), ("unknown", 9, span(0, 2)))
    view = cluster(host("a", orphans=orphans), host("b", shard(0, 5)), total=5)
    stones = place(view).assignments["a"].tombstones
    assert {(s.fleet, s.ranges, s.born_until) for s in stones} == {
        (UID, span(0, 5), 7),
        (GONE, span(0, 2), 8),
    }
    assert "a" not in place(written(view, place(view))).assignments, "once is enough"


def test_an_index_that_some_host_has_as_an_orphan_is_placed_once_that_has_let_it_go() -> None:
    view = cluster(host("a", orphans=((UID, 7, span(0, 2)),)), host("b"), total=3)
    placement = place(view)
    [stone] = placement.assignments["a"].tombstones
    assert (stone.ranges, stone.born_until) == (span(0, 2), 7)
    placed = [one.indices(UID) for one in placement.assignments.values()]
    assert IndexSet.union_of(placed) == span(2, 3)
    assert [one.reason for one in placement.fleets["spv"].unplaced] == ["releasing"]
    after = written(view, placement)
    let_go = msgspec.structs.replace(after.hosts["a"], released=frozenset({stone.id}), orphans=())
    placement = place(msgspec.structs.replace(after, hosts={**after.hosts, "a": let_go}))
    assert not placement.fleets["spv"].unplaced


def test_an_orphan_that_would_fit_nowhere_else_is_left_alone() -> None:
    full = host("b", shard(0, 4), guests=4)
    view = cluster(host("a", orphans=((UID, 7, span(4, 6)),), guests=2), full, total=6)
    placement = place(view)
    assert not placement.assignments
    assert [one.indices for one in placement.fleets["spv"].unplaced] == [span(4, 6)]


def test_an_orphan_of_what_is_only_staged_elsewhere_is_let_go_before_that_starts() -> None:
    staged = msgspec.structs.replace(shard(0, 5), staged=True)
    view = cluster(host("a", orphans=((UID, 7, span(0, 5)),)), host("b", staged), total=5)
    assert duplicates(view, {}) == {}, "what is staged does not run"
    decided = decide(view, 250)
    (stone,) = decided.assignments["a"].tombstones
    assert (stone.ranges, stone.born_until) == (span(0, 5), 7)
    assert "b" not in decided.assignments, "it waits"
    view = written(view, decided)
    assert decide(view, 250).assignments == {}
    let_go = msgspec.structs.replace(view.hosts["a"], released=frozenset({stone.id}), orphans=())
    view = msgspec.structs.replace(view, hosts={**view.hosts, "a": let_go})
    (started,) = decide(view, 250).assignments["b"].shards
    assert started == msgspec.structs.replace(staged, staged=False)


def test_an_orphan_beside_its_own_staged_copy_is_left_to_its_host() -> None:
    staged = msgspec.structs.replace(shard(0, 5), staged=True)
    here = host("a", staged, orphans=((UID, 7, span(0, 5)),))
    decided = decide(cluster(here, total=5), 250)
    assert decided.assignments["a"].tombstones == (), "a newer birth replaces it there"


def test_duplicates_are_what_others_hold_of_what_is_still_to_be_released() -> None:
    view = cluster(host("a", shard(0, 8), lost=True), host("b", guests=6), total=8)
    placement = place(view)
    assert duplicates(view, placement.assignments) == {"a": {UID: 6}}
    after = written(view, placement)
    assert duplicates(after, {}) == {"a": {UID: 6}}
    acknowledged = frozenset(s.id for s in after.hosts["a"].assignment.tombstones)
    let_go = msgspec.structs.replace(after.hosts["a"], released=acknowledged)
    assert duplicates(msgspec.structs.replace(after, hosts={**after.hosts, "a": let_go}), {}) == {}


def test_what_a_host_is_given_again_is_no_duplicate_of_its_own() -> None:
    stones = (Tombstone(1, UID, span(0, 5), 7),)
    again = host("a", shard(0, 5, birth=20))
    again = msgspec.structs.replace(again, assignment=Assignment((shard(0, 5, 20),), stones))
    assert duplicates(cluster(again, total=5), {}) == {}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=2, max_size=8),
    st.lists(st.sets(st.integers(0, 7), max_size=4), min_size=1, max_size=5),
)
def test_whoever_is_lost_every_index_is_held_once_or_explained(
    guests: list[int], losses: list[set[int]]
) -> None:
    """And no prefix of the writes has one index in two assignments."""
    total = sum(guests)
    view = cluster(*(host(f"h{n}", guests=g) for n, g in enumerate(guests)), total=total)
    for lost in losses:
        hosts = {
            name: msgspec.structs.replace(
                one,
                record=msgspec.structs.replace(one.record, lost=int(name[1:]) in lost),
                reachable=int(name[1:]) not in lost,
            )
            for name, one in view.hosts.items()
        }
        view = msgspec.structs.replace(view, hosts=hosts)
        placement = place(view)
        for cut in range(len(placement.assignments) + 1):
            part = dict(list(placement.assignments.items())[:cut])
            held = [part.get(name, one.assignment).indices(UID) for name, one in hosts.items()]
            assert len(IndexSet.union_of(held)) == sum(map(len, held))
        view = written(view, placement)
        held_now = IndexSet.union_of(o.assignment.indices(UID) for o in view.hosts.values())
        rest = IndexSet.union_of(u.indices for u in placement.fleets["spv"].unplaced)
        assert held_now & rest == EMPTY and held_now | rest == span(0, total)
