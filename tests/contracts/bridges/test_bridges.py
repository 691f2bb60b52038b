"""What any Bridges port does: in memory, and for a network namespace of this machine's kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleet_agent.core.bridges import HostBridge, WantedBridge, plan_bridges
from fleet_agent.drivers.iproute.bridges import IpBridges
from fleet_agent.drivers.ports.bridges import BridgeError, Interface
from tests.contracts.bridges.bridge_hosts import (
    BridgeHost,
    MemoryHost,
    NamespaceHost,
    namespace_host,
    namespaces_can_be_made,
)

OF_ITS_OWN = WantedBridge("mf-net", mtu=1400)
OF_A_VLAN = WantedBridge("br0-v100", over="br0", vlan=100)


@pytest.fixture(params=["memory", "namespace"])
def host(request: pytest.FixtureRequest) -> Iterator[BridgeHost]:
    if request.param == "memory":
        yield MemoryHost()
        return
    if not namespaces_can_be_made():
        pytest.skip("network namespaces need root and iproute2")
    with namespace_host() as made:
        yield made


async def named(host: BridgeHost) -> dict[str, HostBridge]:
    return {bridge.name: bridge for bridge in await host.bridges.listing()}


async def test_a_host_without_bridges_has_none(host: BridgeHost) -> None:
    assert await host.bridges.listing() == ()


async def test_a_bridge_is_made_with_its_mtu_and_known_as_the_agents_own(host: BridgeHost) -> None:
    await host.bridges.make(OF_ITS_OWN)
    made = (await named(host))["mf-net"]
    assert made.ours and made.mtu == 1400


async def test_a_bridge_that_is_made_twice_is_the_same_one(host: BridgeHost) -> None:
    await host.bridges.make(OF_ITS_OWN)
    before = await host.bridges.listing()
    await host.bridges.make(OF_ITS_OWN)
    assert await host.bridges.listing() == before


@pytest.mark.parametrize("mtu", [1400, 1500])
async def test_a_bridge_keeps_its_mtu_when_ports_come_and_go(host: BridgeHost, mtu: int) -> None:
    await host.bridges.make(WantedBridge("mf-net", mtu=mtu))
    for port_mtu in (1280, 9000):
        host.add_port("vnet0", "mf-net", port_mtu)
        assert (await named(host))["mf-net"].mtu == mtu
        host.remove_port("vnet0")
        assert (await named(host))["mf-net"].mtu == mtu


async def test_another_mtu_mends_the_bridge_in_place(host: BridgeHost) -> None:
    await host.bridges.make(OF_ITS_OWN)
    before = (await named(host))["mf-net"]
    await host.bridges.make(WantedBridge("mf-net", mtu=9000))
    after = (await named(host))["mf-net"]
    assert (after.mtu, after.index) == (9000, before.index)


async def test_a_foreign_bridge_is_left_as_it_is(host: BridgeHost) -> None:
    host.add_bridge("br0")
    before = await host.bridges.listing()
    await host.bridges.make(WantedBridge("br0", mtu=1400))
    assert not await host.bridges.remove("br0")
    assert await host.bridges.listing() == before
    assert not before[0].ours


async def test_a_bridge_goes_once_nothing_is_in_it(host: BridgeHost) -> None:
    await host.bridges.make(OF_ITS_OWN)
    host.add_port("vnet0", "mf-net")
    assert not await host.bridges.remove("mf-net")
    assert "mf-net" in await named(host)
    host.add_port("vnet1", "")
    await host.bridges.make(WantedBridge("mf-other"))
    assert await host.bridges.remove("mf-other")
    assert "mf-other" not in await named(host)
    assert await host.bridges.remove("mf-other"), "it is gone already"


async def test_a_bridge_that_was_taken_away_and_made_anew_is_another_one(host: BridgeHost) -> None:
    await host.bridges.make(OF_ITS_OWN)
    before = (await named(host))["mf-net"]
    host.take_away("mf-net")
    assert "mf-net" not in await named(host)
    await host.bridges.make(OF_ITS_OWN)
    assert (await named(host))["mf-net"].index != before.index


async def test_an_interface_joins_its_bridge_unless_it_is_in_one(host: BridgeHost) -> None:
    host.add_bridge("br0")
    host.add_bridge("br1")
    host.add_port("vnet0", "")
    host.add_port("vnet1", "br1")
    for name in ("vnet0", "vnet1", "vnet9"):  # there is no vnet9 any more
        await host.bridges.join(Interface(name, "br0"))
    assert (host.bridge_of("vnet0"), host.bridge_of("vnet1")) == ("br0", "br1")


async def test_an_interface_cannot_join_what_is_not_there(host: BridgeHost) -> None:
    host.add_port("vnet0", "")
    with pytest.raises(BridgeError, match="br9"):
        await host.bridges.join(Interface("vnet0", "br9"))


async def test_a_vlan_of_a_bridge_that_is_missing_is_refused(host: BridgeHost) -> None:
    with pytest.raises(BridgeError, match="br0"):
        await host.bridges.make(OF_A_VLAN)


async def test_a_bridge_of_a_vlan_leads_to_it_and_goes_with_its_interface(host: BridgeHost) -> None:
    if not host.has_vlans:
        pytest.skip("this kernel has no VLAN interfaces (8021q)")
    host.add_bridge("br0")
    await host.bridges.make(OF_A_VLAN)
    made = (await named(host))["br0-v100"]
    assert made.ours and made.leads_to == "br0.100"
    assert not (await named(host))["br0"].ours
    assert await host.bridges.remove("br0-v100")
    assert (await named(host)).keys() == {"br0"}


async def test_the_host_has_no_address_on_a_bridge_of_its_agent(host: BridgeHost) -> None:
    if not isinstance(host, NamespaceHost):
        pytest.skip("only a kernel gives addresses")
    await host.bridges.make(OF_ITS_OWN)
    assert host.link("mf-net")["inet6_addr_gen_mode"] == "none"
    assert "UP" in host.link("mf-net")["flags"]
    assert "inet" not in host.ip("-o", "address", "show", "dev", "mf-net")


async def test_what_a_killed_agent_has_not_finished_is_no_bridge_and_is_removed(
    host: BridgeHost,
) -> None:
    if not isinstance(host, NamespaceHost):
        pytest.skip("only a kernel has half of a bridge")
    assert isinstance(host.bridges, IpBridges)
    host.add_bridge(host.bridges.unfinished)
    assert await host.bridges.listing() == ()
    await host.bridges.make(OF_ITS_OWN)
    assert (await named(host)).keys() == {"mf-net"}


async def test_a_bridge_that_is_down_is_not_as_it_is_wanted_and_is_set_up(host: BridgeHost) -> None:
    if not isinstance(host, NamespaceHost):
        pytest.skip("only a kernel's bridges are up or down")
    await host.bridges.make(OF_ITS_OWN)
    assert (await named(host))["mf-net"].up
    host.ip("link", "set", "dev", "mf-net", "down")
    down = (await named(host))["mf-net"]
    assert not down.up and plan_bridges([OF_ITS_OWN], [down]).make == (OF_ITS_OWN,)
    await host.bridges.make(OF_ITS_OWN)
    assert (await named(host))["mf-net"].up


async def test_another_agents_bridge_is_a_foreign_one(host: BridgeHost) -> None:
    if not isinstance(host, NamespaceHost):
        pytest.skip("only a kernel has bridges of two agents")
    await IpBridges("other", host.namespace).make(OF_ITS_OWN)
    (found,) = await host.bridges.listing()
    assert not found.ours and not await host.bridges.remove("mf-net")
    assert plan_bridges([], [found]).remove == ()
