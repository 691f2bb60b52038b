"""ClusterService: what fleetctl and agents ask, answered by the leader.

Each method is a translation: the change or the answer itself is made elsewhere.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from importlib.metadata import version

from fleet.service import Context
from fleet.spec import check_spec
from fleet.transport import Peer, Role, abort
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.api.authorization import (
    READERS,
    WRITERS,
    asks,
    caller,
    refusal_of,
)
from fleet_controller.api.drains_and_rollouts import MovesApi
from fleet_controller.api.history import HistoryApi
from fleet_controller.api.host_calls import HostsApi
from fleet_controller.api.host_loss import LossApi
from fleet_controller.api.standbys import StandbysApi
from fleet_controller.core.changes import Reason, Refused
from fleet_controller.queries import fleets as fleet_queries
from fleet_controller.queries import hosts as host_queries
from fleet_controller.queries import vms as vm_queries
from fleet_controller.replica.replica import Leading, NotLeading, Replica
from fleet_controller.standbys import AtHand

_MIN_STATUS_INTERVAL = 0.05
_EVENT_PAGE = 100
_MAX_EVENT_PAGE = 10_000
_LONGEST_WAIT_MS = 30_000


class ClusterApi(HostsApi, LossApi, MovesApi, HistoryApi, StandbysApi):
    """Bound to one replica; whoever does not lead says who does."""

    def __init__(self, replica: Replica, at_hand: AtHand) -> None:
        """`at_hand`: the standbys that the replica asks; they make themselves known here."""
        self.replica = replica
        self.at_hand = at_hand

    async def Version(
        self, request: cluster.VersionRequest, context: Context
    ) -> cluster.VersionResponse:
        store = self.replica.around.store
        answer = cluster.VersionResponse(
            version=version("megafleet"),
            replica=self.replica.name,
            store=store.description,
            durable=store.durable,
        )
        try:
            caller(context, (*READERS, Role.AGENT))
            self.replica.leading()
            answer.leader = True
        except NotLeading as standing_by:
            answer.leader_address = standing_by.address
        except Exception as error:
            await abort(context, refusal_of(error))
        return answer

    @asks(READERS)
    async def Instant(
        self, leading: Leading, request: cluster.InstantRequest, peer: Peer
    ) -> cluster.InstantResponse:
        return cluster.InstantResponse(
            leadership=self.replica.leadership_name(), seconds=self.replica.around.clock()
        )

    @asks(WRITERS)
    async def ApplyFleet(
        self, leading: Leading, request: cluster.ApplyFleetRequest, peer: Peer
    ) -> cluster.ApplyFleetResponse:
        if wrong := check_spec(request.spec):
            raise Refused(Reason.BAD_SPEC, f"fleet {request.name[:60]!r}: {'; '.join(wrong[:3])}")
        done = await leading.operations.apply(request.name, request.spec, str(peer))
        return cluster.ApplyFleetResponse(
            fleet=fleet_queries.fleet_summary(leading.reign, done.fleet),
            created=done.created,
            changed=done.spec is not None and not done.created,
        )

    @asks(READERS, recalls=True)
    async def ListFleets(
        self, leading: Leading, request: cluster.ListFleetsRequest, peer: Peer
    ) -> cluster.ListFleetsResponse:
        fleets = sorted(leading.reign.state.fleets.values(), key=lambda fleet: fleet.name)
        return cluster.ListFleetsResponse(
            fleets=[fleet_queries.fleet_summary(leading.reign, fleet) for fleet in fleets]
        )

    @asks(WRITERS)
    async def DeleteFleet(
        self, leading: Leading, request: cluster.DeleteFleetRequest, peer: Peer
    ) -> cluster.DeleteFleetResponse:
        fleet = await leading.operations.delete(request.name, str(peer))
        return cluster.DeleteFleetResponse(fleet=fleet_queries.fleet_summary(leading.reign, fleet))

    async def Scale(self, request: cluster.ScaleRequest, context: Context) -> cluster.ScaleResponse:
        roles = READERS if request.plan_only else WRITERS
        try:
            peer = str(caller(context, roles))
            leading = self.replica.leading()
            operations = leading.operations
            if request.plan_only:
                scaling = await operations.plan(request.fleet, request.total, peer)
            else:
                scaling = await operations.scale(
                    request.fleet,
                    request.total,
                    peer,
                    partial=request.partial,
                    token=request.plan_token,
                )
            return fleet_queries.scale_response(leading.reign, scaling)
        except Exception as error:
            await abort(context, refusal_of(error))

    @asks(READERS, recalls=True)
    async def Status(
        self, leading: Leading, request: cluster.StatusRequest, peer: Peer
    ) -> cluster.StatusResponse:
        return self._status(leading, request.fleet)

    async def WatchStatus(
        self, request: cluster.WatchStatusRequest, context: Context
    ) -> AsyncIterator[cluster.StatusResponse]:
        try:
            caller(context, READERS)
            interval = max(_MIN_STATUS_INTERVAL, request.interval_ms / 1000)
            while True:
                leading = self.replica.leading()
                seen = leading.reign.observed.pulse.version
                yield self._status(leading, request.fleet)
                await asyncio.sleep(interval)
                await self._changed(leading, seen)
        except Exception as error:
            await abort(context, refusal_of(error))

    @asks(READERS, recalls=True)
    async def ListHosts(
        self, leading: Leading, request: cluster.ListHostsRequest, peer: Peer
    ) -> cluster.ListHostsResponse:
        return host_queries.hosts(leading.reign, request)

    @asks(READERS, recalls=True)
    async def GetHost(
        self, leading: Leading, request: cluster.GetHostRequest, peer: Peer
    ) -> cluster.HostDetail:
        return host_queries.host_detail(leading.reign, request.id)

    @asks(WRITERS)
    async def SetCordon(
        self, leading: Leading, request: cluster.SetCordonRequest, peer: Peer
    ) -> cluster.HostSummary:
        await leading.operations.cordon(request.id, request.cordoned, str(peer))
        return host_queries.host_summary(leading.reign, request.id)

    @asks(READERS, recalls=True)
    async def ListVms(
        self, leading: Leading, request: cluster.ListVmsRequest, peer: Peer
    ) -> cluster.ListVmsResponse:
        started = time.perf_counter()
        answer = vm_queries.vms(leading.reign, request)
        answer.server_seconds = time.perf_counter() - started
        return answer

    @asks(READERS, recalls=True)
    async def GetVm(
        self, leading: Leading, request: cluster.GetVmRequest, peer: Peer
    ) -> cluster.VmDetail:
        return vm_queries.vm(leading.reign, request)

    @asks(READERS, recalls=True)
    async def ListEvents(
        self, leading: Leading, request: cluster.ListEventsRequest, peer: Peer
    ) -> cluster.ListEventsResponse:
        log = leading.reign.events
        limit = min(request.limit or _EVENT_PAGE, _MAX_EVENT_PAGE)
        wait = min(request.wait_ms, _LONGEST_WAIT_MS) / 1000
        seen = log.pulse.version
        page = log.page(request.after, limit, request.fleet, request.host)
        if not page.events and wait:
            try:
                async with asyncio.timeout(wait):
                    await log.pulse.after(seen)
            except TimeoutError:
                pass
            page = log.page(request.after, limit, request.fleet, request.host)
        return cluster.ListEventsResponse(
            events=page.events,
            next=page.following,
            truncated=page.dropped or page.former,
            former_leader=page.former,
            begins_unix=log.begins,
        )

    @asks((Role.AGENT,))
    async def Announce(
        self, leading: Leading, request: cluster.AnnounceRequest, peer: Peer
    ) -> cluster.AnnounceResponse:
        await leading.announcements.announce(peer.name, request.address, request.facts)
        return cluster.AnnounceResponse(host_id=peer.name, announce_again_seconds=60)

    def _status(self, leading: Leading, fleet: str) -> cluster.StatusResponse:
        started = time.perf_counter()
        answer = fleet_queries.status(leading.reign, fleet)
        answer.durable = leading.reign.durable
        if answer.HasField("settling"):
            answer.settling.replica = self.replica.name
        if answer.HasField("breaker"):
            answer.breaker.waiting_hosts = leading.verdicts.waiting
        past = self.replica.past()
        if past is not None and past.leading is leading:
            answer.read_only, answer.as_of_seconds = past.reason, past.seconds
        answer.server_seconds = time.perf_counter() - started
        return answer

    async def _changed(self, leading: Leading, seen: int) -> None:
        """Until something was reported, or a while has passed: ages grow by themselves."""
        try:
            async with asyncio.timeout(1.0):
                await leading.reign.observed.pulse.after(seen)
        except TimeoutError:
            return
