"""One host under test: a whole agent over hollow drivers, in virtual time, without a network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from fleet.keys import Kin, Term
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import VmState
from fleet_agent.core.plan.plan import Step
from fleet_agent.core.plan.snapshot import Snapshot, snapshot_of
from fleet_agent.core.start_pace import Pressure
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.profile import INSTANT, Profile
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.ports.hypervisor import Hypervisor
from fleet_agent.drivers.ports.storage import Storage
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.bridge_keeper import BridgeKeeper
from fleet_agent.reconcile.host_slots import StartPace
from fleet_agent.reconcile.ledger import Ledger, MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from fleet_agent.reporting.report_stream import Pace, ReportStream
from tests.doubles.assignments import assign_request

HOST = "dom0-1"
# Virtual seconds after which a condition that has not come true never will.
PATIENCE = 3600.0


@dataclass
class Host:
    """What outlives the agent's process: drivers, ledger, the boot id. `agent()` makes a new one
    over them each time."""

    profile: Profile = INSTANT
    seed: int = 0
    settings: LoopSettings = field(default_factory=LoopSettings)
    ledger: Ledger = field(default_factory=MemoryLedger)
    boot_id: str = "boot-1"
    storage: Storage = field(init=False)
    hypervisor: Hypervisor = field(init=False)
    steps: list[Step] = field(default_factory=list)
    watched: list[bool] = field(default_factory=list)
    bridges: BridgeKeeper | None = None
    # How much its two cores are wanted, once there is a loop; None: its kernel does not tell.
    pressure: Callable[[], Pressure | None] | None = None

    def __post_init__(self) -> None:
        behaviour = Behaviour.of(self.profile, self.seed, HOST)
        self.storage, self.hypervisor = HollowStorage(behaviour), HollowHypervisor(behaviour)

    @property
    def hollow(self) -> HollowHypervisor:
        assert isinstance(self.hypervisor, HollowHypervisor)
        return self.hypervisor

    def agent(self) -> Agent:
        return Agent(
            HOST,
            types.HostFacts(machine_id="m", boot_id=self.boot_id, labels={"rack": "r01"}),
            self.storage,
            self.hypervisor,
            self.ledger,
            clock=asyncio.get_running_loop().time,
            wall_clock=asyncio.get_running_loop().time,
            jitter=random.Random(self.seed).random,
            settings=self.settings,
            incarnation="first",
            on_step=self.steps.append,
            on_watched=self.watched.append,
            bridges=self.bridges,
            pace=self.pressure and StartPace(self.pressure, 2, asyncio.get_running_loop().time),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Agent]:
        """The agent's process, from its start to its sudden end."""
        agent = self.agent()
        await agent.open()
        task = asyncio.create_task(agent.run())
        try:
            yield agent
        finally:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    def reboot(self) -> None:
        """Every domain is down; definitions, clones and the ledger stay."""
        self.boot_id = f"boot-{int(self.boot_id[5:]) + 1}"

    async def snapshot(self) -> Snapshot:
        return snapshot_of(await self.storage.listing(), await self.hypervisor.listing())

    async def lose_all(self) -> None:
        for kin, indices in (await self.snapshot()).defined.items():
            self.hollow.lose(kin.fleet_uid, indices)

    def acts(self) -> list[str]:
        """The trace so far, in words."""
        return [f"{step.kind} {step.indices} of {step.kin.birth}" for step in self.steps]


def with_settings(host: Host, **changes: object) -> Host:
    host.settings = replace(host.settings, **changes)  # type: ignore[arg-type]
    return host


async def give(agent: Agent, wanted: types.Assignment, revision: int, term: int = 1) -> None:
    await agent.assign(assign_request(HOST, wanted, revision, term))


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Virtual time passes until the condition holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, f"not within {seconds} virtual seconds"
        await asyncio.sleep(0.05)


async def converged(agent: Agent, revision: int) -> None:
    await until(lambda: agent.board.converged and agent.board.epoch == (1, revision))


async def settled(agent: Agent, wanted: types.Assignment, revision: int) -> None:
    """Give it, and wait until nothing is left to do."""
    await give(agent, wanted, revision)
    await converged(agent, revision)


def in_state(agent: Agent, kin: Kin, state: VmState) -> IndexSet:
    """Which VMs of a kin the board has in a state."""
    states = agent.board.kins.get(kin)
    return states.having(state) if states else EMPTY


def states_in(reports: list[wire.Report]) -> dict[tuple[str, int, int], int]:
    """What a controller knows after these reports: (fleet uid, birth, index) -> state."""
    known: dict[tuple[str, int, int], int] = {}
    for report in reports:
        if report.full:
            known.clear()
        for gone in report.gone:
            for one in gone.ranges:
                for index in range(one.start, one.stop):
                    known.pop((gone.fleet_uid, gone.birth, index), None)
        for shard in report.shards:
            for run in shard.runs:
                for offset, state in enumerate(run.states):
                    known[shard.fleet_uid, shard.birth, run.start + offset] = state
    return known


class Listener:
    """Collects the reports of one stream as they are sent."""

    def __init__(self, agent: Agent, pace: Pace, term: int = 1) -> None:
        self.reports: list[wire.Report] = []
        self.times: list[float] = []
        self._stream: ReportStream = agent.open_reports(Term(1, term), pace)
        self._agent = agent
        self.ended = False

    async def run(self) -> None:
        try:
            while (report := await self._stream.next()) is not None:
                self.reports.append(report)
                self.times.append(asyncio.get_running_loop().time())
            self.ended = True
        finally:
            self._agent.close_reports(self._stream)


@asynccontextmanager
async def listening(
    agent: Agent, pace: Pace | None = None, term: int = 1
) -> AsyncIterator[Listener]:
    listener = Listener(agent, pace or Pace(), term)
    task = asyncio.create_task(listener.run())
    try:
        yield listener
    finally:
        task.cancel()
        await asyncio.wait([task])
