"""VMs that are to be restarted or made anew, as many at once as the fleet's budget allows.

An order names its VMs and when it was given. Each pass gives some of those that are left a restart
or a new birth; which are left follows from the assignments, so whoever leads next goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import (
    Assignment,
    ClusterView,
    FleetRecord,
    OrdersRecord,
    Shard,
    VmOrder,
)
from fleet_controller.core.placement.drafts import Drafts
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.rollouts_and_drains.control import CHANGES, Action
from fleet_controller.core.rollouts_and_drains.disruption import DisruptionBudget, bounds_of

# Of one order: a record that names its VMs stays small.
MOST_RANGES = 10_000
IN_WAVES = (Action.RESTART, Action.REIMAGE)


class OrderOver(msgspec.Struct, frozen=True):
    """An order of which nothing is left, or whose fleet is gone. `left`: the fleet's other orders;
    None: it has none."""

    fleet: str  # uid
    action: Action
    order: VmOrder
    left: OrdersRecord | None


class OrderProgress(msgspec.Struct, frozen=True):
    """VMs of one fleet that are still to be restarted and made anew. `silent`: of these, the ones
    on hosts that cannot be told."""

    restart: int = 0
    reimage: int = 0
    silent: int = 0


class CarriedOut(msgspec.Struct, frozen=True):
    """`assignments`: all that differ from the store, also those decided before, by host id."""

    assignments: Mapping[str, Assignment]
    over: tuple[OrderOver, ...] = ()
    progress: Mapping[str, OrderProgress] = {}


def carry_out(
    view: ClusterView, decided: Mapping[str, Assignment], budget: DisruptionBudget
) -> CarriedOut:
    """The next step of all orders."""
    if not view.orders:
        return CarriedOut(decided)
    drafts = Drafts(view, decided)
    fleets = {fleet.uid: fleet for fleet in view.fleets.values() if not fleet.deleting}
    over: list[OrderOver] = []
    progress: dict[str, OrderProgress] = {}
    for uid, record in sorted(view.orders.items()):
        left: OrdersRecord = record
        counts: dict[Action, int] = {}
        silent = 0
        for action, order in orders_of(record):
            counts[action] = len(left_of(view, uid, action, order)) if uid in fleets else 0
            if not counts[action]:
                left = _without(left, action)
                over.append(OrderOver(uid, action, order, left if any(orders_of(left)) else None))
                break  # the record changes: what else is in it comes in the next pass
            silent += _advance(view, drafts, budget, uid, action, order)
        if any(counts.values()):
            progress[uid] = OrderProgress(
                counts.get(Action.RESTART, 0), counts.get(Action.REIMAGE, 0), silent
            )
    return CarriedOut(drafts.assignments(), tuple(over), progress)


def orders_of(record: OrdersRecord) -> Iterator[tuple[Action, VmOrder]]:
    """Those that there are."""
    if record.restart:
        yield Action.RESTART, record.restart
    if record.reimage:
        yield Action.REIMAGE, record.reimage


def has_budget(view: ClusterView, fleet: FleetRecord) -> bool:
    """Whether VMs of the fleet are restarted and made anew in waves."""
    return bounds_of(view, fleet) is not None


def left_of(view: ClusterView, uid: str, action: Action, order: VmOrder) -> IndexSet:
    """The VMs of an order that the store does not say to be done yet."""
    shards = (shard for host in view.hosts.values() for shard in host.assignment.shards)
    return IndexSet.union_of(_left(shard, uid, action, order) for shard in shards)


def ordered(view: ClusterView, fleet: FleetRecord, action: Action, order: VmOrder) -> OrdersRecord:
    """The fleet's orders with a further one. What is left of an earlier one of the same kind goes
    on with it. Raises Refused."""
    have = view.orders.get(fleet.uid, OrdersRecord(fleet.uid))
    earlier = dict(orders_of(have)).get(action)
    if earlier is not None:
        rest = left_of(view, fleet.uid, action, earlier)
        order = msgspec.structs.replace(order, indices=order.indices | rest)
    if len(order.indices.ranges) > MOST_RANGES:
        raise Refused(
            Reason.BAD_QUERY,
            f"that names {len(order.indices.ranges):,} ranges of VMs, and at most {MOST_RANGES:,} "
            "can wait for the fleet's budget: name longer ranges, or give --ignore-budget",
        )
    return msgspec.structs.replace(have, **{action.value: order})


def without(record: OrdersRecord, action: Action) -> OrdersRecord | None:
    """The fleet's other orders; None: it has none."""
    left = _without(record, action)
    return left if any(orders_of(left)) else None


def _without(record: OrdersRecord, action: Action) -> OrdersRecord:
    return msgspec.structs.replace(record, **{action.value: None})


def _advance(
    view: ClusterView,
    drafts: Drafts,
    budget: DisruptionBudget,
    uid: str,
    action: Action,
    order: VmOrder,
) -> int:
    """Change as many further VMs as may be down. How many wait for hosts that cannot be told."""
    staged = _staged(drafts.shards(), uid)
    silent = 0
    for host, shard in drafts.shards():
        ready = _left(shard, uid, action, order) - staged  # those are begun anew where they go
        changed = CHANGES[action](shard, view.revision, order.since) if ready else None
        if changed is None:
            continue
        here = view.hosts[host]
        if not here.reachable or here.record.lost:
            silent += len(ready)
        elif part := budget.take(uid, ready):
            drafts.put(host, shard, part, changed)
    return silent


def _left(shard: Shard, uid: str, action: Action, order: VmOrder) -> IndexSet:
    """What is off has nothing to restart; what was made anew since has been restarted as well."""
    if shard.fleet != uid or shard.staged or shard.birth >= order.since:
        return EMPTY
    if action is Action.RESTART and (not shard.power or shard.restart >= order.since):
        return EMPTY
    return shard.ranges & order.indices


def _staged(shards: Iterable[tuple[str, Shard]], uid: str) -> IndexSet:
    return IndexSet.union_of(s.ranges for _, s in shards if s.fleet == uid and s.staged)
