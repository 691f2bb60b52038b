"""ClusterService: what fleetctl and agents ask, answered by the leader.

Each method is a translation: the change or the answer itself is made elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from importlib.metadata import version

from fleet.service import Context, check_all_guarded
from fleet.transport import Role
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.api.authorization import (
    NAMES_MANY_BYTES,
    READERS,
    WRITERS,
    Call,
    by_any_replica,
    changing_unless_planned,
    rpc,
)
from fleet_controller.api.callers import Caller, CallsUnderWay
from fleet_controller.api.denials import DenialsApi
from fleet_controller.api.drains_and_rollouts import DrainsAndRolloutsApi
from fleet_controller.api.history import HistoryApi
from fleet_controller.api.host_calls import HostCallsApi
from fleet_controller.api.host_claims import HostClaimsApi
from fleet_controller.api.host_loss import HostLossApi
from fleet_controller.api.joining import JoiningApi
from fleet_controller.api.people import PeopleApi
from fleet_controller.api.standbys import StandbysApi
from fleet_controller.api.store_health import store_health
from fleet_controller.core.changes import check_given
from fleet_controller.queries import clones as clone_queries
from fleet_controller.queries import fleet_plans
from fleet_controller.queries import fleets as fleet_queries
from fleet_controller.queries import hosts as host_queries
from fleet_controller.queries import vms as vm_queries
from fleet_controller.relay import copies, files_out
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.replica import NotLeading, Replica
from fleet_controller.standbys import AtHand
from fleet_controller.waiting import within

SERVICE = cluster.DESCRIPTOR.services_by_name["ClusterService"]
# A template with all its texts and labels has some 30 KiB.
MAX_SPEC_BYTES = 256 * 1024
# Seconds between two statuses of one watcher: at least, and at most, as ages grow by themselves.
_MIN_STATUS_INTERVAL = 0.05
_STATUS_QUIET = 1.0
# An agent announces itself again where no controller has called it for so long.
_ANNOUNCE_AGAIN_SECONDS = 60
_EVENT_PAGE = 100
_MAX_EVENT_PAGE = 10_000
_LONGEST_WAIT_MS = 30_000


class ClusterApi(
    HostCallsApi,
    HostLossApi,
    HostClaimsApi,
    DrainsAndRolloutsApi,
    HistoryApi,
    StandbysApi,
    DenialsApi,
    JoiningApi,
    PeopleApi,
):
    """Bound to one replica; whoever does not lead says who does."""

    def __init__(self, replica: Replica, at_hand: AtHand) -> None:
        """`at_hand`: the standbys that the replica asks; they make themselves known here. Raises
        TypeError for a method that would not check who calls."""
        check_all_guarded(self, SERVICE)
        self.replica = replica
        self.at_hand = at_hand
        self.calls = CallsUnderWay()
        self.copies_under_way = copies.under_way()
        self.files_out_under_way = files_out.under_way()

    @by_any_replica((*READERS, Role.AGENT))
    async def Version(
        self, by: Caller, request: cluster.VersionRequest, context: Context
    ) -> cluster.VersionResponse:
        store = self.replica.store
        answer = cluster.VersionResponse(
            version=version("megafleet"),
            replica=self.replica.name,
            store=store.description,
            durable=store.durable,
            store_health=self._store_health(),
        )
        try:
            self.replica.leader()
            answer.leader = True
        except NotLeading as standing_by:
            answer.leader_address = standing_by.address
        return answer

    @rpc((*READERS, Role.CONTROLLER))
    async def Instant(self, call: Call, request: cluster.InstantRequest) -> cluster.InstantResponse:
        return cluster.InstantResponse(
            leadership=self.replica.leadership_name(), seconds=self.replica.clock()
        )

    @rpc(WRITERS, max_bytes=MAX_SPEC_BYTES)
    async def ApplyFleet(
        self, call: Call, request: cluster.ApplyFleetRequest
    ) -> cluster.ApplyFleetResponse:
        check_given(request.name, request.spec)
        done = await call.leader.fleets.apply(
            request.name, request.spec, call.actor, owner=call.peer.name, token=request.plan_token
        )
        return cluster.ApplyFleetResponse(
            fleet=fleet_queries.fleet_summary(call.leader.memory, done.fleet),
            created=done.created,
            changed=done.changed,
            settings=[one.field for one in done.settings],
            returned=done.returned,
            not_cloned=clone_queries.not_cloned(call.leader.memory, done.fleet, request.spec),
        )

    @rpc(READERS, max_bytes=NAMES_MANY_BYTES)
    async def PlanFleets(
        self, call: Call, request: cluster.PlanFleetsRequest
    ) -> cluster.PlanFleetsResponse:
        started = time.perf_counter()
        known = fleet_plans.known(call.leader.memory, request)
        asked = [(one.name, one.spec) for one in request.fleets]
        plans = await call.leader.fleets.plan_files(
            known, asked, prune=request.prune, others=request.others
        )
        answer = fleet_plans.answer(plans)
        answer.server_seconds = time.perf_counter() - started
        return answer

    @rpc(READERS, recalls=True)
    async def ListGenerations(
        self, call: Call, request: cluster.ListGenerationsRequest
    ) -> cluster.ListGenerationsResponse:
        return fleet_plans.generations(call.leader.memory, request.fleet)

    @rpc(READERS, recalls=True)
    async def ListFleets(
        self, call: Call, request: cluster.ListFleetsRequest
    ) -> cluster.ListFleetsResponse:
        fleets = sorted(call.leader.memory.state.fleets.values(), key=lambda fleet: fleet.name)
        return cluster.ListFleetsResponse(
            fleets=[
                fleet_queries.fleet_summary(call.leader.memory, fleet, call.leader.planning)
                for fleet in fleets
                if call.sees(fleet.name)
            ]
        )

    @rpc(WRITERS)
    async def DeleteFleet(
        self, call: Call, request: cluster.DeleteFleetRequest
    ) -> cluster.DeleteFleetResponse:
        fleet = await call.leader.fleets.delete(request.name, call.actor, token=request.plan_token)
        return cluster.DeleteFleetResponse(
            fleet=fleet_queries.fleet_summary(call.leader.memory, fleet)
        )

    @rpc(changing_unless_planned)
    async def Scale(self, call: Call, request: cluster.ScaleRequest) -> cluster.ScaleResponse:
        fleets = call.leader.fleets
        if request.plan_only:
            scaling = await fleets.plan(request.fleet, request.total, call.actor)
        else:
            scaling = await fleets.scale(
                request.fleet,
                request.total,
                call.actor,
                partial=request.partial,
                token=request.plan_token,
                seconds=request.for_seconds,
            )
        return fleet_queries.scale_response(call.leader.memory, scaling)

    @rpc(READERS, recalls=True)
    async def Status(self, call: Call, request: cluster.StatusRequest) -> cluster.StatusResponse:
        return self._status(call, call.leader, request.fleet)

    @rpc(READERS)
    async def WatchStatus(self, call: Call, request: cluster.WatchStatusRequest) -> None:  # type: ignore[override]
        interval = max(_MIN_STATUS_INTERVAL, request.interval_ms / 1000)
        while True:
            leading = self.replica.leader()
            pulse = leading.memory.observed.pulse
            seen = pulse.version
            await call.send(self._status(call, leading, request.fleet))
            await asyncio.sleep(interval)
            await within(_STATUS_QUIET, pulse.after(seen))

    @rpc(READERS, recalls=True)
    async def ListHosts(
        self, call: Call, request: cluster.ListHostsRequest
    ) -> cluster.ListHostsResponse:
        return host_queries.hosts(call.leader.memory, call.leader.planning, request)

    @rpc(READERS, recalls=True)
    async def GetHost(self, call: Call, request: cluster.GetHostRequest) -> cluster.HostDetail:
        detail = host_queries.host_detail(call.leader.memory, call.leader.planning, request.id)
        detail.summary.to_renew = call.leader.renewals.is_behind(request.id)
        return detail

    @rpc(WRITERS)
    async def SetCordon(self, call: Call, request: cluster.SetCordonRequest) -> cluster.HostSummary:
        await call.leader.hosts.cordon(request.id, request.cordoned, call.actor)
        return host_queries.host_summary(call.leader.memory, call.leader.planning, request.id)

    @rpc(READERS, recalls=True)
    async def ListVms(self, call: Call, request: cluster.ListVmsRequest) -> cluster.ListVmsResponse:
        started = time.perf_counter()
        answer = vm_queries.vms(call.leader.memory, request)
        answer.server_seconds = time.perf_counter() - started
        return answer

    @rpc(READERS, recalls=True)
    async def GetVm(self, call: Call, request: cluster.GetVmRequest) -> cluster.VmDetail:
        return vm_queries.vm(call.leader.memory, call.leader.planning, request)

    @rpc(READERS, recalls=True, long=True)
    async def ListEvents(
        self, call: Call, request: cluster.ListEventsRequest
    ) -> cluster.ListEventsResponse:
        log = call.leader.memory.events
        limit = min(request.limit or _EVENT_PAGE, _MAX_EVENT_PAGE)
        wait = min(request.wait_ms, _LONGEST_WAIT_MS) / 1000
        seen = log.pulse.version
        page = log.page(request.after, limit, request.fleet, request.host)
        if not page.events and wait:
            await within(wait, log.pulse.after(seen))
            page = log.page(request.after, limit, request.fleet, request.host)
        return cluster.ListEventsResponse(
            events=page.events,
            next=page.following,
            truncated=page.dropped or page.former,
            former_leader=page.former,
            begins_unix=log.begins,
        )

    @rpc((*READERS, Role.CONTROLLER))
    async def WatchStates(self, call: Call, request: cluster.WatchStatesRequest) -> None:  # type: ignore[override]
        if request.admission_only:
            await call.send(cluster.StatesFrame())
            while True:
                if self.replica.leader() is not call.leader:
                    return
                await asyncio.sleep(_STATUS_QUIET)
        async with aclosing(call.leader.states.frames(request.layer, request.grouping)) as frames:
            async for frame in frames:
                if self.replica.leader() is not call.leader:
                    return  # it reads the store anew: whoever watches begins anew as well
                await call.send(frame)

    @rpc((Role.AGENT,))
    async def Announce(
        self, call: Call, request: cluster.AnnounceRequest
    ) -> cluster.AnnounceResponse:
        await call.leader.announcements.announce(call.peer.name, request.address, request.facts)
        return cluster.AnnounceResponse(
            host_id=call.peer.name,
            announce_again_seconds=_ANNOUNCE_AGAIN_SECONDS,
            controllers=call.leader.joining.controllers(),
            trust=call.leader.renewals.trust,
        )

    def _status(self, call: Call, leading: Leader, fleet: str) -> cluster.StatusResponse:
        started = time.perf_counter()
        waiting = leading.absences.waiting
        sees = None if call.sees_all else call.sees
        answer = fleet_queries.status(leading.memory, leading.planning, fleet, waiting, sees)
        if (health := self._store_health()) is not None:
            answer.store.CopyFrom(health)
        answer.hosts_to_renew = leading.renewals.count_behind()
        past = self.replica.past()
        if past is not None and past.leader is leading:
            answer.read_only, answer.as_of_seconds = past.reason, past.seconds
        answer.server_seconds = time.perf_counter() - started
        return answer

    def _store_health(self) -> cluster.StoreHealth | None:
        """None before it was looked at."""
        poll = self.replica.store_health
        return store_health(poll.last.health, poll.seconds_old()) if poll.last else None
