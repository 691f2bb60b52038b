"""Conditions of placement: what keeps a host from a fleet is what people are told of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.holdings import HeldImage, HostHoldings
from fleet_controller.core.model import (
    Assignment,
    Capacity,
    ClusterView,
    FleetRecord,
    HostRecord,
    HostView,
    Shard,
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


ASKS = types.FleetSpec(
    image=types.Image(name="golden", snapshot="1"),
    boot=types.Boot(kernel="/boot/vmlinuz", initrd="/boot/initrd"),
    network=types.Network(bridge="br0"),
)
WITH_ALL = HostHoldings(
    images=(HeldImage("golden", "1", f"sha256:{'a' * 64}"),),
    kernel_folders=("/boot",),
    kernel_files=("/boot/initrd", "/boot/vmlinuz"),
    bridges=("br0",),
)


def holding(name: str, **changes: object) -> HostView:
    return host(name, holdings=msgspec.structs.replace(WITH_ALL, **changes))


def asked(total: int, *hosts: HostView, spec: types.FleetSpec = ASKS) -> FleetPlan:
    fleet = FleetRecord("spv", UID, 1, total=total)
    named = {one.record.id: one for one in hosts}
    return place(ClusterView(10, named, {"spv": fleet}, {(UID, 1): spec})).fleets["spv"]


@pytest.mark.parametrize(
    ("lacks", "reason", "why"),
    [
        ({"images": ()}, "lacks_image", "3 hosts lack golden@1"),
        ({"kernel_files": ("/boot/initrd",)}, "lacks_kernel", "3 hosts lack /boot/vmlinuz"),
        ({"kernel_files": ("/boot/vmlinuz",)}, "lacks_kernel", "3 hosts lack /boot/initrd"),
        ({"bridges": ("xenbr0",)}, "lacks_bridge", "3 hosts lack the bridge br0"),
    ],
)
def test_a_host_that_lacks_what_vms_need_gets_none_and_the_reason_says_what(
    lacks: dict[str, object], reason: str, why: str
) -> None:
    plan = asked(1, *(holding(f"h{n}", **lacks) for n in range(3)))
    assert plan.adds == 0
    assert [(one.reason, one.why) for one in plan.unplaced] == [(reason, why)]
    assert asked(1, holding("h0", **lacks), holding("h1")).adds == 1


def test_a_host_that_lacks_an_image_gets_vms_where_it_can_fetch_it() -> None:
    giving = holding("h0", gives_images=True)
    lacking = holding("h1", images=(), fetches_images=True)
    assert asked(2, giving, lacking).deltas[1].adds == 1
    for giver, reader in (
        (holding("h0"), lacking),  # an agent that does not hand on
        (giving, holding("h1", images=())),  # one that does not fetch
    ):
        assert [one.adds for one in asked(2, giver, reader).deltas] == [2]
    gone = host("h0", reachable=False, holdings=giving.record.holdings)
    assert asked(1, gone, lacking).unplaced[0].reason == "lacks_image"


def test_a_fleet_may_forbid_that_its_image_is_fetched() -> None:
    asks = types.FleetSpec()
    asks.CopyFrom(ASKS)
    asks.image.local_only = True
    hosts = holding("h0", gives_images=True), holding("h1", images=(), fetches_images=True)
    assert [one.adds for one in asked(2, *hosts, spec=asks).deltas] == [2]


def test_an_image_is_not_fetched_while_hosts_have_different_contents_under_its_name() -> None:
    other = (HeldImage("golden", "1", f"sha256:{'b' * 64}"),)
    hosts = (
        holding("h0", gives_images=True),
        holding("h1", gives_images=True, images=other),
        holding("h2", images=(), fetches_images=True),
    )
    assert {one.host for one in asked(3, *hosts).deltas} == {"h0", "h1"}
    # But where most have the same, one host's word keeps nobody from it.
    three = (*hosts, holding("h3", gives_images=True))
    assert "h2" in {one.host for one in asked(4, *three).deltas}
    asks = types.FleetSpec()
    asks.CopyFrom(ASKS)
    asks.image.digest = f"sha256:{'b' * 64}"
    assert {one.host for one in asked(2, *hosts, spec=asks).deltas} == {"h1", "h2"}


def test_a_host_that_is_alone_for_a_moment_does_not_say_what_others_boot() -> None:
    other = (HeldImage("golden", "1", f"sha256:{'b' * 64}"),)
    lacking = holding("h2", images=(), fetches_images=True)
    liar = holding("liar", gives_images=True, images=other)
    away = [host(name, reachable=False, holdings=WITH_ALL) for name in ("h0", "h1")]
    assert "h2" not in {one.host for one in asked(3, liar, *away, lacking).deltas}


def test_a_kernel_that_belongs_to_the_image_comes_with_it() -> None:
    asks = types.FleetSpec(image=ASKS.image, boot=types.Boot(kernel="/boot/golden+1.kernel"))
    giving = holding("h0", gives_images=True, kernel_files=("/boot/golden+1.kernel",))
    lacking = holding("h1", images=(), kernel_files=(), fetches_images=True)
    assert len(asked(2, giving, lacking, spec=asks).deltas) == 2
    asks.boot.kernel = "/boot/vmlinuz"
    assert [one.host for one in asked(1, giving, lacking, spec=asks).deltas] == []


def test_copies_of_a_template_are_placed_where_qemu_is_and_as_many_as_a_host_has_measured() -> None:
    asks = types.FleetSpec(start=types.START_CLONE, memory_bytes=80 << 20)
    without, untold = holding("h0", clones=False), holding("h1")
    plan = asked(1, without, spec=asks)
    assert [(one.reason, one.why) for one in plan.unplaced] == [
        ("lacks_clones", "1 host lacks QEMU, which 'start: clone' needs")
    ]
    assert asked(1, without, untold, spec=asks).adds == 1
    small = Capacity(guests=250, memory_bytes=100 << 20, clones=3)
    measured = host("h2", holdings=msgspec.structs.replace(WITH_ALL, clones=True), capacity=small)
    assert asked(5, measured, spec=asks).adds == 3
    asks.start = types.START_BOOT
    assert asked(5, measured, spec=asks).adds == 1


def test_of_those_that_boot_fewer_fit_on_a_host_than_of_copies() -> None:
    boots, copies = types.FleetSpec(), types.FleetSpec(start=types.START_CLONE)
    small = Capacity(guests=100, clones=50, boots=3)
    laptop = host("h0", holdings=msgspec.structs.replace(WITH_ALL, clones=True), capacity=small)
    assert asked(5, laptop, spec=copies).adds == 5
    assert asked(80, laptop, spec=copies).adds == 50
    plan = asked(5, laptop, spec=boots)
    assert plan.adds == 3
    assert plan.unplaced[0].why.startswith("1 host is full at 3 each (boots)")


def test_a_digest_that_is_asked_for_must_be_the_one_that_the_host_has() -> None:
    asks = types.FleetSpec()
    asks.CopyFrom(ASKS)
    asks.image.digest = f"sha256:{'b' * 64}"
    plan = asked(1, holding("h0"), spec=asks)
    assert plan.unplaced[0].why == "1 host lacks golden@1 with the digest sha256:bbbbbbbbbbbb..."
    asks.image.digest = f"sha256:{'a' * 64}"
    assert asked(1, holding("h0"), spec=asks).adds == 1


def test_a_host_that_says_nothing_of_what_it_has_is_believed_to_have_all() -> None:
    assert asked(2, host("h0")).adds == 2
    unknown = holding("h1", images=None, kernel_folders=(), bridges=None)
    assert asked(2, unknown).adds == 2


def test_what_a_host_does_not_name_among_many_it_is_believed_to_have() -> None:
    assert asked(2, holding("h0", images=(), more_images=True)).adds == 2
    assert asked(2, holding("h0", bridges=(), more_bridges=True)).adds == 2


def test_files_outside_the_folders_that_are_told_are_believed_to_be_there() -> None:
    asks = types.FleetSpec(boot=types.Boot(kernel="/srv/kernels/mini", initrd="/boot//initrd"))
    assert asked(2, holding("h0"), spec=asks).adds == 2


def test_a_bridge_that_the_agent_makes_need_not_be_there() -> None:
    asks = types.FleetSpec(network=types.Network(bridge="mf-net", create=True))
    assert asked(2, holding("h0"), spec=asks).adds == 2
    asks.more_networks.add(bridge="br7", vlan=100)
    assert asked(2, holding("h0"), spec=asks).unplaced[0].why == "1 host lacks the bridge br7"


def test_hosts_that_lack_something_are_counted_beside_those_that_are_full() -> None:
    lacking = (holding("h1", images=()), holding("h2", images=()), holding("h3", bridges=()))
    assert asked(3, holding("h0"), *lacking).unplaced[0].why == (
        "1 host is full at 2 each (guests); 2 more hosts lack golden@1; "
        "1 more host lacks the bridge br0; 1 more host like these would do"
    )
    assert asked(3, *lacking).unplaced[0].why == (
        "1 host lacks the bridge br0; 2 more hosts lack golden@1"
    )


def test_what_a_host_loses_later_moves_none_of_its_vms() -> None:
    shards = (Shard(UID, IndexSet.span(0, 2), 1, 5),)
    lost_it = msgspec.structs.replace(holding("h0", images=()), assignment=Assignment(shards))
    plan = asked(2, lost_it, holding("h1"))
    assert (plan.adds, plan.removes, plan.unplaced) == (0, 0, ())


def test_memory_counts_beside_guests() -> None:
    asks = types.FleetSpec(memory_bytes=1 << 30)
    small = host("h0", capacity=Capacity(guests=100, memory_bytes=3 << 30))
    plan = asked(5, small, spec=asks)
    assert plan.adds == 3
    assert (
        plan.unplaced[0].why == "1 host is full at 3 each (memory); 1 more host like these would do"
    )


def test_fleets_of_different_sizes_share_the_memory_of_a_host() -> None:
    other = "0b8f3f0e-3c1a-4b57-9a43-5d2f6f0a1c22"
    small = host("h0", capacity=Capacity(guests=100, memory_bytes=4 << 30))
    view = ClusterView(
        10,
        {"h0": small},
        {
            "large": FleetRecord("large", UID, 1, total=1),
            "little": FleetRecord("little", other, 2, total=10),
        },
        {
            (UID, 1): types.FleetSpec(memory_bytes=3 << 30),
            (other, 1): types.FleetSpec(memory_bytes=256 << 20),
        },
    )
    plans = place(view).fleets
    assert (plans["large"].adds, plans["little"].adds) == (1, 4)
