"""One simulated controller replica: its process, started again and again as a service manager
would."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from random import Random

from fleet_controller.core.recovery.seals import SealKey
from fleet_controller.election.election import Election
from fleet_controller.events import EventLog
from fleet_controller.leader.environment import LeaderEnvironment, LeaderSettings
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.replica import NotLeading, Replica
from fleet_controller.store.port import StoreReplaced
from tests.doubles.leading import LEASE_SECONDS, InlineExecutor
from tests.simulation.doubles.agent_server import Switchboard
from tests.simulation.doubles.agent_wire import SimDialer
from tests.simulation.doubles.announcing import Directory
from tests.simulation.doubles.etcd import Etcd, StoreClient, StoreWeather
from tests.simulation.doubles.standbys import SimStandbys
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import Clockwork, Process
from tests.simulation.engine.network import Network

RESTART_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class ControllerSurroundings:
    """What the world lends to each controller."""

    loop: Clockwork
    seed: str
    network: Network
    board: Switchboard
    directory: Directory
    etcd: Etcd
    weather: StoreWeather
    witness: Witness
    note: Callable[[str], None]
    defect: Callable[[str], None]  # the product has failed in a way it never may
    drift: float
    settings: LeaderSettings


class Controller:
    """One replica; a new process each time it is started."""

    def __init__(self, number: int, around: ControllerSurroundings) -> None:
        self.name = f"c{number}"
        self.around = around
        self.random = Random(f"{around.seed}/{self.name}")
        self.lives = 0
        self.outages = 0  # for how many reasons its machine is off
        self.wall_ahead = 0.0  # its time of day against the world's
        self.process: Process | None = None
        self.replica: Replica | None = None
        self._dialer: SimDialer | None = None

    @property
    def address(self) -> str:
        return f"{self.name}:7440"

    @property
    def life(self) -> str:
        """Names the present process."""
        return f"{self.name}.{self.lives}"

    @property
    def up(self) -> bool:
        return self.process is not None and not self.process.dead

    @property
    def runs(self) -> bool:
        """Whether its process is there and not stopped."""
        return self.process is not None and self.process.runs

    def jump_clock(self, seconds: float) -> None:
        if self.process is not None:
            self.process.ahead += seconds

    def leading(self) -> Leader | None:
        """What leads in this process, if it says so itself."""
        if not self.up or self.replica is None:
            return None
        try:
            return self.replica.leader()
        except NotLeading:
            return None

    def start(self) -> None:
        if self.up or self.outages:
            return
        self.lives += 1
        around = self.around
        rate = 1.0 + self.random.uniform(-1.0, 1.0) * around.drift
        process = self.process = Process(self.life, rate)
        process.ahead = self.random.uniform(0.0, 1000.0)
        process.on_doom = self.kill
        self._dialer = SimDialer(around.board, self.name, process, around.witness)
        around.loop.spawn(process, self._run(process, self._dialer))

    def kill(self) -> None:
        """SIGKILL; it is started again after a while."""
        process = self.process
        if process is None or process.dead:
            return
        self.around.note(f"{self.name}: controller killed")
        self.around.loop.kill_process(process)
        self.around.directory.replicas.pop(self.address, None)
        if self._dialer is not None:
            self._dialer.died()
        self.around.loop.after(RESTART_SECONDS, self.start)

    def machine_off(self) -> None:
        self.outages += 1
        self.kill()

    def machine_on(self) -> None:
        self.outages -= 1
        self.start()

    async def _run(self, process: Process, dialer: SimDialer) -> None:
        around = self.around
        replica = self.replica = self._replica(process, dialer)
        around.directory.replicas[self.address] = (replica, process)
        try:
            await replica.run()
        except* StoreReplaced as replaced:
            around.note(f"{self.name}: controller ends: {_words(replaced)}")
        except* Exception as error:
            around.defect(f"{self.name} ended: {_words(error)}")
        if self.process is process and not process.dead:
            around.loop.after(0.0, self.kill)

    def _replica(self, process: Process, dialer: SimDialer) -> Replica:
        around, loop = self.around, self.around.loop
        store = StoreClient(around.etcd, around.network, self.name, around.weather)
        surroundings = LeaderEnvironment(
            store=store,
            dialer=dialer,
            standbys=SimStandbys(around.network, around.directory, self.name),
            clock=loop.time,
            random=Random(f"{around.seed}/{process.name}"),
            executor=InlineExecutor(),
            events=EventLog(lambda: max(0.0, loop.now + self.wall_ahead)),
            settings=around.settings,
            make_seal_key=lambda: SealKey(hashlib.sha256(around.seed.encode()).hexdigest()),
        )
        election = Election(store, self.name, self.address, loop.time, LEASE_SECONDS)
        numbers = count(1)
        return Replica(
            self.name,
            election,
            surroundings,
            lambda: f"00000000-0000-{self.lives:04x}-000{self.name[1:]}-{next(numbers):012x}",
        )


def _words(error: BaseException) -> str:
    """The first error that is no group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
