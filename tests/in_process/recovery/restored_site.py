"""Hosts that outlive a store which comes back older, and who leads over it, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from random import Random

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.replica import Replica
from fleet_controller.store import keys
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Snapshot, Store
from tests.doubles import answers
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.leading import QUICK, leading_or_none, replica_over, until
from tests.doubles.obedient_agents import Network, ObedientAgent, Vm, World

ME = "operator/me"
HOSTS = 4
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
HEARTBEAT = 4.0

Scene = Callable[[], Awaitable[None]]


class Site:
    """Hosts that outlive stores and controllers."""

    def __init__(self) -> None:
        self.clock = asyncio.get_running_loop().time
        self.world = World()
        self.network = Network()
        self.replica: Replica | None = None
        self.seed = 0
        self.settings = QUICK
        for number in range(HOSTS):
            agent = ObedientAgent(f"h{number}", self.world, Random(number))
            self.network.agents[f"h{number}:1"] = agent

    def agent(self, host: str) -> ObedientAgent:
        found = self.network.agents[f"{host}:1"]
        assert isinstance(found, ObedientAgent)
        return found

    @property
    def births(self) -> dict[str, dict[Vm, int]]:
        agents = [agent for agent in self.network.agents.values()]
        return {a.host_id: dict(a.births) for a in agents if isinstance(a, ObedientAgent)}

    @asynccontextmanager
    async def led(self, store: Store) -> AsyncIterator[None]:
        """A controller over this store, until the block ends. It then resigns."""
        self.seed += 1
        self.replica = replica_over(store, self.network, seed=self.seed, settings=self.settings)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self.replica.run())
            beating = group.create_task(self._beat())
            await until(lambda: self._leading() is not None)
            yield
            running.cancel()
            beating.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            for agent in list(self.network.agents.values()):
                if isinstance(agent, ObedientAgent):
                    agent.beat()

    def _leading(self) -> Leader | None:
        return leading_or_none(self.replica) if self.replica else None

    @property
    def chief(self) -> Leader:
        """The present one: it changes when changes are frozen and taken again."""
        found = self._leading()
        assert found is not None
        return found

    async def announce(self, *hosts: str) -> None:
        """All at once, as they do."""
        facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=20))
        announce = self.chief.announcements.announce
        names = hosts or tuple(f"h{number}" for number in range(HOSTS))
        await asyncio.gather(*(announce(name, f"{name}:1", facts) for name in names))

    async def scale(self, total: int) -> None:
        await self.chief.fleets.scale("spv", total, ME)
        await self.converged(total)

    async def converged(self, total: int) -> None:
        def holds() -> bool:
            chief = self._leading()
            fleet = chief.memory.state.fleets.get("spv") if chief else None
            if chief is None or fleet is None or chief.memory.state.freeze:
                return False
            return fleet.total == total and answers.fleet_status(chief, fleet.name).converged

        await until(holds)
        assert len(self.world.running) == total

    async def frozen(self, heard: int = HOSTS) -> None:
        def holds() -> bool:
            chief = self._leading()
            return bool(
                chief and chief.memory.state.freeze and len(chief.memory.inventory.hosts) == heard
            )

        await until(holds)

    async def thawed(self) -> None:
        def holds() -> bool:
            chief = self._leading()
            return bool(chief and not chief.memory.state.freeze)

        await until(holds)


async def nothing() -> None:
    """Happens."""


@asynccontextmanager
async def set_back(
    site: Site,
    *,
    cluster: str = "memory",
    late: int | None = 30,
    before: Scene = nothing,
    after: Scene = nothing,
) -> AsyncIterator[Store]:
    """20 VMs, and what happens `before` the backup; the backup; then `late` VMs, if
    so many are given, and what happens `after` it; then a controller over what was restored."""
    store = MemoryStore(site.clock)
    async with site.led(store):
        await site.announce()
        await site.chief.fleets.apply("spv", SPEC, ME)
        await site.scale(20)
        await before()
        backup = await store.read()
        if late is not None:
            await site.scale(late)
        await after()
    entries = tuple(entry for entry in backup.entries if entry.key != keys.LEADER)
    restored = FaultyStore(
        MemoryStore.restored(Snapshot(entries, backup.revision, cluster), site.clock)
    )
    async with site.led(restored):
        yield restored


@contextmanager
def refused(reason: Reason) -> Iterator[list[str]]:
    said: list[str] = []
    with pytest.raises(Refused) as refusal:
        yield said
    assert refusal.value.reason is reason, refusal.value
    said.append(str(refusal.value))
