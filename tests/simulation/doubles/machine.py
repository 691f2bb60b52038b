"""One simulated dom0: what outlives its agent's process, and that process, started again and
again as a service manager would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.controllers.announcer import (
    Announcer,
    AnnounceSettings,
)
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import LedgerError
from fleet_agent.reconcile.loop import LoopSettings
from tests.simulation.doubles.agent_server import AgentServer, Switchboard
from tests.simulation.doubles.announcing import Directory, SimClient
from tests.simulation.doubles.drivers import SimBehaviour, SimHypervisor, SimStorage
from tests.simulation.doubles.ledger import LedgerDisk, SimLedger
from tests.simulation.doubles.tongue import Tongue
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import Clockwork, Process
from tests.simulation.engine.network import Network

RESTART_SECONDS = 2.0
BOOT_SECONDS = 20.0
PORT = 7443


@dataclass(frozen=True, slots=True)
class MachineSurroundings:
    """What the world lends to each machine."""

    loop: Clockwork
    seed: str
    network: Network
    board: Switchboard
    directory: Directory
    endpoints: tuple[str, ...]
    witness: Witness
    note: Callable[[str], None]
    drift: float


class Machine:
    """One dom0."""

    def __init__(
        self,
        number: int,
        surroundings: MachineSurroundings,
        capacity: int,
        hosts_per_rack: int,
    ) -> None:
        self.number = number
        self.id = f"h{number:03d}"
        self.around = surroundings
        self.capacity = capacity
        self.rack = f"r{(number - 1) // hosts_per_rack + 1:02d}"
        self.random = Random(f"{surroundings.seed}/{self.id}")
        self.behaviour = SimBehaviour(
            surroundings.loop, self.id, surroundings.witness, surroundings.seed
        )
        self.storage = SimStorage(self.behaviour)
        self.hypervisor = SimHypervisor(self.behaviour, capacity)
        self.disk = LedgerDisk()
        self.tongue = Tongue(self.id, Random(f"{surroundings.seed}/{self.id}/lies"))
        self.boots = 1
        self.lives = 0
        self.on = True
        self.process: Process | None = None
        self.agent: Agent | None = None
        self._server: AgentServer | None = None

    @property
    def address(self) -> str:
        return f"{self.id}:{PORT}"

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    @property
    def up(self) -> bool:
        return self.on and self.process is not None and not self.process.dead

    @property
    def runs(self) -> bool:
        """Whether the agent's process is there and not stopped."""
        return self.process is not None and self.process.runs

    def all_that_exists(self) -> dict[Kin, IndexSet]:
        """Clones and domains: either may be there without the other, and an agent takes both for
        VMs."""
        return _either(self.storage.all_clones(), self.hypervisor.all_defined())

    def named(self, fleet: str) -> dict[Kin, IndexSet]:
        """The same under the names of a fleet's VMs, whichever fleet of that name they are of."""
        return _either(self.storage.named(fleet), self.hypervisor.named(fleet))

    def start(self) -> None:
        """The agent's process begins, where the machine is on and it does not run."""
        if not self.on or self.up:
            return
        self.lives += 1
        rate = 1.0 + self.random.uniform(-1.0, 1.0) * self.around.drift
        self.process = Process(f"{self.id}.{self.lives}", rate)
        self.process.ahead = self.random.uniform(0.0, 1000.0)
        self.process.on_doom = self.kill
        server = AgentServer(
            self.around.loop, self.id, self.process, self.around.witness, self.tongue
        )
        self._server = self.around.board.servers[self.address] = server
        self.around.loop.spawn(self.process, self._run(self.process, server))

    def kill(self) -> None:
        """SIGKILL for the agent; it is started again after a while."""
        if not self.up:
            return
        assert self.process is not None
        self.around.note(f"{self.id}: agent killed")
        self._end()
        self.around.loop.after(RESTART_SECONDS, self.start)

    def power_off(self) -> None:
        """Everything on it ends; what is on disk stays."""
        if not self.on:
            return
        self.around.note(f"{self.id}: power off")
        self.on = False
        self.behaviour.reboot()
        self.hypervisor.power_off()
        self._end()

    def power_on(self) -> None:
        if self.on:
            return
        self.around.note(f"{self.id}: power on")
        self.on = True
        self.boots += 1
        self.around.loop.after(BOOT_SECONDS * self.random.uniform(0.5, 1.5), self.start)

    def lose_ledger(self, *, broken: bool) -> None:
        self.kill()
        self.disk.lose(broken=broken)
        self.around.witness.ledger_lost(self.id)

    def jump_clock(self, seconds: float) -> None:
        """Ahead, as clocks do that count while a machine is suspended."""
        if self.process is not None:
            self.process.ahead += seconds
            self.around.witness.clock_jumped(self.id, seconds)

    def _end(self) -> None:
        process, self.agent = self.process, None
        if process is None or process.dead:
            return
        self.around.loop.kill_process(process)
        self.around.board.servers.pop(self.address, None)
        if self._server is not None:
            self._server.died()
        self.around.witness.agent_ended(self.id)

    async def _run(self, process: Process, server: AgentServer) -> None:
        """The agent's process, from its start to an end that it chose itself."""
        try:
            await self._serve(process, server)
        except* LedgerError as errors:
            self.around.note(f"{self.id}: agent ends: {errors.exceptions[0]}")
        if self.process is process and not process.dead:
            self.around.loop.after(0.0, self.kill)

    async def _serve(self, process: Process, server: AgentServer) -> None:
        around = self.around
        agent = Agent(
            self.id,
            self._facts(),
            self.storage,
            self.hypervisor,
            SimLedger(self.disk),
            clock=around.loop.time,
            wall_clock=around.loop.time,
            jitter=Random(f"{around.seed}/{process.name}/jitter").random,
            settings=LoopSettings(),
            incarnation=f"{self.id}-{self.lives}",
            on_watched=lambda watched: announcer.on_watched(watched),
        )
        announcer = Announcer(
            SimClient(around.network, around.directory, self.id, self.tongue),
            around.endpoints,
            self.address,
            lambda: agent.facts,
            jitter=Random(f"{around.seed}/{process.name}/announce").random,
            gate=asyncio.Semaphore(32),
            settings=AnnounceSettings(),
        )
        await agent.open()
        around.witness.agent_began(self.id, agent.term, agent.epoch)
        self.agent = server.agent = agent
        async with asyncio.TaskGroup() as group:
            group.create_task(agent.run())
            group.create_task(announcer.run())

    def _facts(self) -> types.HostFacts:
        return types.HostFacts(
            machine_id=f"machine-{self.id}",
            boot_id=self.boot_id,
            labels={"rack": self.rack},
            capacity=types.Capacity(guests=self.capacity),
            agent_version="simulated",
        )


def _either(clones: dict[Kin, IndexSet], domains: dict[Kin, IndexSet]) -> dict[Kin, IndexSet]:
    kins = sorted(clones.keys() | domains.keys())
    return {kin: clones.get(kin, EMPTY) | domains.get(kin, EMPTY) for kin in kins}
