"""A leader of four obedient hosts, to be asked, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Health
from fleet_controller.replica.leader import Leader
from fleet_controller.store.memory import MemoryStore
from tests.doubles import answers
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import run_virtual

HOSTS = 4
PER_HOST = 10
RUNNING = types.VM_STATE_RUNNING
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
ME = "operator/me"

Agents = dict[str, ObedientAgent]
Scenario = Callable[[Leader, Agents], Awaitable[None]]


def play(scenario: Scenario) -> None:
    """Four hosts, all live, and an empty fleet called spv."""

    async def whole() -> None:
        network, world = Network(), World()
        store = MemoryStore(asyncio.get_running_loop().time)
        async with leading(store, network) as leader:
            agents = {f"h{n}": ObedientAgent(f"h{n}", world, Random(n)) for n in range(HOSTS)}
            for name, agent in agents.items():
                network.agents[f"{name}:1"] = agent
                facts = types.HostFacts(
                    incarnation="i",
                    labels={"zone": name[-1]},
                    capacity=types.Capacity(guests=PER_HOST),
                )
                await leader.announcements.announce(name, f"{name}:1", facts)
            await until(lambda: leader.memory.links.by_health[Health.LIVE] == HOSTS)
            await leader.fleets.apply("spv", SPEC, ME)
            await scenario(leader, agents)

    run_virtual(whole())


def fleet_of(leader: Leader) -> cluster.FleetStatus:
    return answers.status(leader, "spv").fleets[0]


async def scale(leader: Leader, total: int, *, partial: bool = False) -> None:
    await leader.fleets.scale("spv", total, ME, partial=partial)
    if not partial:
        await until(lambda: fleet_of(leader).converged and fleet_of(leader).total == total)
