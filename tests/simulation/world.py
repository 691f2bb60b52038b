"""A whole simulated cluster under its rules, and one play on it: troubles for a while, then none,
then a look at whether everything that was asked for runs."""

from __future__ import annotations

import asyncio
from random import Random

from fleet.v1 import types_pb2 as types
from fleet_controller.core.rollouts_and_drains.control import Action
from tests.doubles.leading import until
from tests.simulation.backups import Backups
from tests.simulation.doubles.cluster import (
    LOOK_SECONDS,
    LOSS,
    SETTINGS,
    Shape,
    SimulatedCluster,
)
from tests.simulation.doubles.operator import BY_TIME
from tests.simulation.engine.clockwork import Clockwork
from tests.simulation.rules.at_once import AtOnce
from tests.simulation.rules.audit_trail import AuditLines
from tests.simulation.rules.bounded import Bounded, Named
from tests.simulation.rules.breaker import Breaker
from tests.simulation.rules.disruptions import Disruptions
from tests.simulation.rules.division import Division
from tests.simulation.rules.expelled import Expelled
from tests.simulation.rules.fencing import Fencing
from tests.simulation.rules.in_the_end import InTheEnd
from tests.simulation.rules.isolation import Contacts, Isolation
from tests.simulation.rules.kept_events import KeptEvents
from tests.simulation.rules.one_copy import OneCopy
from tests.simulation.rules.orders import Orders
from tests.simulation.rules.recovery import Recovery
from tests.simulation.rules.returns import Returns
from tests.simulation.rules.schedules import Schedules
from tests.simulation.rules.store_view import StoreView
from tests.simulation.rules.succession import Succession
from tests.simulation.rules.tracing import Tracing
from tests.simulation.rules.troubles import Troubles
from tests.simulation.rules.unhindered import Unhindered
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


def disruption_of(random: Random, capacity: int) -> types.Disruption | None:
    """A budget that leaves time enough for everything; in a third of the cases none."""
    if random.random() < 0.34:
        return None
    per_minute = random.choice((0, 0, max(4, capacity // 4)))
    most = random.choice((2, 3, max(3, capacity // 8)))
    return types.Disruption(at_most=most, share=1.0, per_minute=per_minute)


class World(SimulatedCluster):
    """The cluster and the rules, which hear what happens in the order in which they stand here."""

    def __init__(self, loop: Clockwork, seed: str, shape: Shape) -> None:
        super().__init__(loop, seed, shape)
        clock, fail, machines, operator = self.clock, self.fail, self.machines, self.operator
        liars = self.liars
        orders, contacts = Orders(), Contacts(clock)
        troubles = Troubles(self.network, self.etcd, self.store_weather, self.controllers, liars)
        self.store = store = StoreView(machines, orders, operator, self.witnesses, fail)
        breaker = Breaker(clock, store, operator, LOSS, fail)
        copies = OneCopy(machines, orders, store, liars, breaker.has_just_returned, fail)
        vouched_for = VouchedFor(clock, self.controllers, machines, operator, troubles, liars, fail)
        unhindered = Unhindered(clock, self.etcd, machines, operator, store, troubles, liars, fail)
        schedules = Schedules(clock, self.etcd, operator, store, troubles, fail)
        bounded = Bounded(clock, machines, operator, store, liars, fail)
        disruptions = Disruptions(clock, machines, store, liars, fail)
        isolation = Isolation(machines, orders, contacts, store, fail)
        for witness in (
            Tracing(self.note),
            operator,
            contacts,
            liars,
            Fencing(clock, fail),
            AuditLines(store, fail),
            schedules,
            store,
            Division(machines, orders, operator, store, liars, fail),
            copies,
            vouched_for,
            breaker,
            AtOnce(store, SETTINGS.moves_at_once, fail),
            disruptions,
            isolation,
            unhindered,
            bounded,
            Recovery(machines, orders, store, liars, fail),
        ):
            self.witnesses.add(witness)
        self._looks = (
            Succession(clock, self.etcd, self.controllers, troubles, fail).look,
            Returns(clock, machines, operator, store, copies, troubles, fail).look,
            vouched_for.look,
            isolation.look,
            unhindered.look,
            bounded.look,
            disruptions.look,
            schedules.look,
            Expelled(clock, operator, store, fail).look,
            KeptEvents(operator, fail).look,
            Named(clock, machines, operator, troubles, liars, fail).look,
        )
        self.in_the_end = InTheEnd(machines, operator, store, copies, liars, shape.capacity)
        self.backups = Backups(self, store)
        # Of the second fleet: seconds without a controller after which its VMs stop; 0: never.
        self.stop_after = self.random.choice(STOP_AFTER)
        # As operators have it in their file: a budget goes with each template.
        self.spec = types.FleetSpec()
        self.spec.CopyFrom(SPEC)
        self.budget(Random(f"{seed}/budget"))
        self.quiet_seconds = 0.0  # from the last trouble until everything ran

    async def begin(self) -> None:
        """All processes start, and the first fleet is there."""
        self.start()
        await until(lambda: len(self.store.hosts) == len(self.machines))
        await until(lambda: self.operator.leading() is not None)
        self.operator.apply("spv", self.spec)
        await until(lambda: "spv" in self.store.fleets)

    def budget(self, random: Random) -> None:
        """Another disruption budget in the file, which is not applied yet."""
        self.spec.ClearField("disruption")
        if asked := disruption_of(random, self.shape.capacity):
            self.spec.disruption.CopyFrom(asked)

    def watch(self) -> None:
        """From now on the rules that look every second do so, and backups are made."""
        self._look()
        self.backups.make()

    def _look(self) -> None:
        for look in self._looks:
            look()
        self.loop.after(LOOK_SECONDS, self._look)

    def heal(self) -> None:
        """Whatever still troubles the world ends."""
        super().heal()
        for controller in self.controllers:
            controller.wall_ahead = 0.0
        self._let_in()

    def _let_in(self) -> None:
        """Hosts that were shut get VMs again."""
        for host, record in self.store.hosts.items():
            if record.cordoned:
                self.operator.cordon(host, False)
            if record.quarantine:
                self.operator.release_quarantine(host)
            if record.draining:
                self.operator.drain(host, False)
        for host in self.store.expelled:
            self.operator.readmit(host)
        for name in self.operator.remade & self.store.fleets.keys():
            self.operator.abort_rollout(name)
        for name in self.in_the_end.to_rebalance():
            self.operator.rebalance(name, only_bounds=False)
        for name in list(self.store.fleets):
            self.operator.control(name, Action.START, None)
        for name, fleet in self.store.fleets.items():
            for action in self.store.orders.get(fleet.uid, ()):
                self.operator.cancel_order(name, action)
        self._stop_the_tides()

    def _stop_the_tides(self) -> None:
        """No total changes by time any more."""
        for name in BY_TIME & self.store.fleets.keys():
            fleet = self.store.fleets[name]
            spec = self.store.specs.get((fleet.uid, fleet.generation))
            if spec is not None and spec.HasField("schedule"):
                self.operator.apply(name, SPEC)
            elif fleet.uid in self.store.schedules:
                self.operator.scale_for(name, fleet.total, 0)

    async def until_all_runs(self) -> None:
        """Fails the play when it takes too long."""
        began = self.loop.now
        while (missing := self.in_the_end.missing()) and self.loop.now < began + QUIET_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            self._let_in()
        self.quiet_seconds = self.loop.now - began
        if missing:
            self.fail("in the end", f"{missing}, {QUIET_SECONDS:.0f} s after the last trouble")
