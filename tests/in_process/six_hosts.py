"""Six hosts in three racks that run a fleet under the real leader, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from fleet.ranges import IndexSet, parse_ranges
from fleet.v1 import types_pb2 as types
from fleet_controller.changes.vms import Chosen
from fleet_controller.core.model import Health
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.leader.environment import JoiningEnvironment, LeaderSettings
from fleet_controller.replica.leader import Leader
from fleet_controller.store.memory import MemoryStore
from tests.doubles import answers
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.leading import QUICK, leading, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import run_virtual

ME = "operator/me"
HOSTS = 6
PER_HOST = 8
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1, on_loss=types.ON_LOSS_WAIT)
REPLACED = types.FleetSpec(memory_bytes=4 << 20, vcpus=1, on_loss=types.ON_LOSS_REPLACE)


@dataclass
class Stage:
    """What outlives a leader."""

    network: Network = field(default_factory=Network)
    world: World = field(default_factory=World)
    ahead: float = 0.0  # the time of day of whoever leads, against the loop's

    def __post_init__(self) -> None:
        self.store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))

    def wall(self) -> float:
        """The time of day, in seconds since 1970."""
        return asyncio.get_running_loop().time() + self.ahead

    def agent(self, host: str) -> ObedientAgent:
        agent = self.network.agents[f"{host}:1"]
        assert isinstance(agent, ObedientAgent)
        return agent


Scene = Callable[[Leader, Stage], Awaitable[None]]


def play(
    *scenes: Scene,
    total: int = 24,
    spec: types.FleetSpec = SPEC,
    settings: LeaderSettings = QUICK,
    joining: JoiningEnvironment | None = None,
) -> None:
    """Six hosts in three racks run a fleet; each scene is under a leader of its own."""

    async def whole() -> None:
        stage = Stage()
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(stage.network.beating())
            for number, scene in enumerate(scenes):
                async with leading(
                    stage.store, stage.network, settings, joining=joining, wall=stage.wall
                ) as leader:
                    lost = leader.memory.state.lost
                    stage.world.is_lost = lost.__contains__
                    if not number:
                        await _begin(leader, stage, total, spec)
                    await scene(leader, stage)
            beating.cancel()

    run_virtual(whole())


async def _begin(leader: Leader, stage: Stage, total: int, spec: types.FleetSpec) -> None:
    for number in range(HOSTS):
        name = f"h{number}"
        stage.network.agents[f"{name}:1"] = ObedientAgent(name, stage.world, Random(number))
        facts = types.HostFacts(
            incarnation="i",
            labels={"rack": f"r{number % 3}"},
            capacity=types.Capacity(guests=PER_HOST),
        )
        await leader.announcements.announce(name, f"{name}:1", facts)
    await until(lambda: leader.memory.links.by_health[Health.LIVE] == HOSTS)
    await leader.fleets.apply("spv", spec, ME)
    await leader.fleets.scale("spv", total, ME)
    await until(lambda: converged(leader))


def converged(leader: Leader) -> bool:
    fleet = leader.memory.state.fleets["spv"]
    return answers.fleet_status(leader, fleet.name).converged


def left(leader: Leader, host: str) -> int:
    """VMs that a drain of the host has still to move or to let go."""
    return answers.drain_of(leader, host).left


def kinds(leader: Leader) -> Counter[str]:
    """How many events of each kind this leader had."""
    events, _ = leader.memory.events.after(0, 10_000, "", "")
    return Counter(event.kind for event in events)


def told(leader: Leader, **of: str) -> list[tuple[str, str, str]]:
    """What was changed and by whom, the oldest first: (action, actor, after)."""
    records, _ = leader.memory.state.audit.page(of.get("fleet", ""), of.get("host", ""), 0, 1000)
    return [(one.action, one.actor, one.after) for one in reversed(records)]


async def lose(leader: Leader, stage: Stage, host: str) -> None:
    """It is cut off, and an operator says that it is lost."""
    stage.network.cut(f"{host}:1")
    await until(lambda: not leader.memory.is_live(host))
    await leader.verdicts.declare_lost([host], True, ME)


async def come_back(leader: Leader, stage: Stage) -> None:
    """All hosts; whatever others had taken over is let go."""
    stage.network.mend()
    await until(lambda: not leader.memory.state.lost and not stage.world.twice)


def newer(vcpus: int) -> types.FleetSpec:
    """What makes a new generation of the fleet, once applied."""
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.vcpus = vcpus
    return spec


async def do(leader: Leader, action: Action, indices: str | IndexSet) -> int:
    """How many of these VMs it was done to."""
    chosen = parse_ranges(indices) if isinstance(indices, str) else indices
    made = await leader.vms.control(Chosen("spv", chosen), action, ME, plan_only=False, token="")
    return len(made.indices)
