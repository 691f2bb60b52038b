"""A whole simulated cluster: its network, store, controllers, hosts, and the operator who asks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from random import Random

from fleet_controller.agents.links import LinkSettings
from fleet_controller.core.host_loss.health import HealthTimes
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.host_loss.quarantine import QuarantineSettings
from fleet_controller.core.recovery.recovery import RECOVER_AFTER_SECONDS
from fleet_controller.leader.environment import LeaderSettings
from tests.simulation.doubles.agent_server import Switchboard
from tests.simulation.doubles.announcing import Directory
from tests.simulation.doubles.controllers import Controller, ControllerSurroundings
from tests.simulation.doubles.etcd import Etcd, StoreWeather
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.machine import Machine, MachineSurroundings
from tests.simulation.doubles.operator import Operator
from tests.simulation.doubles.witness import Witnesses
from tests.simulation.engine.clockwork import Clockwork
from tests.simulation.engine.network import Network
from tests.simulation.engine.trace import Trace

# Verdicts come as quickly as plays are short.
LOSS = LossSettings(lost_after=45.0, budget=6.0, fleet_share=0.3, window=120.0, release=40.0)
SETTINGS = LeaderSettings(
    settle=10.0,
    moves_at_once=5,
    loss=LOSS,
    quarantine=QuarantineSettings(least=3, after=20.0),
    links=LinkSettings(times=HealthTimes(suspect_after=20.0)),
)
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a world is, and how long its troubles last."""

    hosts: int = 8
    per_host: int = 6
    controllers: int = 0  # 0: one to three, as the seed says
    minutes: float = 3.0
    hosts_per_rack: int = 4
    drift: float = 0.002
    # At most so many records a transaction, so that a small world's changes take several, as
    # those of thousands of hosts do.
    writes: int = 4
    # Seconds of leading before what hosts have is adopted.
    recover_after: float = RECOVER_AFTER_SECONDS

    @property
    def capacity(self) -> int:
        return self.hosts * self.per_host


class SimulatedCluster:
    """Everything that exists, and nothing that judges it. `witnesses` hear what happens."""

    def __init__(self, loop: Clockwork, seed: str, shape: Shape) -> None:
        self.loop = loop
        self.seed = seed
        self.shape = shape
        self.random = Random(f"{seed}/world")
        self.trace = Trace(lambda: loop.now)
        self.failure = ""  # the first rule that was broken
        self.over = asyncio.Event()
        self.witnesses = Witnesses()
        self.network = Network(loop, Random(f"{seed}/network"))
        self.board = Switchboard(self.network)
        self.directory = Directory()
        self.store_weather = StoreWeather()
        self.etcd = Etcd(loop, self.witnesses)
        self.controllers = self._make_controllers()
        self.operator = Operator(
            loop, self.controllers, self.witnesses, lambda text: self.note("ask", text)
        )
        self.machines = self._make_machines()
        self.liars = Liars(self.clock)
        loop.on_trouble = lambda text: self.fail("defect", text)

    def note(self, kind: str, text: str) -> None:
        self.trace.add(kind, text)

    def fail(self, rule: str, text: str) -> None:
        """An invariant does not hold: the play ends."""
        self.note("VIOLATION", f"{rule}: {text}")
        self.failure = self.failure or f"{rule}: {text}"
        self.over.set()

    def clock(self) -> float:
        """Seconds of the world."""
        return self.loop.now

    def start(self) -> None:
        """Every process that does not run."""
        for controller in self.controllers:
            controller.start()
        for machine in self.machines.values():
            machine.start()

    def heal(self) -> None:
        """Whatever still troubles its processes ends."""
        for machine in self.machines.values():
            machine.power_on()
        self.start()

    def _make_controllers(self) -> list[Controller]:
        settings = replace(
            SETTINGS, max_writes=self.shape.writes, recover_after=self.shape.recover_after
        )
        around = ControllerSurroundings(
            self.loop, self.seed, self.network, self.board, self.directory, self.etcd,
            self.store_weather, self.witnesses, lambda text: self.note("process", text),
            lambda text: self.fail("defect", text), self.shape.drift, settings,
        )  # fmt: skip
        several = self.shape.controllers or self.random.randint(1, 3)
        return [Controller(number, around) for number in range(1, several + 1)]

    def _make_machines(self) -> dict[str, Machine]:
        around = MachineSurroundings(
            self.loop, self.seed, self.network, self.board, self.directory,
            tuple(one.address for one in self.controllers), self.witnesses,
            lambda text: self.note("process", text), self.shape.drift,
        )  # fmt: skip
        made = (
            Machine(number, around, self.shape.per_host, self.shape.hosts_per_rack)
            for number in range(1, self.shape.hosts + 1)
        )
        return {machine.id: machine for machine in made}
