"""Hosts in racks of five under the real leader, which fail on a virtual clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.host_loss.quarantine import QuarantineSettings
from fleet_controller.core.model import Health
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.replica.leader import Leader
from fleet_controller.store.memory import MemoryStore
from tests.doubles import answers
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import run_virtual

ME = "operator/me"
HOSTS = 20  # in racks of five
LOST_AFTER = 300.0
SICK = QuarantineSettings(least=3, share=0.5, after=60)
UNBOUND = LossSettings(lost_after=LOST_AFTER, budget=0, fleet_share=0.2, rack_share=0.6)


@dataclass
class Cluster:
    """What a scenario has in hand."""

    leader: Leader
    store: FaultyStore
    network: Network = field(default_factory=Network)
    world: World = field(default_factory=World)

    def cut(self, *numbers: int) -> None:
        for number in numbers:
            self.network.cut(f"h{number:02}:1")

    def agent(self, number: int) -> ObedientAgent:
        found = self.network.agents[f"h{number:02}:1"]
        assert isinstance(found, ObedientAgent)
        return found

    def status(self, fleet: str = "spv") -> cluster.FleetStatus:
        leader = self.leader
        return answers.fleet_status(leader, fleet)

    def lost(self) -> set[str]:
        return set(self.leader.memory.state.lost)

    def held(self, host: str) -> int:
        return answers.host_summary(self.leader, host).assigned

    def kinds(self) -> Counter[str]:
        events, _ = self.leader.memory.events.after(0, 10_000, "", "")
        return Counter(event.kind for event in events)

    async def scale(self, total: int, fleet: str = "spv") -> None:
        await self.leader.fleets.scale(fleet, total, ME)
        await until(lambda: self.status(fleet).converged)


def spec(on_loss: types.OnLoss.ValueType = types.ON_LOSS_REPLACE) -> types.FleetSpec:
    return types.FleetSpec(memory_bytes=4 << 20, vcpus=1, on_loss=on_loss)


Scenario = Callable[[Cluster], Awaitable[None]]


def play(
    scenario: Scenario,
    loss: LossSettings = UNBOUND,
    quarantine: QuarantineSettings = SICK,
    hosts: int = HOSTS,
    guests: int = 10,
) -> None:
    """So many hosts with room for so many `guests` each, and the fleet spv, of no VMs yet."""
    settings = LeaderSettings(settle=5.0, loss=loss, quarantine=quarantine)

    async def whole() -> None:
        store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))
        network, world = Network(), World()
        async with leading(store, network, settings) as leader:
            made = Cluster(leader, store, network, world)
            world.is_lost = lambda host: host in leader.memory.state.lost
            announced = []
            for number in range(hosts):
                name = f"h{number:02}"
                network.agents[f"{name}:1"] = ObedientAgent(name, world, Random(number))
                facts = types.HostFacts(
                    incarnation="i",
                    labels={"rack": f"r{number // 5}"},
                    capacity=types.Capacity(guests=guests),
                )
                announced.append(leader.announcements.announce(name, f"{name}:1", facts))
            await asyncio.gather(*announced)
            await until(lambda: leader.memory.links.by_health[Health.LIVE] == hosts)
            await leader.fleets.apply("spv", spec(), ME)
            beating = asyncio.create_task(network.beating())
            await scenario(made)
            beating.cancel()

    run_virtual(whole())


def now() -> float:
    """Of the virtual clock, in seconds."""
    return asyncio.get_running_loop().time()
