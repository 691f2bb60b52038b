"""Placement: never over capacity, minimal, complete or explained, deterministic, balanced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import (
    Assignment,
    Capacity,
    ClusterView,
    FleetRecord,
    HostRecord,
    HostView,
    Shard,
    Tombstone,
    footprint,
)
from fleet_controller.core.placement.placement import Placement, place

UID = "0b8f3f0e-3c1a-4b57-9a43-5d2f6f0a1c11"
OTHER = "5a1e3c55-5f5c-4d0e-a7c5-0f6d3a2b9e22"


def spec(**placement: object) -> types.FleetSpec:
    made = types.FleetSpec(
        memory_bytes=4 << 20, placement=types.Placement(policy=types.Placement.POLICY_SPREAD)
    )
    made.placement.MergeFrom(types.Placement(**placement))  # type: ignore[arg-type]
    return made


def host(name: str, guests: int = 10, **fields: object) -> HostView:
    labels = fields.pop("labels", {})
    memory = fields.pop("memory", 0)
    cordoned = fields.pop("cordoned", False)
    record = HostRecord(
        name,
        f"{name}:1",
        labels=labels,  # type: ignore[arg-type]
        capacity=Capacity(guests, memory),  # type: ignore[arg-type]
        cordoned=cordoned,  # type: ignore[arg-type]
    )
    view = HostView(record, Assignment(), True)
    return msgspec.structs.replace(view, **fields) if fields else view


def cluster(
    hosts: list[HostView],
    total: int,
    rule: types.FleetSpec | None = None,
    revision: int = 100,
    others: tuple[FleetRecord, ...] = (),
) -> ClusterView:
    fleets = {"spv": FleetRecord("spv", UID, 1, total=total)}
    fleets |= {fleet.name: fleet for fleet in others}
    template = rule or spec()
    specs = {(fleet.uid, fleet.generation): template for fleet in fleets.values()}
    return ClusterView(revision, {h.record.id: h for h in hosts}, fleets, specs)


def after(view: ClusterView, placement: Placement, **fleet: object) -> ClusterView:
    """The view once the placement was written and every tombstone acknowledged."""
    hosts = {}
    for name, have in view.hosts.items():
        assignment = placement.assignments.get(name, have.assignment)
        hosts[name] = msgspec.structs.replace(
            have,
            assignment=assignment,
            released=frozenset(t.id for t in assignment.tombstones),
        )
    record = msgspec.structs.replace(view.fleets["spv"], **fleet)
    return msgspec.structs.replace(
        view, hosts=hosts, fleets={**view.fleets, "spv": record}, revision=view.revision + 1
    )


def holders(view: ClusterView, placement: Placement, uid: str = UID) -> dict[str, IndexSet]:
    return {
        name: placement.assignments.get(name, have.assignment).indices(uid)
        for name, have in view.hosts.items()
    }


def unplaced(placement: Placement) -> IndexSet:
    return IndexSet.union_of(u.indices for u in placement.fleets["spv"].unplaced)


def check(view: ClusterView, placement: Placement) -> None:
    """What must hold of any placement of any view."""
    held = holders(view, placement)
    total = view.fleets["spv"].total
    assert sum(map(len, held.values())) == len(IndexSet.union_of(held.values())), "held twice"
    every = IndexSet.union_of([*held.values(), unplaced(placement)])
    assert every == IndexSet.span(0, total), "complete or explained"
    for name, have in view.hosts.items():
        assignment = placement.assignments.get(name, have.assignment)
        pending = sum(len(t.ranges) for t in assignment.tombstones if t.id not in have.released)
        load = sum(len(s.ranges) for s in assignment.shards) + pending
        gained = held[name] - have.assignment.indices(UID)
        assert not gained or load <= have.record.capacity.guests, "over capacity"
        assert not gained or (have.reachable and not have.record.cordoned)
    buried: dict[str, IndexSet] = {
        name: IndexSet.union_of(
            t.ranges
            for t in placement.assignments.get(name, have.assignment).tombstones
            if t.fleet == UID and t.id not in have.released
        )
        for name, have in view.hosts.items()
    }
    fresh = IndexSet.union_of(
        held[name] - have.assignment.indices(UID) for name, have in view.hosts.items()
    )
    assert fresh.isdisjoint(IndexSet.union_of(buried.values())), "placed before released"


hosts_drawn = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["a", "b", "c"]), st.booleans(), st.booleans()),
    max_size=8,
)


def draw_hosts(drawn: list[tuple[int, str, bool, bool]]) -> list[HostView]:
    return [
        host(
            f"h{i}",
            guests,
            labels={"rack": rack},
            cordoned=shut and i % 3 == 0,
            reachable=up or i % 2 == 0,
        )
        for i, (guests, rack, shut, up) in enumerate(drawn)
    ]


@settings(max_examples=200, deadline=None)
@given(
    hosts_drawn,
    st.lists(st.integers(0, 90), min_size=1, max_size=5),
    st.sampled_from([spec(), spec(spread_label="rack"), spec(policy=2), spec(per_host=3)]),
    st.booleans(),
)
def test_every_sequence_of_totals_keeps_the_rules(
    drawn: list[tuple[int, str, bool, bool]],
    totals: list[int],
    rule: types.FleetSpec,
    acknowledged: bool,
) -> None:
    view = cluster(draw_hosts(drawn), totals[0], rule)
    for total in totals:
        before = {name: have.assignment.indices(UID) for name, have in view.hosts.items()}
        view = msgspec.structs.replace(
            view, fleets={"spv": msgspec.structs.replace(view.fleets["spv"], total=total)}
        )
        placement = place(view)
        check(view, placement)
        assert place(view) == placement, "deterministic"
        wanted = IndexSet.span(0, total)
        for name, held in holders(view, placement).items():
            assert (before[name] & wanted).issubset(held), "what runs stays where it runs"
        view = after(view, placement)
        if not acknowledged:
            hosts = {
                n: msgspec.structs.replace(h, released=frozenset()) for n, h in view.hosts.items()
            }
            view = msgspec.structs.replace(view, hosts=hosts)


@settings(max_examples=100, deadline=None)
@given(hosts_drawn, st.integers(0, 90))
def test_a_placement_that_was_written_needs_no_other(
    drawn: list[tuple[int, str, bool, bool]], total: int
) -> None:
    view = cluster(draw_hosts(drawn), total)
    assert not place(after(view, place(view))).assignments


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 200))
def test_racks_are_balanced_within_one_where_asked(racks: int, per_rack: int, total: int) -> None:
    hosts = [
        host(f"r{r}h{i}", 250, labels={"rack": f"r{r}"})
        for r in range(racks)
        for i in range(per_rack)
    ]
    view = cluster(hosts, total, spec(spread_label="rack"))
    held = holders(view, place(view))
    by_rack = Counter({f"r{r}": 0 for r in range(racks)})
    for name, indices in held.items():
        by_rack[view.hosts[name].record.labels["rack"]] += len(indices)
    assert max(by_rack.values()) - min(by_rack.values()) <= 1
    for r in range(racks):
        loads = [len(v) for n, v in held.items() if n.startswith(f"r{r}h")]
        assert max(loads) - min(loads) <= 1


def test_growth_goes_to_the_least_loaded() -> None:
    busy = host("a", 10, assignment=Assignment((Shard(OTHER, IndexSet.span(0, 6), 1, 5),)))
    view = cluster([busy, host("b")], 8, others=(FleetRecord("other", OTHER, 2, total=6),))
    assert {n: len(v) for n, v in holders(view, place(view)).items()} == {"a": 1, "b": 7}


def test_packing_fills_the_fullest_host_first() -> None:
    busy = host("b", 10, assignment=Assignment((Shard(OTHER, IndexSet.span(0, 6), 1, 5),)))
    view = cluster(
        [host("a"), busy], 5, spec(policy=2), others=(FleetRecord("other", OTHER, 2, total=6),)
    )
    assert {n: len(v) for n, v in holders(view, place(view)).items()} == {"a": 1, "b": 4}


def test_shrinking_takes_the_highest_indices_and_buries_them() -> None:
    view = cluster([host("a"), host("b")], 8)
    view = after(view, place(view), total=3)
    placement = place(view)
    assert IndexSet.union_of(holders(view, placement).values()) == IndexSet.span(0, 3)
    buried = [t for a in placement.assignments.values() for t in a.tombstones]
    assert IndexSet.union_of(t.ranges for t in buried) == IndexSet.span(3, 8)
    assert all(t.born_until == 100 for t in buried)


def test_an_index_is_not_placed_again_before_its_release_is_acknowledged() -> None:
    waiting = Assignment((), (Tombstone(7, UID, IndexSet.span(0, 4), 90),))
    view = cluster([host("a", assignment=waiting), host("b")], 6)
    placement = place(view)
    assert IndexSet.union_of(holders(view, placement).values()) == IndexSet.span(4, 6)
    assert [u.reason for u in placement.fleets["spv"].unplaced] == ["releasing"]


def test_acknowledged_tombstones_go_with_the_next_write() -> None:
    done = Assignment((), (Tombstone(7, UID, IndexSet.span(0, 4), 90),))
    view = cluster([host("a", assignment=done, released=frozenset({7}))], 6)
    placement = place(view)
    assert placement.assignments["a"].tombstones == ()
    assert not placement.fleets["spv"].unplaced


def test_nothing_is_written_only_to_clear_a_tombstone() -> None:
    done = Assignment((), (Tombstone(7, UID, IndexSet.span(0, 4), 90),))
    assert not place(cluster([host("a", assignment=done, released=frozenset({7}))], 0)).assignments


def test_tombstoned_vms_still_take_their_room() -> None:
    waiting = Assignment((), (Tombstone(7, UID, IndexSet.span(20, 28), 90),))
    view = cluster([host("a", 10, assignment=waiting)], 10)
    assert len(holders(view, place(view))["a"]) == 2


def test_a_smaller_capacity_evicts_nothing() -> None:
    view = cluster([host("a", 10)], 10)
    view = after(view, place(view))
    small = msgspec.structs.replace(
        view.hosts["a"],
        record=msgspec.structs.replace(view.hosts["a"].record, capacity=Capacity(4)),
    )
    assert not place(msgspec.structs.replace(view, hosts={"a": small})).assignments


def test_memory_binds_where_guests_do_not() -> None:
    view = cluster([host("a", 10, memory=12 << 20)], 5)
    placement = place(view)
    assert len(holders(view, placement)["a"]) == 3
    (reason,) = placement.fleets["spv"].unplaced
    assert "memory" in reason.message and reason.hosts_needed == 1


def test_further_disks_and_interfaces_take_their_share() -> None:
    rule = spec()
    rule.disk.target = "xvda"
    rule.more_disks.add(target="xvdb")
    rule.network.bridge = "br0"
    rule.more_networks.add(bridge="br1")
    rule.more_networks.add(bridge="br2")
    assert footprint(rule) == Capacity(1, 4 << 20, disks=2, vifs=3, event_channels=7, boots=1)
    few = host("a")
    record = msgspec.structs.replace(few.record, capacity=Capacity(10, vifs=8))
    placed = place(cluster([msgspec.structs.replace(few, record=record)], 10, rule))
    (shard,) = placed.assignments["a"].shards
    assert len(shard.ranges) == 2


def test_an_orphan_that_another_host_holds_is_buried_where_it_is() -> None:
    holder = host("a", assignment=Assignment((Shard(UID, IndexSet.span(0, 4), 1, 50),)))
    haunted = host("b", orphans=((UID, 40, IndexSet.span(2, 6)),))
    placement = place(cluster([holder, haunted], 4))
    (tombstone,) = placement.assignments["b"].tombstones
    assert (tombstone.ranges, tombstone.born_until) == (IndexSet.span(2, 4), 40)


def test_orphans_take_their_room_until_they_are_gone() -> None:
    strays = ((UID, 40, IndexSet.span(0, 3)), (OTHER, 7, IndexSet.span(0, 2)))
    holder = host("a", 3, assignment=Assignment((Shard(UID, IndexSet.span(0, 3), 1, 50),)))
    placement = place(cluster([holder, host("b", 10, orphans=strays)], 13))
    assert placement.assignments["b"].indices(UID) == IndexSet.span(3, 8)
    assert unplaced(placement) == IndexSet.span(8, 13)


def test_an_orphan_that_is_assigned_where_it_is_takes_its_room_once() -> None:
    adopted = host(
        "b",
        10,
        assignment=Assignment((Shard(UID, IndexSet.span(0, 4), 1, 40),)),
        orphans=((UID, 40, IndexSet.span(0, 4)),),
    )
    placed = place(cluster([adopted], 10))
    assert placed.assignments["b"].indices(UID) == IndexSet.span(0, 10)


def messages(hosts: list[HostView], rule: types.FleetSpec, total: int = 50) -> Mapping[str, str]:
    return {u.reason: u.message for u in place(cluster(hosts, total, rule)).fleets["spv"].unplaced}


def test_what_fits_nowhere_is_explained_with_what_would_help() -> None:
    assert "no host has announced" in messages([], spec())["no_hosts"]
    assert "labelled zone=x" in messages([host("a")], spec(selector={"zone": "x"}))["selector"]
    assert "all 1 hosts are cordoned" in messages([host("a", cordoned=True)], spec())["cordoned"]
    assert "none of 1 hosts" in messages([host("a", reachable=False)], spec())["unreachable"]
    full = messages([host("a"), host("b")], spec())["capacity"]
    assert "30 VMs fit nowhere" in full and "3 more hosts like these would do" in full
    assert "(per_host)" in messages([host("a")], spec(per_host=2))["per_host"]
