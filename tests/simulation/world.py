"""A whole simulated cluster under its rules, and one play on it: troubles for a while, then none,
then a look at whether everything that was asked for runs."""

from __future__ import annotations

import asyncio

from fleet.v1 import types_pb2 as types
from fleet_controller.core.rollouts_and_drains.control import Action
from tests.doubles.leading import until
from tests.simulation.doubles.cluster import (
    LOOK_SECONDS,
    LOSS,
    SETTINGS,
    Shape,
    SimulatedCluster,
)
from tests.simulation.engine.clockwork import Clockwork
from tests.simulation.rules.at_once import Limits
from tests.simulation.rules.audit_trail import History
from tests.simulation.rules.breaker import Losses
from tests.simulation.rules.division import Division
from tests.simulation.rules.fencing import Promises
from tests.simulation.rules.in_the_end import InTheEnd
from tests.simulation.rules.isolation import Contacts, Isolation
from tests.simulation.rules.one_copy import Copies, Orders
from tests.simulation.rules.restoring import Restores
from tests.simulation.rules.succession import Returns, Succession
from tests.simulation.rules.tracing import Tracing
from tests.simulation.rules.vouching import VouchedFor

# After the last trouble: a leader within seconds, every host within half a minute, and VMs that
# failed for good reasons are tried again within the agents' longest wait of 300 s.
QUIET_SECONDS = 420.0
STOP_AFTER = (0, 0, 20, 40)
SPEC = types.FleetSpec(
    on_loss=types.ON_LOSS_REPLACE,
    memory_bytes=4 << 20,
    vcpus=1,
    image=types.Image(name="golden", snapshot="1"),
    boot=types.Boot(kernel="/boot/unix"),
    disk=types.Disk(target="xvda"),
    readiness=types.Readiness(domain_active=True, timeout_seconds=30),
    admission=types.Admission(parallel=64),
    placement=types.Placement(policy=types.Placement.POLICY_SPREAD, spread_label="rack"),
)


class World(SimulatedCluster):
    """The cluster and the rules, which hear what happens in the order in which they stand here."""

    def __init__(self, loop: Clockwork, seed: str, shape: Shape) -> None:
        super().__init__(loop, seed, shape)
        orders = Orders()
        self.contacts = Contacts(self.clock)
        self.promises = Promises(self.clock, self.fail)
        self.division = Division(self.machines, orders, self.operator, self.witnesses, self.fail)
        self._history = History(self.division, self.fail)
        self._losses = Losses(self.clock, self.division, self.operator, LOSS, self.fail)
        self._isolation = Isolation(
            self.machines, orders, self.contacts, self.division.stop_after, self.fail
        )
        self._copies = Copies(
            self.machines,
            orders,
            self._may_run_twice,
            self.division.waits,
            lambda kin: self._isolation.limit(kin) > 0,
            self.fail,
        )
        self.in_the_end = InTheEnd(self, self.division, self._copies)
        self.restores = Restores(self, self.division, orders)
        self._vouched_for = VouchedFor(self)
        for witness in (
            Tracing(self.note),
            self.contacts,
            self.promises,
            self._history,
            self.division,
            self._copies,
            self._vouched_for,
            self._losses,
            Limits(self.division, SETTINGS.moves_at_once, self.fail),
            self._isolation,
            self.restores,
        ):
            self.witnesses.add(witness)
        # Of the second fleet: seconds without a controller after which its VMs stop; 0: never.
        self.stop_after = self.random.choice(STOP_AFTER)
        self.quiet_since = 0.0

    def _may_run_twice(self, host: str, uid: str) -> bool:
        division = self.division
        unaware = division.is_lost(host, uid) or division.may_not_know(host)
        return unaware or self._losses.has_just_returned(host)

    async def begin(self) -> None:
        """All processes start, and the first fleet is there."""
        self.start()
        await until(lambda: len(self.division.hosts) == len(self.machines))
        await until(lambda: self.operator.leading() is not None)
        self.operator.apply("spv", SPEC)
        await until(lambda: "spv" in self.division.fleets)

    def watch(self) -> None:
        """From now on the rules that look every second do so, and backups are made."""
        Succession(self).look()
        Returns(self, self.division, self.in_the_end).look()
        self._vouched_for.look()
        self._look_at_isolation()
        self.restores.copy_for_ever()

    def _look_at_isolation(self) -> None:
        self._isolation.look(LOOK_SECONDS)
        self.loop.after(LOOK_SECONDS, self._look_at_isolation)

    def heal(self) -> None:
        """Whatever still troubles the world ends."""
        super().heal()
        self._let_in()

    def _let_in(self) -> None:
        """Hosts that were shut get VMs again."""
        for host, record in self.division.hosts.items():
            if record.cordoned:
                self.operator.cordon(host, False)
            if record.quarantine:
                self.operator.release_quarantine(host)
            if record.draining:
                self.operator.drain(host, False)
        for name in self.operator.remade & self.division.fleets.keys():
            self.operator.abort_rollout(name)
        for name in list(self.division.fleets):
            self.operator.control(name, Action.START, None)

    async def until_all_runs(self) -> None:
        """Fails the play when it takes too long."""
        began = self.loop.now
        while (missing := self.in_the_end.missing()) and self.loop.now < began + QUIET_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            self._let_in()
        self.quiet_since = self.loop.now - began
        if missing:
            self.fail("in the end", f"{missing}, {QUIET_SECONDS:.0f} s after the last trouble")
