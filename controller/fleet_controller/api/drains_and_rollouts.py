"""The part of the service that is about VMs that move, change or stop, and agents that change."""

from __future__ import annotations

import asyncio
import time
from importlib.metadata import version

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import rebalance_pb2 as rebalance
from fleet.v1 import upgrade_pb2 as upgrade
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet.wire_ranges import from_wire, to_wire
from fleet_controller.api.authorization import (
    NAMES_MANY_BYTES,
    READERS,
    WRITERS,
    Call,
    Roles,
    changing_unless_planned,
    rpc,
)
from fleet_controller.changes.hosts import DrainDeadline
from fleet_controller.changes.vms import Chosen
from fleet_controller.core.refusals import Reason, Refused, named_fleet
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.core.rollouts_and_drains.drain_progress import DrainProgress
from fleet_controller.core.rollouts_and_drains.rollout_orders import RolloutAction, RolloutOptions
from fleet_controller.core.upgrades.record import (
    DEFAULT_LABEL,
    DEFAULT_SECONDS,
    DEFAULT_WIDTH,
    UpgradeRecord,
)
from fleet_controller.queries import drains as drain_queries
from fleet_controller.queries import rebalances as rebalance_queries
from fleet_controller.queries import rollouts as rollout_queries
from fleet_controller.queries import upgrades as upgrade_queries
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.replica import Replica
from fleet_controller.waiting import within

_RANGES = 1000  # of a plan, shown
# Seconds between two answers about a drain: at least, and at most.
_PROGRESS_INTERVAL = 0.25
_PROGRESS_QUIET = 2.0
_ACTIONS = {
    cluster.ControlVmsRequest.ACTION_RESTART: Action.RESTART,
    cluster.ControlVmsRequest.ACTION_REIMAGE: Action.REIMAGE,
    cluster.ControlVmsRequest.ACTION_STOP: Action.STOP,
    cluster.ControlVmsRequest.ACTION_START: Action.START,
    cluster.ControlVmsRequest.ACTION_RETRY: Action.RETRY,
}
_CANCELS = {
    cluster.ControlVmsRequest.ACTION_CANCEL_RESTART: Action.RESTART,
    cluster.ControlVmsRequest.ACTION_CANCEL_REIMAGE: Action.REIMAGE,
}
MAX_DRAIN_SECONDS = 30 * 86400.0
_TURNS = {
    cluster.RolloutRequest.ACTION_PAUSE: RolloutAction.PAUSE,
    cluster.RolloutRequest.ACTION_RESUME: RolloutAction.RESUME,
    cluster.RolloutRequest.ACTION_ABORT: RolloutAction.ABORT,
    cluster.RolloutRequest.ACTION_PROMOTE: RolloutAction.PROMOTE,
    cluster.RolloutRequest.ACTION_HOLD: RolloutAction.HOLD,
}
_BEGINNINGS = (cluster.RolloutRequest.ACTION_START, cluster.RolloutRequest.ACTION_CANARY)
DISKS_STAY = "disks do not move: each VM begins elsewhere with a fresh clone"


def _rollout_roles(request: cluster.RolloutRequest) -> Roles:
    shows = request.action == cluster.RolloutRequest.ACTION_SHOW or request.plan_only
    return READERS if shows else WRITERS


class DrainsAndRolloutsApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica

    @rpc(changing_unless_planned)
    async def Drain(self, call: Call, request: cluster.DrainRequest) -> None:  # type: ignore[override]
        leading = call.leader
        memory, planning = leading.memory, leading.planning
        if request.plan_only:
            plan = await leading.hosts.planned_drain(request.host, request.force)
            blocker = drain_queries.blocker_ahead(memory, request.host, request.force)
            await call.send(_planned(plan, blocker))
            return
        begun = drain_queries.drain_of(memory, planning, request.host).left
        if not request.watch_only:
            await _ask(leading, request, call.actor)
        while True:
            leading = self.replica.leader()
            memory, planning = leading.memory, leading.planning
            seen = memory.observed.pulse.version
            progress = drain_queries.progress_of(memory, planning, request.host, begun)
            await call.send(progress)
            if progress.done or request.no_wait or request.cancel:
                return
            drain_queries.check_draining(memory, planning, request.host)
            await asyncio.sleep(_PROGRESS_INTERVAL)
            await within(_PROGRESS_QUIET, memory.observed.pulse.after(seen))

    @rpc(WRITERS)
    async def RemoveHost(
        self, call: Call, request: cluster.RemoveHostRequest
    ) -> cluster.RemoveHostResponse:
        count = await call.leader.hosts.remove(request.host, request.force, call.actor)
        return cluster.RemoveHostResponse(forsaken=count)

    @rpc(_rollout_roles)
    async def Rollout(self, call: Call, request: cluster.RolloutRequest) -> cluster.RolloutStatus:
        return await _rollout(call.leader, request, call.actor)

    @rpc(READERS)
    async def PlanRebalance(
        self, call: Call, request: rebalance.RebalanceRequest
    ) -> rebalance.RebalancePlan:
        started, leading = time.perf_counter(), call.leader
        plans = await leading.rebalances.plan(request.fleet, request.only_bounds)
        answer = rebalance_queries.answer(plans, leading.memory.settings.moves_at_once)
        answer.server_seconds = time.perf_counter() - started
        return answer

    @rpc(WRITERS)
    async def Rebalance(
        self, call: Call, request: rebalance.RebalanceRequest
    ) -> rebalance.RebalancePlan:
        leading = call.leader
        plans = await leading.rebalances.begin(
            request.fleet, request.only_bounds, request.plan_token, call.actor
        )
        return rebalance_queries.answer(plans, leading.memory.settings.moves_at_once)

    @rpc(WRITERS)
    async def StopRebalance(
        self, call: Call, request: rebalance.StopRebalanceRequest
    ) -> rebalance.StopRebalanceResponse:
        stopped = await call.leader.rebalances.stop(request.fleet, call.actor)
        return rebalance.StopRebalanceResponse(fleets=sorted(stopped))

    @rpc(changing_unless_planned, max_bytes=NAMES_MANY_BYTES)
    async def ControlVms(
        self, call: Call, request: cluster.ControlVmsRequest
    ) -> cluster.ControlVmsResponse:
        if request.action in _CANCELS:
            return await _cancelled(call.leader, request, call.actor)
        made = await call.leader.vms.control(
            _chosen(request), _action(request), call.actor,
            plan_only=request.plan_only, token=request.plan_token,
            ignore_budget=request.ignore_budget,
        )  # fmt: skip
        return cluster.ControlVmsResponse(
            vms=len(made.indices),
            hosts=made.hosts,
            token=made.token,
            indices=to_wire(made.indices)[:_RANGES],
            at_once=made.at_once,
        )

    @rpc(changing_unless_planned)
    async def BeginUpgrade(
        self, call: Call, request: upgrade.BeginUpgradeRequest
    ) -> upgrade.UpgradeStatus:
        leading, asked = call.leader, _asked_upgrade(request)
        leading.upgrades.check(asked)
        if not request.plan_only:
            asked = await leading.upgrades.begin(asked, call.actor)
        return upgrade_queries.upgrade_status(leading.memory, asked, planned=request.plan_only)

    @rpc(WRITERS)
    async def ControlUpgrade(
        self, call: Call, request: upgrade.ControlUpgradeRequest
    ) -> upgrade.UpgradeStatus:
        upgrades = call.leader.upgrades
        match request.action:
            case upgrade.ControlUpgradeRequest.ACTION_HALT:
                turned = await upgrades.halt(call.actor)
            case upgrade.ControlUpgradeRequest.ACTION_RESUME:
                turned = await upgrades.resume(tuple(request.skip), call.actor)
            case upgrade.ControlUpgradeRequest.ACTION_CANCEL:
                turned = await upgrades.cancel(call.actor)
            case other:
                raise Refused(Reason.BAD_QUERY, f"there is nothing to do with upgrades: {other}")
        return upgrade_queries.upgrade_status(call.leader.memory, turned)

    @rpc(READERS, recalls=True)
    async def GetUpgrade(
        self, call: Call, request: upgrade.GetUpgradeRequest
    ) -> upgrade.UpgradeStatus:
        memory = call.leader.memory
        if memory.state.upgrade is None:
            raise Refused(Reason.UPGRADE_STATE, "there was no upgrade yet")
        return upgrade_queries.upgrade_status(memory, memory.state.upgrade)


def _asked_upgrade(request: upgrade.BeginUpgradeRequest) -> UpgradeRecord:
    return UpgradeRecord(
        request.version or version("megafleet"),
        request.wave_label or DEFAULT_LABEL,
        request.width or DEFAULT_WIDTH,
        request.seconds or DEFAULT_SECONDS,
        dict(request.selector),
        tuple(dict.fromkeys(request.hosts)),
    )


async def _ask(leading: Leader, request: cluster.DrainRequest, peer: str) -> None:
    if request.cancel:
        await leading.hosts.cancel_drain(request.host, peer)
    elif request.force:
        await leading.hosts.give_up(request.host, peer)
    else:
        await leading.hosts.drain(request.host, peer, _deadline(request))


def _deadline(request: cluster.DrainRequest) -> DrainDeadline | None:
    """None: nothing is asked of it. Raises Refused."""
    if not 0 <= request.deadline_seconds <= MAX_DRAIN_SECONDS:
        raise Refused(
            Reason.BAD_QUERY,
            f"a drain's deadline is at most {MAX_DRAIN_SECONDS:.0f} s; "
            f"{request.deadline_seconds:g} is not",
        )
    if not (request.deadline_seconds or request.ignore_budget):
        if request.then:
            raise Refused(
                Reason.BAD_QUERY, "what becomes of a drain at its deadline needs a deadline"
            )
        return None
    force = request.then == cluster.DRAIN_THEN_FORCE
    return DrainDeadline(request.deadline_seconds, force, request.ignore_budget)


async def _cancelled(
    leading: Leader, request: cluster.ControlVmsRequest, peer: str
) -> cluster.ControlVmsResponse:
    if request.plan_only:
        raise Refused(Reason.BAD_QUERY, "a cancellation has no plan: it leaves VMs as they are")
    left = await leading.vms.cancel(request.fleet, _CANCELS[request.action], peer)
    return cluster.ControlVmsResponse(vms=len(left), indices=to_wire(left)[:_RANGES])


def _planned(plan: DrainProgress, blocker: str) -> cluster.DrainProgress:
    message = "; ".join(filter(None, (blocker, DISKS_STAY)))
    return cluster.DrainProgress(
        moved=plan.moving, left=plan.left, unplaced=plan.unplaced, message=message
    )


async def _rollout(
    leading: Leader, request: cluster.RolloutRequest, peer: str
) -> cluster.RolloutStatus:
    """Raises Refused."""
    memory, rollouts, plan_only = leading.memory, leading.rollouts, request.plan_only
    match request.action:
        case cluster.RolloutRequest.ACTION_SHOW:
            fleet = named_fleet(memory.state.fleets, request.fleet)
            shown = rollout_queries.rollout_status(memory, leading.planning, fleet)
            if shown is None:
                raise Refused(Reason.ROLLOUT_STATE, f"there was no rollout of {fleet.name} yet")
            return shown
        case action if action in _BEGINNINGS:
            options = _options(request)
            ordered = await rollouts.start(request.fleet, options, peer, plan_only=plan_only)
        case cluster.RolloutRequest.ACTION_BACK:
            options = _options(request)
            ordered = await rollouts.back(request.fleet, options, peer, plan_only=plan_only)
        case cluster.RolloutRequest.ACTION_UNDO:
            ordered = await rollouts.undo(request.fleet, peer, plan_only=plan_only)
        case action if action in _TURNS:
            turn = _TURNS[action]
            ordered = await rollouts.turn(
                request.fleet, turn, peer, request.generation, plan_only=plan_only
            )
        case other:
            raise Refused(Reason.BAD_QUERY, f"there is nothing to do with a rollout called {other}")
    if not plan_only:
        done = rollout_queries.rollout_status(memory, leading.planning, ordered.fleet)
        return done if done else cluster.RolloutStatus()
    return rollout_queries.planned_rollout(memory, ordered)


def _options(request: cluster.RolloutRequest) -> RolloutOptions:
    """Raises Refused where canaries are asked for and none are named."""
    if request.action == cluster.RolloutRequest.ACTION_CANARY and not (
        request.canaries or request.canary_share
    ):
        raise Refused(Reason.BAD_QUERY, "how many canaries there are to be has to be said")
    return RolloutOptions(
        request.generation, request.max_unavailable, request.max_unavailable_share,
        request.by_label, request.halt_share, request.canaries, request.canary_share,
        request.promote_after_seconds, request.undo_on_halt,
    )  # fmt: skip


def _chosen(request: cluster.ControlVmsRequest) -> Chosen:
    try:
        indices = from_wire(request.indices) if request.indices else None
    except ValueError as error:
        raise Refused(Reason.BAD_QUERY, f"a range of indices is not one: {error}") from error
    return Chosen(request.fleet, indices, request.state, request.host)


def _action(request: cluster.ControlVmsRequest) -> Action:
    action = _ACTIONS.get(request.action)
    if action is None:
        raise Refused(Reason.BAD_QUERY, f"there is nothing to do with VMs called {request.action}")
    return action
