"""Fleets whose VMs would be without an address, or share one with another fleet's."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fleet.identity import Fleet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.addresses import check_template, check_total
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.refusals import Refused


def spec(prefix: str, bridge: str = "br0", *more: tuple[str, str]) -> types.FleetSpec:
    made = types.FleetSpec(network=types.Network(bridge=bridge, prefix=prefix))
    for on, second in more:
        made.more_networks.add(bridge=on, prefix=second)
    return made


def fleet(name: str, total: int = 0) -> FleetRecord:
    return FleetRecord(name, f"uid-{name}", 1, 0, total=total)


def known(
    **specs: types.FleetSpec,
) -> tuple[Mapping[str, FleetRecord], Mapping[tuple[str, int], types.FleetSpec]]:
    """Fleets of 9 VMs each."""
    fleets = {name: fleet(name, 9) for name in specs}
    return fleets, {(fleets[n].uid, fleets[n].generation): one for n, one in specs.items()}


@pytest.mark.parametrize("prefix", ["192.168.1.0/29", "10.0.0.0/30", "fd00::/125", "fd00::/126"])
def test_exactly_as_many_vms_as_have_addresses_are_taken(prefix: str) -> None:
    specs = {("uid-small", fleet("small").generation): spec(prefix)}
    fits = max(n for n in range(20) if _taken(specs, n))
    some = Fleet("6a0c9d5e-0f3b-4c55-9f7e-52c2d5a5b1a0", "small", 1)
    assert some.address(fits - 1, prefix)
    with pytest.raises(ValueError, match="no address"):
        some.address(fits, prefix)
    with pytest.raises(Refused, match=rf"{prefix} has addresses for {fits} VMs, and 19 are wanted"):
        check_total(specs, fleet("small"), 19)


def _taken(specs: Mapping[tuple[str, int], types.FleetSpec], total: int) -> bool:
    try:
        check_total(specs, fleet("small"), total)
    except Refused:
        return False
    return True


@pytest.mark.parametrize(
    ("gateway", "dns", "fits"),
    [
        ("10.0.0.1", [], 253),
        ("10.0.0.254", [], 252),
        ("10.0.0.1", ["9.9.9.9", "10.0.0.10"], 8),
        ("10.9.0.1", ["fd00::1"], 253),
    ],
)
def test_no_vm_gets_the_address_of_a_gateway_or_of_a_server(
    gateway: str, dns: list[str], fits: int
) -> None:
    made = spec("10.0.0.0/24")
    made.network.gateway = gateway
    made.network.dns.extend(dns)
    _, specs = known(a=made)
    check_total(specs, fleet("a"), fits)
    with pytest.raises(Refused, match=f"has addresses for {fits} VMs"):
        check_total(specs, fleet("a"), fits + 1)


def test_a_further_network_bounds_as_the_first_does() -> None:
    _, specs = known(a=spec("10.0.0.0/8", "br0", ("br1", "10.9.0.0/29")))
    with pytest.raises(Refused, match=r"10\.9\.0\.0/29 has addresses for 5 VMs"):
        check_total(specs, fleet("a"), 6)


def test_a_fleet_that_is_too_large_already_may_shrink_and_stay_and_not_grow() -> None:
    fleets, specs = known(a=spec("192.168.1.0/29"))
    for total in (9, 8, 0):
        check_total(specs, fleets["a"], total)
    with pytest.raises(Refused):
        check_total(specs, fleets["a"], 10)
    check_template(fleets, specs, "a", spec("192.168.1.0/29"))
    check_template(fleets, specs, "a", spec("192.168.1.0/28"))


def test_a_smaller_prefix_than_the_fleet_has_vms_is_refused() -> None:
    fleets, specs = known(a=spec("10.0.0.0/8"))
    with pytest.raises(Refused, match="has addresses for 5 VMs, and 9 are wanted"):
        check_template(fleets, specs, "a", spec("192.168.1.0/29"))


@pytest.mark.parametrize("prefix", ["10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/7"])
def test_a_fleet_that_would_share_addresses_is_refused_and_the_other_named(prefix: str) -> None:
    fleets, specs = known(a=spec("10.0.0.0/8"))
    with pytest.raises(Refused, match=r"overlaps with 10\.0\.0\.0/8 of fleet a on .* bridge br0"):
        check_template(fleets, specs, "b", spec(prefix))
    with pytest.raises(Refused, match="of fleet a"):
        check_template(fleets, specs, "b", spec("172.16.0.0/12", "br1", ("br0", prefix)))


def test_other_bridges_prefixes_and_versions_and_none_are_no_overlap() -> None:
    fleets, specs = known(a=spec("10.0.0.0/8"))
    for other in (spec("10.0.0.0/8", "br1"), spec("11.0.0.0/8"), spec("fd00::/8"), spec("")):
        check_template(fleets, specs, "b", other)
    check_template(fleets, specs, "b", types.FleetSpec())


def test_fleets_that_share_addresses_already_go_on() -> None:
    fleets, specs = known(a=spec("10.0.0.0/8"), b=spec("10.0.0.0/8"), c=spec("11.0.0.0/8"))
    check_template(fleets, specs, "b", spec("10.1.0.0/16"))
    with pytest.raises(Refused, match="of fleet c"):
        check_template(fleets, specs, "b", spec("10.0.0.0/7"))
