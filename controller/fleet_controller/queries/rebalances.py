"""Rebalances as they are told: their plans, and how far they are, from the leader's memory."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.v1 import rebalance_pb2 as wire
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.rebalance.model import FleetRebalance, rebalance_token
from fleet_controller.core.rollouts_and_drains.rebalancing import RebalanceProgress
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning
from fleet_controller.queries.drains import paused

_MOST_HOSTS = 1_000  # of one fleet's plan


def answer(plans: Sequence[FleetRebalance], at_once: int) -> wire.RebalancePlan:
    """As a message. Fleets of which nothing moves, or ought to, are left out."""
    told = sorted((one for one in plans if not one.is_over), key=lambda one: one.fleet.name)
    return wire.RebalancePlan(
        fleets=map(_fleet, told),
        token=rebalance_token(plans),
        vms=sum(one.moves for one in told),
        from_hosts=len({host for one in told for host in one.gives}),
        to_hosts=len({host for one in told for host in one.takes}),
        at_once=at_once,
    )


def rebalance_status(
    memory: LeaderMemory, planning: Planning, fleet: FleetRecord
) -> wire.RebalanceStatus | None:
    """None while the fleet is not being rebalanced."""
    record = memory.state.rebalances.get(fleet.uid)
    if record is None:
        return None
    known = planning.last_pass.rebalances.get(fleet.uid, RebalanceProgress(record.planned))
    return wire.RebalanceStatus(
        only_bounds=record.only_bounds,
        planned=record.planned,
        left=known.left,
        moving=known.moving,
        unplaced=known.unplaced,
        waiting=known.waiting,
        message="; ".join(filter(None, (paused(memory), *_obstacles(known)))),
        since_unix=record.since_unix,
        actor=record.actor,
    )


def _obstacles(known: RebalanceProgress) -> Sequence[str]:
    found = []
    if known.unplaced:
        stand = "stands where it" if known.unplaced == 1 else "stand where they"
        fit = "fits" if known.unplaced == 1 else "fit"
        found.append(f"{_vms(known.unplaced)} {stand} should not, and {fit} nowhere: {known.why}")
    if known.waiting:
        wait = "waits" if known.waiting == 1 else "wait"
        found.append(f"{_vms(known.waiting)} {wait} for hosts that cannot be reached")
    return found


def _vms(count: int) -> str:
    return f"{count:,} VM" + ("" if count == 1 else "s")


def _fleet(plan: FleetRebalance) -> wire.FleetRebalance:
    hosts = sorted({*plan.gives, *plan.takes})
    return wire.FleetRebalance(
        fleet=plan.fleet.name,
        vms=plan.moves,
        from_hosts=len(plan.gives),
        to_hosts=len(plan.takes),
        must=sum(plan.must.values()),
        off_selector=plan.off_selector,
        above_per_host=plan.above_per_host,
        unplaced=plan.unplaced,
        waiting=plan.waiting,
        why=plan.why,
        packed=plan.packed,
        hosts=[
            wire.RebalancedHost(
                host=host,
                leave=plan.gives.get(host, 0),
                must_leave=plan.must.get(host, 0),
                come=plan.takes.get(host, 0),
            )
            for host in hosts[:_MOST_HOSTS]
        ],
        more_hosts=max(0, len(hosts) - _MOST_HOSTS),
    )
