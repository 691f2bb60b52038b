"""Rebalances planned: what breaks a bound leaves, the rest becomes level, and then it is over."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
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
    footprint,
)
from fleet_controller.core.placement.conditions import Wanted, rooms
from fleet_controller.core.placement.draft import draft_of, footprints, vector
from fleet_controller.core.rebalance.hosts_as_arrays import HostsAsArrays
from fleet_controller.core.rebalance.model import FleetRebalance, rebalance_token
from fleet_controller.core.rebalance.plan import plan_rebalance

MIB = 1 << 20


def fleet_of(number: int) -> FleetRecord:
    return FleetRecord(f"f{number}", f"00000000-0000-0000-0000-{number:012}", number)


def view_of(
    specs: Sequence[types.FleetSpec],
    held: Sequence[Sequence[int]],
    *,
    guests: int = 100,
    labels: Sequence[dict[str, str]] = (),
) -> ClusterView:
    """`held`: for each host how many VMs of each fleet it has."""
    fleets = [fleet_of(number) for number in range(len(specs))]
    following = [0] * len(fleets)
    hosts = {}
    for number, counts in enumerate(held):
        shards = []
        for fleet, count in enumerate(counts):
            if count:
                first = following[fleet]
                following[fleet] += count
                part = IndexSet.span(first, first + count)
                shards.append(Shard(fleets[fleet].uid, part, 1, 5))
        name = f"h{number:02}"
        record = HostRecord(
            name, "a:1", labels[number] if labels else {}, capacity=Capacity(guests)
        )
        hosts[name] = HostView(record, Assignment(tuple(shards)), True)
    known = {
        one.name: msgspec.structs.replace(one, total=following[number])
        for number, one in enumerate(fleets)
    }
    by_key = {(fleets[number].uid, 1): spec for number, spec in enumerate(specs)}
    return ClusterView(100, hosts, known, by_key)


def spec(**placement: object) -> types.FleetSpec:
    return types.FleetSpec(
        memory_bytes=4 * MIB,
        placement=types.Placement(**placement),  # type: ignore[arg-type]
    )


def plan(view: ClusterView, *, only_bounds: bool = False) -> list[FleetRebalance]:
    return plan_rebalance(view, list(view.fleets.values()), only_bounds=only_bounds)


def moved(view: ClusterView, plans: Sequence[FleetRebalance]) -> ClusterView:
    """As it is once all of it has been carried out."""
    own = {
        (host, shard.fleet): len(shard.ranges)
        for host, one in view.hosts.items()
        for shard in one.assignment.shards
    }
    for one in plans:
        assert not one.gives.keys() & one.takes.keys(), "no host both gives and takes"
        assert sum(one.gives.values()) == sum(one.takes.values())
        for host, count in one.gives.items():
            own[host, one.fleet.uid] -= count
            assert own[host, one.fleet.uid] >= 0
        for host, count in one.takes.items():
            own[host, one.fleet.uid] = own.get((host, one.fleet.uid), 0) + count
    first: dict[str, int] = {}
    hosts = {}
    for host, before in view.hosts.items():
        shards = []
        for (where, uid), count in own.items():
            if where == host and count:
                begin = first.get(uid, 0)
                first[uid] = begin + count
                shards.append(Shard(uid, IndexSet.span(begin, begin + count), 1, 5))
        hosts[host] = msgspec.structs.replace(before, assignment=Assignment(tuple(shards)))
    return msgspec.structs.replace(view, hosts=hosts)


def test_new_hosts_are_filled_from_all_others_and_no_more_is_moved_than_that() -> None:
    view = view_of([spec()], [[20], [20], [20], [0]])
    (one,) = plan(view)
    assert one.takes == {"h03": 15} and one.gives == {"h00": 5, "h01": 5, "h02": 5}
    assert not one.must


def test_what_is_beyond_per_host_must_leave_and_the_rest_may() -> None:
    view = view_of([spec(per_host=8)], [[12], [4], [0]])
    (one,) = plan(view, only_bounds=True)
    assert (one.gives, one.must, one.above_per_host) == ({"h00": 4}, {"h00": 4}, 4)
    assert one.takes == {"h02": 4}
    (whole,) = plan(view)
    assert sum(whole.must.values()) == 4 and whole.moves == 6  # 12, 4, 0 -> 6, 5, 5


def test_what_the_selector_does_not_select_must_leave() -> None:
    labels = [{"rack": "a"}, {"rack": "b"}, {"rack": "b"}]
    view = view_of([spec(selector={"rack": "b"})], [[6], [3], [3]], labels=labels)
    (one,) = plan(view, only_bounds=True)
    assert one.gives == one.must == {"h00": 6} and one.off_selector == 6
    assert one.takes == {"h01": 3, "h02": 3}


def test_what_fits_nowhere_is_told_and_stays() -> None:
    view = view_of([spec(per_host=5)], [[12], [3]])
    (one,) = plan(view)
    assert one.must == {"h00": 2} and one.takes == {"h01": 2}
    assert one.unplaced == 5 and "full" in one.why and not one.is_over


def test_hosts_out_of_reach_and_cordoned_ones_are_left_alone() -> None:
    view = view_of([spec(per_host=5)], [[9], [0], [0], [9]])
    hosts = dict(view.hosts)
    hosts["h00"] = msgspec.structs.replace(hosts["h00"], reachable=False)
    cordoned = msgspec.structs.replace(hosts["h01"].record, cordoned=True)
    hosts["h01"] = msgspec.structs.replace(hosts["h01"], record=cordoned)
    (one,) = plan(msgspec.structs.replace(view, hosts=hosts))
    assert one.waiting == 4 and one.gives == {"h03": 4} and one.takes == {"h02": 4}


def test_a_draining_host_gives_nothing_and_gets_nothing() -> None:
    view = view_of([spec(per_host=5)], [[9], [1]])
    drained = msgspec.structs.replace(view.hosts["h00"].record, draining=True)
    hosts = {**view.hosts, "h00": msgspec.structs.replace(view.hosts["h00"], record=drained)}
    (one,) = plan(msgspec.structs.replace(view, hosts=hosts))
    assert one.is_over and not one.above_per_host


def test_a_fleet_that_packs_is_not_leveled() -> None:
    packs = spec(policy=types.Placement.POLICY_PACK)
    (one,) = plan(view_of([packs], [[20], [0]]))
    assert one.is_over and one.packed


def test_no_fleet_alone_goes_to_new_hosts() -> None:
    view = view_of([spec(), spec(), spec()], [[10, 10, 10]] * 3 + [[0, 0, 0]] * 3)
    for one in plan(view):
        assert one.moves == 15


def test_a_fleet_is_spread_over_the_values_of_its_label_before_hosts_are_level() -> None:
    labels = [{"rack": "a"}, {"rack": "a"}, {"rack": "b"}]
    view = view_of([spec(spread_label="rack")], [[6], [6], [0]], labels=labels)
    (one,) = plan(view)
    assert one.takes == {"h02": 6} and one.gives == {"h00": 3, "h01": 3}


def test_its_token_is_another_one_as_soon_as_anything_else_would_move() -> None:
    one, other = view_of([spec()], [[20], [0]]), view_of([spec()], [[22], [0]])
    assert rebalance_token(plan(one)) == rebalance_token(plan(one))
    assert rebalance_token(plan(one)) != rebalance_token(plan(other))


def test_what_is_being_moved_counts_where_it_goes() -> None:
    view = view_of([spec()], [[4], [0]])
    uid = fleet_of(0).uid
    staged = Assignment((Shard(uid, IndexSet.span(2, 4), 1, 9, staged=True),))
    hosts = {**view.hosts, "h01": msgspec.structs.replace(view.hosts["h01"], assignment=staged)}
    (one,) = plan(msgspec.structs.replace(view, hosts=hosts))
    assert one.is_over


@st.composite
def clusters(draw: st.DrawFn) -> ClusterView:
    fleets, hosts = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    racks = st.sampled_from("ab")
    labels = [{"rack": draw(racks), "disk": draw(racks)} for _ in range(hosts)]
    specs = [
        spec(
            per_host=draw(st.integers(0, 9)),
            selector=draw(st.sampled_from([{}, {}, {"disk": "a"}])),
            spread_label=draw(st.sampled_from(["", "", "rack"])),
            policy=draw(
                st.sampled_from([types.Placement.POLICY_SPREAD, types.Placement.POLICY_PACK])
            ),
        )
        for _ in range(fleets)
    ]
    held = [[draw(st.integers(0, 12)) for _ in range(fleets)] for _ in range(hosts)]
    view = view_of(specs, held, guests=40, labels=labels)
    changed = {}
    for name, host in view.hosts.items():
        record = msgspec.structs.replace(
            host.record, cordoned=draw(st.integers(0, 5)) == 0,
            capacity=Capacity(draw(st.integers(20, 60))),
        )  # fmt: skip
        changed[name] = msgspec.structs.replace(
            host, record=record, reachable=draw(st.integers(0, 6)) > 0
        )
    return msgspec.structs.replace(view, hosts=changed)


@settings(max_examples=300, deadline=None)
@given(clusters(), st.booleans())
def test_rebalances_end_and_leave_nothing_that_could_be_better(
    view: ClusterView, only_bounds: bool
) -> None:
    """Each is carried out as planned, until the plan is empty: what leaves a full host makes room
    for another that waited for it, so that it may take a few."""
    for _ in range(12):
        plans = plan(view, only_bounds=only_bounds)
        view = moved(view, plans)
        for name, host in view.hosts.items():
            load = sum(len(shard.ranges) for shard in host.assignment.shards)
            if any(name in one.takes for one in plans):
                assert load <= host.record.capacity.guests, "no host gets more than fits"
        if not any(one.gives for one in plans):
            break
    else:
        raise AssertionError("it goes on for ever")
    for one in plans:
        assert one.unplaced + one.waiting == one.off_selector + one.above_per_host
        assert bool(one.why) == bool(one.unplaced)


@settings(max_examples=200, deadline=None)
@given(clusters())
def test_with_room_everywhere_a_second_one_is_empty(view: ClusterView) -> None:
    hosts = {
        name: msgspec.structs.replace(
            host, record=msgspec.structs.replace(host.record, capacity=Capacity(1_000))
        )
        for name, host in view.hosts.items()
    }
    roomy = msgspec.structs.replace(view, hosts=hosts)
    after = moved(roomy, plan(roomy))
    assert not any(one.gives for one in plan(after))


@settings(max_examples=100, deadline=None)
@given(clusters(), st.integers(0, 3), st.integers(0, 64 * MIB))
def test_rooms_are_those_of_the_conditions(view: ClusterView, disks: int, memory: int) -> None:
    prints = footprints(view.specs)
    capacity = Capacity(30, memory_bytes=memory, disks=disks * 10, vifs=9)
    drafts = {
        name: draft_of(
            msgspec.structs.replace(
                host, record=msgspec.structs.replace(host.record, capacity=capacity)
            ),
            prints,
        )
        for name, host in view.hosts.items()
    }
    wanted = types.FleetSpec(memory_bytes=3 * MIB, network=types.Network(bridge="br0"))
    size = vector(footprint(wanted))
    expected = rooms(list(drafts.values()), Wanted("new", wanted, size))
    assert list(HostsAsArrays(drafts).room(size)) == expected


@pytest.mark.parametrize("hosts", [0, 1])
def test_without_hosts_there_is_nothing_to_do(hosts: int) -> None:
    (one,) = plan(view_of([spec(per_host=3)], [[2]] * hosts))
    assert one.is_over
