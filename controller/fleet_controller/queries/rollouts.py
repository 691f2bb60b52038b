"""Answers about rollouts: how far one is, and what one would do."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import FleetRecord, RolloutRecord, RolloutState
from fleet_controller.core.rollouts_and_drains.canaries import Canaries, most_canaries
from fleet_controller.core.rollouts_and_drains.rollout_orders import Ordered, to_change
from fleet_controller.core.vm_states import FAILED, RUNNING
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning

_LOST = "each VM is made anew from its golden image: what is on its disk is lost"


def rollout_status(
    memory: LeaderMemory, planning: Planning, fleet: FleetRecord
) -> cluster.RolloutStatus | None:
    """The fleet's last rollout; None when there never was one."""
    record = memory.state.rollouts.get(fleet.uid)
    if record is None:
        return None
    vector, target = memory.observed.vectors[fleet.uid], record.to_generation
    placed, _ = vector.by_generation().get(target, (0, 0))
    running = vector.of_generation(target, RUNNING)
    failed = vector.of_generation(target, FAILED)
    off = vector.off_of_generation(target)
    progress = planning.last_pass.progress.get(fleet.uid)
    if progress and (progress.record != record or not record.open):
        progress = None  # of what it was before somebody changed it
    canaries = progress.canaries if progress else None
    at_canaries = record.state is RolloutState.CANARY
    waited = max(0.0, memory.events.now() - record.since_unix)
    message = progress.message if progress and record.works else ""
    return cluster.RolloutStatus(
        fleet=fleet.name,
        from_generation=record.from_generation,
        to_generation=target,
        done=running + off,
        left=vector.placed - placed,
        state=record.state,
        changing=placed - running - off - failed,
        failed=failed,
        wave=progress.wave if progress else "",
        message="; ".join(filter(None, (record.why, message))),
        since_unix=record.since_unix,
        actor=record.actor,
        held_up=progress.held_up if progress else False,
        failed_for_good=memory.observed.failing.of_generation(fleet.uid, target),
        canaries=most_canaries(record, fleet.total) if record.needs_promotion else 0,
        canaries_made=canaries.made if canaries else 0,
        canaries_well=canaries.well if canaries else 0,
        promote_after_seconds=record.promote_after if record.needs_promotion else 0,
        waiting_seconds=waited if at_canaries else 0.0,
        forgotten=at_canaries and record.forgotten,
        undo_on_halt=record.undo_on_halt,
        awaits_word=at_canaries and _awaits_word(record, canaries),
        further_generation=fleet.generation,
    )


def _awaits_word(record: RolloutRecord, canaries: Canaries | None) -> bool:
    if record.promote_after or canaries is None:
        return False
    return canaries.settled and not canaries.to_make


def planned_rollout(memory: LeaderMemory, ordered: Ordered) -> cluster.RolloutStatus:
    """What would be done, were it asked for."""
    record, fleet = ordered.record, ordered.fleet
    vms, _ = to_change(memory.view(), fleet, record.to_generation)
    return cluster.RolloutStatus(
        fleet=fleet.name,
        from_generation=record.from_generation,
        to_generation=record.to_generation,
        left=vms,
        state=record.state,
        message=_LOST,
        canaries=most_canaries(record, fleet.total) if record.needs_promotion else 0,
        promote_after_seconds=record.promote_after if record.needs_promotion else 0,
        undo_on_halt=record.undo_on_halt,
        further_generation=fleet.generation,
    )
