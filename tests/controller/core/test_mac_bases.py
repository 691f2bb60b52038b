"""Fleets that give a base for their MAC addresses: enough of them, and none of another's."""

from __future__ import annotations

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.mac_bases import check_macs
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.refusals import Refused
from tests.controller.core.test_addresses import fleet

BASE = "00:16:3e:00:00:00"


def spec(base: str, bridge: str = "br0", *more: tuple[str, str]) -> types.FleetSpec:
    made = types.FleetSpec(network=types.Network(bridge=bridge, mac_base=base))
    for on, second in more:
        made.more_networks.add(bridge=on, mac_base=second)
    return made


def check(
    new: types.FleetSpec,
    total: int,
    *,
    was: tuple[types.FleetSpec, int] | None = None,
    other: tuple[types.FleetSpec, int] | None = None,
) -> None:
    fleets: dict[str, FleetRecord] = {}
    specs = {}
    for name, held in (("mine", was), ("other", other)):
        if held is not None:
            fleets[name] = fleet(name, held[1])
            specs[fleets[name].uid, fleets[name].generation] = held[0]
    check_macs(fleets, specs, "mine", new, total)


def test_exactly_as_many_vms_as_the_last_three_octets_can_number_are_taken() -> None:
    check(spec("00:16:3e:ff:ff:00"), 256)
    with pytest.raises(Refused, match="mac_base 00:16:3e:ff:ff:00 has addresses for 256 VMs, and"):
        check(spec("00:16:3e:ff:ff:00"), 257)
    with pytest.raises(Refused, match="has addresses for 256 VMs"):
        check(spec(BASE, "br0", ("br1", "00:16:3e:ff:ff:00")), 257)


def test_a_fleet_that_is_too_large_already_may_shrink_and_not_grow() -> None:
    full = spec("00:16:3e:ff:ff:00")
    check(full, 299, was=(full, 300))
    with pytest.raises(Refused):
        check(full, 301, was=(full, 300))


@pytest.mark.parametrize(
    ("theirs", "meet"),
    [
        (spec(BASE), True),
        (spec("00:16:3E:00:00:09"), True),
        (spec("00:16:3e:00:00:0a"), False),
        (spec("00:16:3d:ff:ff:ff"), True),  # has no room itself; its range is the longer
        (spec("00:16:3d:ff:ff:f6"), False),
        (spec(BASE, "br1"), False),
        (spec("52:54:00:00:00:00", "br0", ("br0", BASE)), True),
        (types.FleetSpec(), False),
    ],
)
def test_two_fleets_on_one_bridge_share_no_address(theirs: types.FleetSpec, meet: bool) -> None:
    if not meet:
        return check(spec(BASE), 10, other=(theirs, 10))
    with pytest.raises(
        Refused, match=r"mac_base .* overlap with .* of fleet other, on the same br"
    ):
        check(spec(BASE), 10, other=(theirs, 10))
    return None


def test_growing_into_another_fleets_addresses_is_refused_and_what_overlaps_already_goes_on() -> (
    None
):
    mine, other = spec(BASE), (spec("00:16:3e:00:00:0a"), 5)
    check(mine, 10, was=(mine, 9), other=other)
    with pytest.raises(Refused):
        check(mine, 11, was=(mine, 9), other=other)
    check(mine, 20, was=(mine, 11), other=other)


def test_two_interfaces_of_one_fleet_share_no_address_on_one_bridge() -> None:
    near = spec(BASE, "br0", ("br0", "00:16:3e:00:00:0a"))
    check(near, 10)
    with pytest.raises(Refused, match="of another interface of the same fleet"):
        check(near, 11)
    check(spec(BASE, "br0", ("br1", "00:16:3e:00:00:0a")), 11)
