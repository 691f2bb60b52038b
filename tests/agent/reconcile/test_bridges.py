"""An agent and the bridges that its VMs are in: made before they start, removed after they are
gone, and joined again where one was taken away."""

from __future__ import annotations

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import VmState
from fleet_agent.core.plan.plan import Step
from fleet_agent.drivers.ports.bridges import Interface
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.bridge_keeper import BridgeKeeper
from tests.agent.agent_host import Host, converged, give, in_state, settled, until
from tests.contracts.bridges.memory_bridges import MemoryBridges
from tests.doubles.assignments import assignment, kin, shard, spec, tombstone
from tests.virtual_loop import virtual

KIN = kin(10)
ALL = IndexSet.span(0, 2)


class BridgedHost(Host):
    """A host whose VMs have one interface each, in `bridge` from their start on."""

    def __init__(self, bridge: str = "mf-net") -> None:
        super().__init__()
        self.there = MemoryBridges()
        self.bridge = bridge
        self.keeper()

    def keeper(self) -> None:
        self.bridges = BridgeKeeper(self.there, self.interfaces)

    async def interfaces(self) -> list[Interface]:
        return [Interface(port, self.bridge) for port in self.there.ports]

    def plug(self) -> None:
        """As libvirt does at the start of each."""
        self.there.ports.update({"vnet0": self.bridge, "vnet1": self.bridge})


def bridged(**network: object) -> types.FleetSpec:
    made = spec()
    made.network.CopyFrom(types.Network(**network))  # type: ignore[arg-type]
    return made


ASKED_FOR = bridged(bridge="mf-net", create=True, mtu=1400)
OF_THE_SITE = bridged(bridge="br0")


def wanted(template: types.FleetSpec, ranges: str = "0-1") -> types.Assignment:
    return assignment(shard(ranges, 10), template=template)


def problems(agent: Agent) -> list[tuple[str, int, str]]:
    return [(one.kind, one.count, one.example_message) for one in agent.board.problems]


@virtual
async def test_the_bridge_is_there_before_any_vm_is_started() -> None:
    host = BridgedHost()
    seen: list[bool] = []

    class Watched(list[Step]):
        def append(self, step: Step) -> None:
            seen.append("mf-net" in host.there.bridges)

    host.steps = Watched()
    async with host.running() as agent:
        await settled(agent, wanted(ASKED_FOR), 1)
    assert seen and all(seen)
    assert host.there.bridges["mf-net"].mtu == 1400


@virtual
async def test_the_agents_bridge_goes_with_its_last_vm_and_no_foreign_one_does() -> None:
    host = BridgedHost()
    host.there.add("br0")
    async with host.running() as agent:
        await settled(agent, wanted(ASKED_FOR), 1)
        await settled(agent, assignment(tombstones=[tombstone(7, "0-1", 10)]), 2)
        assert host.there.bridges.keys() == {"br0"}


@virtual
async def test_a_bridge_that_an_earlier_agent_left_is_removed() -> None:
    host = BridgedHost()
    host.there.add("mf-old", ours=True)
    async with host.running() as agent:
        await settled(agent, wanted(spec()), 1)
        assert not host.there.bridges


@virtual
async def test_a_bridge_that_others_are_in_stays() -> None:
    host = BridgedHost()
    host.there.add("mf-old", ours=True)
    host.there.ports["somebodys"] = "mf-old"
    async with host.running() as agent:
        await settled(agent, wanted(spec()), 1)
        assert "mf-old" in host.there.bridges


@virtual
async def test_a_bridge_that_cannot_be_made_is_told_with_the_reason_and_made_once_it_can() -> None:
    host = BridgedHost()
    host.there.refused["mf-net"] = "the kernel has no bridges"
    async with host.running() as agent:
        await give(agent, wanted(ASKED_FOR), 1)
        await until(lambda: bool(agent.board.problems))
        assert ("bridge_missing", 2, "the kernel has no bridges") in problems(agent)
        host.there.refused.clear()
        await until(lambda: "mf-net" in host.there.bridges and not agent.board.problems)


@virtual
async def test_a_bridge_taken_away_under_running_vms_is_made_again_and_they_are_in_it() -> None:
    host = BridgedHost()
    async with host.running() as agent:
        await settled(agent, wanted(ASKED_FOR), 1)
        host.plug()
        host.there.take_away("mf-net")
        assert set(host.there.ports.values()) == {""}
        await until(lambda: set(host.there.ports.values()) == {"mf-net"})
        assert in_state(agent, KIN, VmState.RUNNING) == ALL


@virtual
async def test_a_foreign_bridge_taken_away_is_named_and_its_vms_join_it_once_it_is_back() -> None:
    host = BridgedHost("br0")
    host.there.add("br0")
    async with host.running() as agent:
        await settled(agent, wanted(OF_THE_SITE), 1)
        host.plug()
        host.there.take_away("br0")
        await until(lambda: bool(agent.board.problems))
        told = "the bridge br0 is not on this host: its VMs reach nobody until it is"
        assert problems(agent) == [("bridge_missing", 2, told)]
        assert in_state(agent, KIN, VmState.RUNNING) == ALL, "no VM stops for it"
        host.there.add("br0")
        await until(lambda: set(host.there.ports.values()) == {"br0"})
        await until(lambda: not agent.board.problems)


@virtual
async def test_a_bridge_made_anew_between_two_looks_is_joined_again() -> None:
    host = BridgedHost("br0")
    host.there.add("br0")
    async with host.running() as agent:
        await settled(agent, wanted(OF_THE_SITE), 1)
        host.plug()
        host.there.take_away("br0")
        host.there.add("br0")
        await until(lambda: set(host.there.ports.values()) == {"br0"})


@virtual
async def test_an_agent_that_starts_has_its_vms_join_what_was_made_anew_meanwhile() -> None:
    host = BridgedHost("br0")
    host.there.add("br0")
    async with host.running() as agent:
        await settled(agent, wanted(OF_THE_SITE), 1)
        host.plug()
    host.there.take_away("br0")
    host.there.add("br0")
    host.keeper()
    async with host.running() as agent:
        await converged(agent, 1)
        assert set(host.there.ports.values()) == {"br0"}


@virtual
async def test_the_bridge_of_a_vlan_leads_to_the_bridge_of_the_site() -> None:
    host = BridgedHost()
    host.there.add("br0")
    async with host.running() as agent:
        await settled(agent, wanted(bridged(bridge="br0", vlan=100)), 1)
        made = host.there.bridges["br0-v100"]
        assert made.ours and made.leads_to == "br0.100"
        await settled(agent, assignment(tombstones=[tombstone(7, "0-1", 10)]), 2)
        assert host.there.bridges.keys() == {"br0"}


@virtual
async def test_vms_without_a_network_need_no_bridges() -> None:
    host = BridgedHost()
    async with host.running() as agent:
        await settled(agent, wanted(spec()), 1)
        assert in_state(agent, KIN, VmState.RUNNING) == ALL != EMPTY
        assert not agent.board.problems
