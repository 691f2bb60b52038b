"""A whole simulated cluster, and one play on it: troubles for a while, then none, then a look at
whether everything that was asked for runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import REMOVALS, Batch, StepKind
from fleet_controller.agents.links import LinkSettings
from fleet_controller.core.host_loss.health import HealthTimes
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.host_loss.quarantine import QuarantineSettings
from fleet_controller.core.model import HostRecord, Shard
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.store.port import Change
from tests.doubles.leading import until
from tests.simulation.doubles.agent_wire import Switchboard
from tests.simulation.doubles.controllers import Controller, ControllerSurroundings
from tests.simulation.doubles.etcd import Etcd, StoreWeather
from tests.simulation.doubles.machine import Directory, Machine, MachineSurroundings
from tests.simulation.engine.clockwork import Clockwork
from tests.simulation.engine.network import Network
from tests.simulation.engine.trace import Trace
from tests.simulation.rules.at_once import Limits
from tests.simulation.rules.audit_trail import History
from tests.simulation.rules.breaker import Losses
from tests.simulation.rules.division import NOTHING, Division
from tests.simulation.rules.fencing import Promises
from tests.simulation.rules.isolation import Contacts, Isolation
from tests.simulation.rules.one_copy import Copies, Orders, Vm
from tests.simulation.rules.requests import Operator
from tests.simulation.rules.restoring import Restores

# After the last trouble: a leader within seconds, every host within half a minute, and VMs that
# failed for good reasons are tried again within the agents' longest wait of 300 s.
QUIET_SECONDS = 420.0
LOOK_SECONDS = 1.0
# Verdicts come as quickly as plays are short.
LOSS = LossSettings(lost_after=45.0, budget=6.0, fleet_share=0.3, window=120.0, release=40.0)
SETTINGS = LeaderSettings(
    settle=10.0,
    moves_at_once=5,
    loss=LOSS,
    quarantine=QuarantineSettings(least=3, after=20.0),
    links=LinkSettings(times=HealthTimes(suspect_after=20.0)),
)
DECIDED = frozenset({"assignments", "fleets", "rollouts", "gone", "breaker"})
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

    @property
    def capacity(self) -> int:
        return self.hosts * self.per_host


class World:
    """Everything that exists in one simulation."""

    def __init__(self, loop: Clockwork, seed: str, shape: Shape) -> None:
        self.loop = loop
        self.seed = seed
        self.shape = shape
        self.random = Random(f"{seed}/world")
        self.trace = Trace(lambda: loop.now)
        self.failure = ""  # the first rule that was broken
        self.over = asyncio.Event()
        self.network = Network(loop, Random(f"{seed}/network"))
        self.board = Switchboard(self.network)
        self.directory = Directory()
        self.store_weather = StoreWeather()
        self.machines: dict[str, Machine] = {}
        self.orders = Orders()
        self.copies = Copies(
            self.machines,
            self.orders,
            self._may_run_twice,
            lambda kin: self.division.waits(kin),
            lambda kin: self.isolation.limit(kin) > 0,
            self.fail,
        )
        self.contacts = Contacts(lambda: loop.now)
        self.promises = Promises(lambda: loop.now, self.contacts, self.fail)
        self.etcd = Etcd(loop, self._on_revision, self.on_expiry)
        self.controllers = self._make_controllers()
        self.operator = Operator(loop, self.controllers, lambda text: self.note("ask", text))
        self.division = Division(self.machines, self.orders, self.operator.wishes, self.fail)
        self.losses = Losses(lambda: loop.now, self.division, self.operator, LOSS, self.fail)
        self.division.on_verdict = self._on_verdict
        self.lost_by_time: list[Callable[[str], None]] = []  # hear of hosts
        self.division.excuses += [self._is_moving, self._is_remade]
        self.division.on_removal = self._on_removal
        self.division.on_return = self.losses.on_return
        self.division.excuses += [self._is_moving, self._is_remade, self._is_given_up]
        self.limits = Limits(self.division, SETTINGS.moves_at_once, self.fail)
        self.history = History(self.division, self.fail)
        self.operator.on_answered = self.history.answered
        self.isolation = Isolation(
            self.machines, self.orders, self.contacts, self.division.stop_after, self.fail
        )
        # Of the second fleet: seconds without a controller after which its VMs stop; 0: never.
        self.stop_after = self.random.choice(STOP_AFTER)
        self.restores = Restores(self)
        self.division.on_lost_meanwhile = self.copies.forgive
        self.division.on_thaw = self._on_thaw
        self._make_machines()
        self.quiet_since = 0.0
        loop.on_trouble = lambda text: self.fail("defect", text)

    # What happens ---------------------------------------------------------------------------

    def note(self, kind: str, text: str) -> None:
        self.trace.add(kind, text)

    def fail(self, rule: str, text: str) -> None:
        """An invariant does not hold: the play ends."""
        self.note("VIOLATION", f"{rule}: {text}")
        self.failure = self.failure or f"{rule}: {text}"
        self.over.set()

    def _may_run_twice(self, host: str, uid: str) -> bool:
        division = self.division
        unaware = division.is_lost(host, uid) or division.may_not_know(host)
        return unaware or self.losses.has_just_returned(host)

    def _on_revision(self, revision: int, changes: Sequence[Change]) -> None:
        for change in changes:
            what = change.value.decode() if change.value is not None else "deleted"
            self.note("store", f"{revision} {change.key} {what}")
        if self.division.frozen and not self.operator.recovers:
            self._check_frozen(changes)
        self.history.on_revision(changes)
        self.division.on_revision(revision, changes)
        self.limits.on_revision(changes)

    def _check_frozen(self, changes: Sequence[Change]) -> None:
        """Nothing is decided before an operator has said what holds."""
        for change in changes:
            if change.key.partition("/")[0] in DECIDED:
                self.fail("frozen", f"{change.key} is written while changes are frozen")

    def begin_anew(self, entries: Sequence[Change]) -> None:
        """The store was set back to these."""
        self.promises.expired.clear()
        self.operator.recovers = False
        self.division.begin_anew()
        self.limits.begin_anew()
        self.losses.begin_anew()
        for entry in entries:
            self.division.on_revision(entry.mod_revision, [entry])
            self.limits.on_revision([entry])

    def _on_thaw(self) -> None:
        self.limits.on_thaw()
        self.restores.on_thaw()

    def _on_verdict(self, record: HostRecord, lost: bool) -> None:
        self.note("verdict", f"{record.id} is {'lost' if lost else 'not lost any more'}")
        if lost:
            self.copies.forgive(record.id)
        if lost and record.id not in self.operator.declared:
            for hear in self.lost_by_time:
                hear(record.id)
        self.losses.on_verdict(record, lost)

    def _on_removal(self, host: str) -> None:
        self.copies.forgive(host)
        self.losses.on_removal(host)

    def _is_given_up(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """Of a host that was removed by force, or is lost and drained by force."""
        gone = self.division.is_lost(host, shard.fleet)
        return indices if gone and host in self.operator.given_up else EMPTY

    def _is_moving(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """Of a host that was drained: what another has cloned and defined."""
        if host not in self.operator.drained:
            return EMPTY
        return indices & IndexSet.union_of(
            other.ranges
            for name, assignment in self.division.assignments.items()
            for other in assignment.shards
            if name != host and other.fleet == shard.fleet and other.staged
        )

    def _is_remade(self, host: str, shard: Shard, indices: IndexSet) -> IndexSet:
        """Made anew where it is, in a fleet of which that was asked."""
        fleet = self.division.fleet(shard.fleet)
        if fleet is None or fleet.name not in self.operator.remade:
            return EMPTY
        return indices & IndexSet.union_of(
            other.ranges
            for other in self.division.assignments[host].shards
            if other.fleet == shard.fleet and other.birth > shard.birth
        )

    def on_expiry(self, term: int) -> None:
        self.promises.expired[term] = self.loop.now

    # What there is --------------------------------------------------------------------------

    def _make_controllers(self) -> list[Controller]:
        settings = replace(SETTINGS, max_writes=self.shape.writes)
        around = ControllerSurroundings(
            self.loop, self.seed, self.network, self.board, self.directory, self.etcd,
            self.store_weather, self.promises, lambda text: self.note("process", text),
            lambda text: self.fail("defect", text), self.shape.drift, settings,
        )  # fmt: skip
        several = self.shape.controllers or self.random.randint(1, 3)
        return [Controller(number, around) for number in range(1, several + 1)]

    def _make_machines(self) -> None:
        around = MachineSurroundings(
            self.loop, self.seed, self.network, self.board, self.directory,
            tuple(one.address for one in self.controllers), self, self.promises,
            lambda text: self.note("process", text), self.shape.drift,
        )  # fmt: skip
        for number in range(1, self.shape.hosts + 1):
            machine = Machine(number, around, self.shape.per_host, self.shape.hosts_per_rack)
            self.machines[machine.id] = machine

    # What drivers tell ----------------------------------------------------------------------

    def started(self, host: str, kin: Kin, indices: IndexSet) -> None:
        self.note("start", f"{host} {kin.fleet_uid[-4:]}/{kin.birth} {indices}")
        self.copies.started(host, kin, indices)
        self.limits.started(kin, indices)

    def ended(self, host: str, kin: Kin, indices: IndexSet) -> None:
        self.note("end", f"{host} {kin.fleet_uid[-4:]}/{kin.birth} {indices}")
        self.copies.ended(host, kin, indices)

    def asks(self, host: str, kind: StepKind, batch: Batch) -> None:
        self.isolation.asks(host, kind, batch)

    def acts(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        if kind in REMOVALS:
            self.note(
                "remove", f"{host} {kind} {batch.kin.fleet_uid[-4:]}/{batch.kin.birth} {indices}"
            )
        self.copies.acts(host, kind, batch, indices)

    def lies(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        if kind is StepKind.AWAIT_READY:
            self.limits.started(batch.kin, indices)  # as far as anybody can know

    # The play -------------------------------------------------------------------------------

    async def begin(self) -> None:
        """All processes start, and the first fleet is there."""
        for controller in self.controllers:
            controller.start()
        for machine in self.machines.values():
            machine.start()
        await until(lambda: len(self.division.hosts) == len(self.machines))
        await until(lambda: self.operator.leading() is not None)
        self.operator.apply("spv", SPEC)
        await until(lambda: "spv" in self.division.fleets)

    def heal(self) -> None:
        """Whatever still troubles the world ends."""
        for controller in self.controllers:
            controller.start()
        for machine in self.machines.values():
            machine.power_on()
            machine.start()
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
        while (missing := self._missing()) and self.loop.now < began + QUIET_SECONDS:
            await asyncio.sleep(LOOK_SECONDS)
            self._let_in()
        self.quiet_since = self.loop.now - began
        if missing:
            self.fail("in the end", f"{missing}, {QUIET_SECONDS:.0f} s after the last trouble")

    def _missing(self) -> str:
        """What is not yet as it was asked for; empty when all is."""
        found = self.operator.leading()
        if found is None:
            return "nobody leads"
        leading = found[1]
        if lost := [record.id for record in self.division.hosts.values() if record.lost]:
            return f"{', '.join(lost)} are still lost"
        if twice := self.twice():
            return f"{len(twice)} VMs run twice"
        wanted: dict[str, IndexSet] = {}
        unplaced = 0
        for fleet in self.division.fleets.values():
            if fleet.deleting:
                return f"fleet {fleet.name} is still being deleted"
            wishes = self.operator.wishes.get(fleet.name)
            if wishes and not wishes.may_be(fleet.total):
                return f"fleet {fleet.name} is to have {fleet.total}, and {wishes.stands} stands"
            held = self.division.held.get(fleet.uid, EMPTY)
            wanted[fleet.uid] = held
            rest = fleet.wanted - held
            plan = leading.planning.plans.get(fleet.name)
            told = IndexSet.union_of(one.indices for one in plan.unplaced) if plan else EMPTY
            if held - fleet.wanted or rest != told:
                return f"fleet {fleet.name} is to have {fleet.total}: {held} placed, {told} not"
            unplaced += len(rest)
        placed = sum(map(len, wanted.values()))
        strays = {host: stray for host in self.machines if (stray := self._strays(host))}
        if unplaced and placed + sum(strays.values()) < self.shape.capacity:
            return f"{unplaced} VMs are not placed and there is room for them"
        for uid, held in wanted.items():
            if missing := held - self.copies.running(uid) - self._blocked(uid):
                return f"{missing} of {uid} do not run"
        if len(self.copies.holders) > placed and self.division.generation == 1:
            return f"{len(self.copies.holders) - placed} VMs run that nobody wants"
        # Without its ledger an agent does not know what it has let go before, and what a recovered
        # store has never known is left alone.
        left = [host for host in strays if not self.machines[host].disk.lost]
        if left and self.division.generation == 1:
            return f"VMs are left on {', '.join(left)} that nobody wants"
        if any(leading.memory.observed.releasing.values()):
            return "tombstones are not acknowledged"
        if leading.memory.observed.converged != len(self.machines):
            return f"only {leading.memory.observed.converged} hosts say that all is done"
        return ""

    def twice(self) -> dict[Vm, set[str]]:
        """Which VMs run on which hosts at once. What a recovered store has never known and nobody
        wants are orphans, left alone wherever they are."""
        if self.division.generation == 1:
            return self.copies.doubles
        return {vm: hosts for vm, hosts in self.copies.doubles.items() if self._is_wanted(vm)}

    def _is_wanted(self, vm: Vm) -> bool:
        fleet = self.division.fleet(vm[0])
        return fleet is not None and vm[1] in fleet.wanted

    def _blocked(self, uid: str) -> IndexSet:
        """What a recovered store wants of a host that has a later life of the same VM, or under its
        name one of a fleet that the store has forgotten."""
        fleet = self.division.fleet(uid)
        if self.division.generation == 1 or fleet is None:
            return EMPTY
        return IndexSet.union_of(
            shard.ranges & have
            for host, machine in self.machines.items()
            for kin, have in machine.named(fleet.name).items()
            for shard in self.division.assignments.get(host, NOTHING).shards
            if shard.fleet == uid
            if kin.birth > shard.birth or self.division.fleet(kin.fleet_uid) is None
        )

    def _strays(self, host: str) -> int:
        """VMs on the host, or what there is of them, that are not its own: they take its room."""
        shards = self.division.assignments.get(host, NOTHING).shards
        return sum(
            len(
                have
                - IndexSet.union_of(
                    shard.ranges
                    for shard in shards
                    if (shard.fleet, shard.birth) == (kin.fleet_uid, kin.birth)
                )
            )
            for kin, have in self.machines[host].all_that_exists().items()
        )
