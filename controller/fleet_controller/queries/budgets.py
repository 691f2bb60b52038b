"""The disruption budgets of fleets and what uses them, from the leader's memory and planning: no
I/O."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.rollouts_and_drains.disruption import bounds_of_spec
from fleet_controller.core.vm_states import RUNNING
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning

_SHOWN = 10  # fleets in one status, which is asked several times a second


def budget_of(
    memory: LeaderMemory, planning: Planning, fleet: FleetRecord
) -> cluster.BudgetStatus | None:
    """None: the fleet has none."""
    spec = memory.state.spec_of(fleet)
    bounds = bounds_of_spec(spec, fleet.total) if spec else None
    if bounds is None:
        return None
    vector = memory.observed.vectors[fleet.uid]
    down = max(0, fleet.total - vector.powered_off - vector.counts()[RUNNING])
    use = planning.last_pass.budgets.get(fleet.uid)
    orders = planning.last_pass.orders.get(fleet.uid)
    told = cluster.BudgetStatus(
        fleet=fleet.name,
        at_most=bounds.most,
        down=max(down, use.down) if use and use.waiting else down,
        per_minute=bounds.per_minute,
        begun=memory.begun_anew.counts().get(fleet.uid, 0),
        to_restart=orders.restart if orders else 0,
        to_reimage=orders.reimage if orders else 0,
    )
    sentences = []
    if use and use.waiting:
        told.waiting = use.waiting
        sentences.append(use.why)
    if orders and orders.silent:
        sentences.append(f"{orders.silent:,} VMs of an order wait for hosts that cannot be reached")
    told.message = "; ".join(sentences)
    return told


def statuses(
    memory: LeaderMemory, planning: Planning, fleets: Iterable[FleetRecord]
) -> tuple[list[cluster.BudgetStatus], int]:
    """Of those that have one, in which something waits or goes on before others; and how many
    more there are."""
    found = [one for fleet in fleets if (one := budget_of(memory, planning, fleet))]
    found.sort(key=lambda one: (not one.waiting, not one.message, one.fleet))
    return found[:_SHOWN], len(found[_SHOWN:])
