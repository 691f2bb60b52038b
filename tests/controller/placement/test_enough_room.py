"""Room for all VMs of a fleet, told without placing them: never told where a placement says no."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet_controller.core.model import Assignment, ClusterView, FleetRecord, Shard
from fleet_controller.core.placement.enough_room import EnoughRoom
from fleet_controller.core.placement.placement import place
from tests.controller.placement.test_placement import (
    OTHER,
    UID,
    after,
    cluster,
    draw_hosts,
    host,
    hosts_drawn,
    spec,
    unplaced,
)


def is_sure(view: ClusterView, fleet: FleetRecord) -> bool:
    return EnoughRoom(view).is_sure(fleet, view.specs.get((fleet.uid, fleet.generation)))


def grown(view: ClusterView, total: int) -> FleetRecord:
    return msgspec.structs.replace(view.fleets["spv"], total=total)


@given(hosts_drawn, st.integers(0, 40), st.integers(0, 60), st.integers(0, 20), st.integers(0, 3))
def test_where_room_is_told_a_placement_finds_it(
    drawn: list[tuple[int, str, bool, bool]], total: int, largest: int, other: int, limit: int
) -> None:
    others = (FleetRecord("other", OTHER, 2, total=other),)
    rule = spec(per_host=limit, selector={"rack": "a"} if limit == 3 else {})
    first = cluster(draw_hosts(drawn), total, rule, others=others)
    view = after(first, place(first))
    fleet = grown(view, largest)
    there = msgspec.structs.replace(view, fleets={**view.fleets, "spv": fleet})
    assert not is_sure(view, fleet) or not unplaced(place(there))


def settled(total: int) -> ClusterView:
    first = cluster([host("h0"), host("h1")], total)
    return after(first, place(first))


def test_a_sum_of_rooms_is_enough_where_everybody_has_what_he_is_to_have() -> None:
    view = settled(5)
    assert is_sure(view, grown(view, 20))
    assert not is_sure(view, grown(view, 21))


def test_many_are_asked_for_after_one_look_at_the_hosts() -> None:
    view = settled(5)
    room, rule = EnoughRoom(view), view.specs[UID, 1]
    told = [room.is_sure(grown(view, total), rule) for total in (20, 21, 5, 20)]
    assert told == [True, False, True, True]


@pytest.mark.parametrize("what", ["lost", "staged", "orphan", "missing", "held back", "beyond"])
def test_what_is_on_its_way_or_in_the_way_is_left_to_the_placement(what: str) -> None:
    view = settled(5)
    one = view.hosts["h0"]
    match what:
        case "lost":
            one = msgspec.structs.replace(
                one, record=msgspec.structs.replace(one.record, lost=True)
            )
        case "staged":
            staged = Shard(UID, IndexSet.span(3, 4), 1, 5, staged=True)
            shards = (*one.assignment.shards, staged)
            one = msgspec.structs.replace(one, assignment=Assignment(shards))
        case "orphan":
            one = msgspec.structs.replace(one, orphans=((UID, 3, IndexSet.span(9, 10)),))
        case "missing":
            other = FleetRecord("other", OTHER, 2, total=1)
            view = msgspec.structs.replace(view, fleets={**view.fleets, "other": other})
        case "held back":
            view = msgspec.structs.replace(view, held_back={UID: "its record is not understood"})
        case "beyond":
            beyond = Shard(UID, IndexSet.span(50, 51), 1, 5)
            shards = (*one.assignment.shards, beyond)
            one = msgspec.structs.replace(one, assignment=Assignment(shards))
    view = msgspec.structs.replace(view, hosts={**view.hosts, "h0": one})
    assert not is_sure(view, grown(view, 6))
