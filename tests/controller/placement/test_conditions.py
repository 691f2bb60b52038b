"""Conditions of placement: what keeps a host from a fleet is what people are told of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import (
    Assignment,
    Capacity,
    ClusterView,
    FleetRecord,
    HostRecord,
    HostView,
)
from fleet_controller.core.placement import conditions
from fleet_controller.core.placement.conditions import Wanted
from fleet_controller.core.placement.placement import FleetPlan, place

UID = "0b8f3f0e-3c1a-4b57-9a43-5d2f6f0a1c11"
IN_A = types.FleetSpec(placement=types.Placement(selector={"rack": "a"}))


def host(name: str, *, reachable: bool = True, **record: object) -> HostView:
    made = HostRecord(name, f"{name}:1", {"rack": "a"}, Capacity(guests=2))
    return HostView(msgspec.structs.replace(made, **record), Assignment(), reachable)


def planned(total: int, *hosts: HostView) -> FleetPlan:
    fleet = FleetRecord("spv", UID, 1, total=total)
    named = {one.record.id: one for one in hosts}
    return place(ClusterView(10, named, {"spv": fleet}, {(UID, 1): IN_A})).fleets["spv"]


@pytest.mark.parametrize(
    ("kept_away", "reason", "why"),
    [
        (host("h0", labels={"rack": "b"}), "selector", "no host is labelled rack=a"),
        (
            host("h0", quarantine="its VMs fail"),
            "cordoned",
            "all 1 hosts are cordoned, draining, lost or in quarantine",
        ),
        (host("h0", reachable=False), "unreachable", "none of 1 hosts can be reached"),
        (
            host("h0", capacity=Capacity(guests=0)),
            "capacity",
            "1 host is full at 0 each (guests)",
        ),
    ],
)
def test_each_condition_keeps_the_host_away_and_says_why(
    kept_away: HostView, reason: str, why: str
) -> None:
    plan = planned(1, kept_away)
    assert plan.adds == 0
    assert [(one.reason, one.why) for one in plan.unplaced] == [(reason, why)]


def test_hosts_that_are_kept_away_are_counted_beside_those_that_are_full() -> None:
    plan = planned(4, host("h0"), host("h1", cordoned=True), host("h2", reachable=False))
    assert plan.adds == 2
    assert plan.unplaced[0].why == (
        "1 host is full at 2 each (guests) (2 more are cordoned, draining or out of reach); "
        "1 more host like these would do"
    )


class HasImage:
    reason = "image"
    aside: tuple[str, ...] = ("without the image",)
    lacked = ""

    def __init__(self, wanted: Wanted) -> None:
        pass

    def admits(self, host: HostView) -> bool:
        return host.record.storage == "has it"

    def explain(self, hosts: Sequence[HostView]) -> str:
        return f"none of {len(hosts):,} hosts has the image"


def test_a_new_condition_is_one_class_in_one_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "HOST_CONDITIONS", (*conditions.HOST_CONDITIONS, HasImage))
    assert planned(1, host("h0", storage="has it")).adds == 1
    nowhere = planned(1, host("h0"), host("h1"))
    assert nowhere.adds == 0 and nowhere.unplaced[0].why == "none of 2 hosts has the image"
    beside = planned(3, host("h0"), host("h1", storage="has it")).unplaced[0].why
    assert "(1 more is cordoned, draining, out of reach or without the image)" in beside
