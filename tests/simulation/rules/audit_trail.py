"""What the audit trail must say: each change that people or the leader make is told in its own
transaction, by whom, and each request that was answered is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleet_controller.core.audit import BY_LEADER, AuditRecord
from fleet_controller.core.model import Assignment, FleetRecord, HostRecord, OrdersRecord
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.vm_orders import orders_of
from fleet_controller.store import keys
from fleet_controller.store.codec import decode
from fleet_controller.store.port import Change
from tests.simulation.doubles.operator import action_of
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.store_view import NOTHING, StoreView

# What the leader does by itself; all else has an operator's name.
UNASKED = frozenset(
    {
        "breaker", "declare_lost", "drain_forced", "drain_stopped", "drained", "fleet_deleted",
        "freeze", "host_returned", "quarantine", "rebalanced", "rollout_done", "rollout_forgotten",
        "rollout_halted", "rollout_promoted", "rollout_undone", "vms_reimage_done",
        "vms_restart_done",
    }
)  # fmt: skip
# What its schedule does to a fleet's total is done in the name of who has applied it.
BY_TIME = "schedule for operator/"
_OF_HOSTS: Mapping[str, frozenset[str]] = {
    "cordoned": frozenset({"cordon", "uncordon"}),
    "draining": frozenset({"drain", "undrain", "drain_stopped"}),
    "drained": frozenset({"drained", "drain", "undrain"}),
    "drain_ignores_budget": frozenset({"drain", "undrain", "drain_forced", "drain_stopped"}),
    "lost": frozenset({"declare_lost", "declare_lost_undo", "host_returned", "expel"}),
    "quarantine": frozenset({"quarantine", "release_quarantine"}),
}
_ROLLOUTS = frozenset(
    f"rollout_{word}"
    for word in (
        "start", "undo", "back", "pause", "resume", "abort", "promote", "hold",
        "done", "halted", "promoted", "undone", "forgotten",
    )
)  # fmt: skip
_ORDERS = frozenset(
    f"vms_{word}{end}" for word in ("restart", "reimage") for end in ("", "_done", "_cancelled")
)
_OF_ALL: Mapping[str, frozenset[str]] = {
    "breaker": frozenset({"breaker", "release_breaker"}),
    "freeze": frozenset({"freeze", "recover"}),
}
_BLANK = HostRecord("", "")
_NONE = FleetRecord("", "", 0)


@dataclass(slots=True)
class Told:
    """The lines of one transaction."""

    lines: list[AuditRecord] = field(default_factory=list)

    def has(self, actions: Iterable[str], *, fleet: str = "", host: str = "") -> bool:
        return any(
            line.action in actions
            and (not fleet or line.fleet == fleet)
            and (not host or line.host == host)
            for line in self.lines
        )


class AuditLines(Witness):
    """Hears every revision before the view of the store does, and every answer to a request."""

    def __init__(self, store: StoreView, fail: Fail) -> None:
        self._store = store
        self._fail = fail
        self._by_actor: dict[str, int] = {}  # lines of each operator's request
        self._last_control: dict[str, str] = {}  # by fleet: what was done to its VMs last
        self._orders: dict[str, set[str]] = {}  # by uid: what is to be done to VMs in waves

    def request_answered(self, actor: str) -> None:
        count = self._by_actor.get(actor, 0)
        if count != 1:
            self._fail("audit", f"{count} lines tell of what {actor} was answered")

    def revision_written(self, revision: int, changes: Sequence[Change]) -> None:
        told = Told()
        for change in changes:
            if change.key.startswith(keys.AUDIT) and change.value is not None:
                self._take(decode(AuditRecord, change.key, change.value), told)
        for change in changes:
            kind, _, rest = change.key.partition("/")
            if kind in _OF_ALL:
                self._expect(told.has(_OF_ALL[kind]), change.key)
            elif self._store.frozen:
                continue  # what a recovery writes is told with the last of it
            elif kind == "hosts":
                self._check_host(rest, change, told)
            elif kind == "fleets" and keys.spec_of(change.key) is None:
                self._check_fleet(rest, change, told)
            elif kind == "assignments":
                self._check_control(rest, change)
            elif kind == "orders":
                self._take_orders(rest, change, told)
            elif kind == "rollouts" and change.value is not None:
                self._expect(told.has(_ROLLOUTS), change.key)
            elif kind == "rebalances" and change.value is not None:
                self._expect(told.has({"rebalance"}), change.key)

    def _take_orders(self, uid: str, change: Change, told: Told) -> None:
        """They go with their fleet without a word."""
        if change.value is None:
            self._orders.pop(uid, None)
            return
        record = decode(OrdersRecord, change.key, change.value)
        self._orders[uid] = {action.value for action, _ in orders_of(record)}
        self._expect(told.has(_ORDERS), change.key)

    def _take(self, line: AuditRecord, told: Told) -> None:
        told.lines.append(line)
        self._by_actor[line.actor] = self._by_actor.get(line.actor, 0) + 1
        by_leader = line.actor == BY_LEADER and line.action in UNASKED
        by_time = line.actor.startswith(BY_TIME) and line.action == "schedule"
        if not (by_leader or by_time) and action_of(line.actor) != line.action:
            self._fail("audit", f"{line.action} by {line.actor!r}, who has not asked for it")
        done = line.action.removeprefix("vms_")
        if line.action.startswith("vms_") and done in set(Action):
            self._last_control[line.fleet] = done

    def _expect(self, told: bool, what: str) -> None:
        if not told:
            self._fail("audit", f"{what}: changed, and no line of the transaction tells of it")

    def _check_host(self, host: str, change: Change, told: Told) -> None:
        if change.value is None:
            self._expect(told.has({"remove"}, host=host), f"{host} is removed")
            return
        before = self._store.hosts.get(host, _BLANK)
        record = decode(HostRecord, change.key, change.value)
        for name, actions in _OF_HOSTS.items():
            if getattr(record, name) != getattr(before, name):
                self._expect(told.has(actions, host=host), f"{name} of {host}")

    def _check_fleet(self, name: str, change: Change, told: Told) -> None:
        if change.value is None:
            self._expect(told.has({"fleet_deleted"}, fleet=name), f"fleet {name} is gone")
            return
        before = self._store.fleets.get(name, _NONE)
        record = decode(FleetRecord, change.key, change.value)
        for differs, actions in (
            (record.total != before.total, {"scale", "delete", "schedule"}),
            (record.deleting != before.deleting, {"delete"}),
            (record.uid != before.uid, {"apply"}),
            (record.generation != before.generation, {"apply", *_ROLLOUTS}),
        ):
            if differs:
                self._expect(told.has(actions, fleet=name), f"fleet {name}: {record}")

    def _check_control(self, host: str, change: Change) -> None:
        """The line goes with the first of the transactions that do it."""
        before = self._store.assignments.get(host, NOTHING)
        after = NOTHING if change.value is None else decode(Assignment, change.key, change.value)
        for uid, action in _controlled(before, after):
            fleet = self._store.fleet(uid)
            if action in self._orders.get(uid, ()):
                continue
            if fleet is not None and self._last_control.get(fleet.name) != action:
                self._fail("audit", f"{action} of VMs of {fleet.name} on {host}, untold")


def _controlled(before: Assignment, after: Assignment) -> Iterator[tuple[str, Action]]:
    """What operators have done to VMs that stay on the host, by fleet uid."""
    for old in before.shards:
        for new in after.shards:
            if new.fleet != old.fleet or not new.ranges & old.ranges:
                continue
            if new.birth == old.birth and new.power != old.power:
                yield new.fleet, Action.START if new.power else Action.STOP
            elif new.birth == old.birth and new.restart > old.restart:
                yield new.fleet, Action.RESTART
            elif new.birth == old.birth and new.retry > old.retry:
                yield new.fleet, Action.RETRY
            elif new.birth > old.birth and new.generation == old.generation:
                yield new.fleet, Action.REIMAGE
