"""The client for asyncio: the same calls as `SyncClient`, awaited."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import (
    AsyncGenerator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from typing import Self, TypeVar

from megafleet.client import events, fleets, hosts, vms, waits
from megafleet.client.events import Event, EventGap
from megafleet.client.fleets import Applied, ClusterStatus, Fleet, FleetPlans, FleetStatus, Scaled
from megafleet.client.hosts import Drain, Host, HostDetail
from megafleet.client.link import Link, linked
from megafleet.client.vms import MAX_PAGE, Controlled, Indices, Vm, VmDetail, VmPage
from megafleet.client.words import HostHealth, VmAction, VmState
from megafleet.client.worker import in_thread
from megafleet.conditions import Condition
from megafleet.connection.calls.unary_call import UnaryRpc
from megafleet.connection.cluster import Cluster
from megafleet.contexts import ClusterContext
from megafleet.deadlines import CHANGE_TIMEOUT, READ_TIMEOUT
from megafleet.fleet_file.parser import ParsedFleet

T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")

# How long is waited for something to be true, where nobody says otherwise, in seconds.
WAIT_SECONDS = 600.0
# Calls with one answer that are under way at once; others wait for their turn.
MOST_CALLS = 64


class Client:
    """A cluster, for programs with an event loop: `async with Client.connect() as client`. Of one
    loop. To cancel a call ends it; a change may stand all the same."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._turns = asyncio.Semaphore(MOST_CALLS)

    @classmethod
    def connect(
        cls,
        context: str | ClusterContext | None = None,
        *,
        endpoints: Sequence[str] = (),
        identity: str | os.PathLike[str] | None = None,
        timeout: float = READ_TIMEOUT,
        change_timeout: float = CHANGE_TIMEOUT,
        stale: bool = False,
    ) -> Self:
        """To the cluster of a context by name, or at `endpoints` with the folder `identity` of
        ca.pem, cert.pem and key.pem; else as fleetctl finds it. Nothing is dialled yet. Timeouts
        are in seconds, of calls and of changes; `stale`: take answers of the past while no
        controller leads. Raises InvalidArgument, Unreachable."""
        return cls(linked(context, endpoints, identity, timeout, change_timeout, stale))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """What is under way ends. May be called again."""
        await in_thread(self._link.close, lambda: None)

    # Any call of the wire ------------------------------------------------------------
    async def call(self, rpc: UnaryRpc[Q, A], request: Q, *, timeout: float | None = None) -> A:
        """Any call that changes nothing, such as `lambda stub: stub.History`: for what has no
        method here."""
        return await self._run(lambda cluster: cluster.call(rpc, request), timeout)

    async def change(
        self,
        rpc: UnaryRpc[Q, A],
        request: Q,
        *,
        repeatable: bool = False,
        timeout: float | None = None,
    ) -> A:
        """Any call that changes something. `repeatable`: made twice it does no harm, so that
        another replica is asked where one may have begun it."""
        return await self._run(
            lambda cluster: cluster.change(rpc, request, again=repeatable), timeout
        )

    # Fleets ------------------------------------------------------------
    async def fleets(self, *, timeout: float | None = None) -> list[Fleet]:
        """All that we may see."""
        return await self._run(fleets.all_fleets, timeout)

    async def status(self, fleet: str = "", *, timeout: float | None = None) -> ClusterStatus:
        """Of one fleet, or of all."""
        return await self._run(lambda cluster: fleets.status(cluster, fleet), timeout)

    def watch_status(
        self, fleet: str = "", *, duration: float = math.inf
    ) -> AsyncGenerator[ClusterStatus, None]:
        """A status whenever it has changed, and one a second, for `duration` seconds; over
        failovers."""
        return self._each(lambda cluster: waits.watch(cluster, fleet, duration), None)

    async def apply(
        self, fleet: ParsedFleet, *, token: str = "", timeout: float | None = None
    ) -> Applied:
        """Makes a fleet, or gives it another template or other settings. `token`: of
        `plan_apply`, to be refused (STALE_PLAN) where anything has changed since."""
        return await self._run(lambda cluster: fleets.apply(cluster, fleet, token), timeout)

    async def plan_apply(
        self, wanted: Iterable[ParsedFleet], *, prune: bool = False, timeout: float | None = None
    ) -> FleetPlans:
        """What applying all of these would do, and nothing is done. `prune`: with fleets
        deleted that are not among them."""
        return await self._run(lambda cluster: fleets.plan_apply(cluster, wanted, prune), timeout)

    async def delete_fleet(
        self, name: str, *, token: str = "", timeout: float | None = None
    ) -> Fleet:
        """With all its VMs; it goes on by itself."""
        return await self._run(lambda cluster: fleets.delete(cluster, name, token), timeout)

    async def scale(
        self,
        fleet: str,
        total: int,
        *,
        partial: bool = False,
        token: str = "",
        timeout: float | None = None,
    ) -> Scaled:
        """Accepted, not yet true: see `wait`. `partial`: place what fits instead of refusing;
        `token`: of `plan_scale`, to be refused (STALE_PLAN) where anything has changed
        since."""
        return await self._run(
            lambda cluster: fleets.scale(cluster, fleet, total, partial, token), timeout
        )

    async def plan_scale(
        self, fleet: str, total: int, *, partial: bool = False, timeout: float | None = None
    ) -> Scaled:
        """What a scale would do, and nothing is done."""
        return await self._run(
            lambda cluster: fleets.plan_scale(cluster, fleet, total, partial), timeout
        )

    async def wait(self, change: Scaled, *, timeout: float = WAIT_SECONDS) -> FleetStatus:
        """Until a scale is true. Raises NotConverged, FailedForGood, Superseded."""
        return await self._wait(lambda cluster: waits.until_scaled(cluster, change, timeout))

    async def wait_fleet(
        self,
        fleet: str,
        condition: Condition | str = Condition.CONVERGED,
        *,
        timeout: float = WAIT_SECONDS,
    ) -> FleetStatus:
        """Until a fleet is `running` or `converged`, whatever its total is meanwhile. Raises
        NotConverged, FailedForGood, Superseded."""
        return await self._wait(
            lambda cluster: waits.until_fleet(cluster, fleet, condition, timeout)
        )

    # Hosts ------------------------------------------------------------
    def hosts(
        self,
        *,
        health: HostHealth | str | None = None,
        labels: Mapping[str, str] | None = None,
        cordoned: bool = False,
        draining: bool = False,
        quarantined: bool = False,
        timeout: float | None = None,
    ) -> AsyncGenerator[Host, None]:
        """By id, those for which all of it holds; fetched by pages."""
        return self._each(
            lambda cluster: hosts.pages(cluster, health, labels, cordoned, draining, quarantined),
            timeout,
        )

    async def host(self, host: str, *, timeout: float | None = None) -> HostDetail:
        """One host, with what it has."""
        return await self._run(lambda cluster: hosts.get(cluster, host), timeout)

    async def cordon(self, host: str, *, timeout: float | None = None) -> Host:
        """It gets no further VMs."""
        return await self._run(lambda cluster: hosts.set_cordon(cluster, host, True), timeout)

    async def uncordon(self, host: str, *, timeout: float | None = None) -> Host:
        """It gets VMs again."""
        return await self._run(lambda cluster: hosts.set_cordon(cluster, host, False), timeout)

    async def plan_drain(
        self, host: str, *, force: bool = False, timeout: float | None = None
    ) -> Drain:
        """What a drain would move, and nothing is done."""
        return await self._run(lambda cluster: hosts.plan_drain(cluster, host, force), timeout)

    async def drain(self, host: str, *, force: bool = False, timeout: float | None = None) -> Drain:
        """Begun; it goes on by itself: see `wait_drained`. `force`: only of a lost host,
        without waiting for it to let go."""
        return await self._run(lambda cluster: hosts.drain(cluster, host, force), timeout)

    async def cancel_drain(self, host: str, *, timeout: float | None = None) -> Drain:
        """What has moved stays where it is now."""
        return await self._run(lambda cluster: hosts.cancel_drain(cluster, host), timeout)

    def watch_drain(
        self, host: str, *, timeout: float | None = None
    ) -> AsyncGenerator[Drain, None]:
        """How far a drain is, once a second, until nothing is left."""
        return self._each(lambda cluster: hosts.watch_drain(cluster, host), timeout)

    async def wait_drained(self, host: str, *, timeout: float = WAIT_SECONDS) -> Drain:
        """Until nothing is left on a host that is being drained. Raises NotConverged."""
        return await self._wait(lambda cluster: hosts.wait_drained(cluster, host, timeout))

    async def wait_host(self, host: str, *, timeout: float = WAIT_SECONDS) -> Host:
        """Until a host is live; it need not be known yet. Raises NotConverged,
        FailedForGood."""
        return await self._wait(lambda cluster: waits.until_host_live(cluster, host, timeout))

    # VMs ------------------------------------------------------------
    def vms(
        self,
        fleet: str,
        *,
        indices: Indices | None = None,
        state: VmState | str | None = None,
        host: str = "",
        labels: Mapping[str, str] | None = None,
        powered_off: bool = False,
        page: int = MAX_PAGE,
        timeout: float | None = None,
    ) -> AsyncGenerator[Vm, None]:
        """By index, those for which all of it holds; fetched by pages of `page`, and never all
        at once. `labels`: of hosts; `powered_off`: only what somebody wants off."""
        return self._each(
            lambda cluster: vms.rows(
                cluster, vms.VmChoice(fleet, indices, state, host), labels, powered_off, page, ""
            ),
            timeout,
        )

    def vm_pages(
        self,
        fleet: str,
        *,
        indices: Indices | None = None,
        state: VmState | str | None = None,
        host: str = "",
        labels: Mapping[str, str] | None = None,
        powered_off: bool = False,
        page: int = MAX_PAGE,
        cursor: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[VmPage, None]:
        """The same, page by page. `cursor`: where the page before this one ended."""
        return self._each(
            lambda cluster: vms.pages(
                cluster,
                vms.VmChoice(fleet, indices, state, host),
                labels,
                powered_off,
                page,
                cursor,
            ),
            timeout,
        )

    async def vm(self, fleet: str, index: int, *, timeout: float | None = None) -> VmDetail:
        """One VM, with its problem and its template."""
        return await self._run(lambda cluster: vms.get(cluster, fleet, index), timeout)

    async def control_vms(
        self,
        fleet: str,
        action: VmAction | str,
        *,
        indices: Indices | None = None,
        state: VmState | str | None = None,
        host: str = "",
        everything: bool = False,
        token: str = "",
        timeout: float | None = None,
    ) -> Controlled:
        """Restarts, reimages, stops, starts or retries VMs for which all of it holds;
        `everything`: all of the fleet. Accepted, not yet true. `token`: of
        `plan_control_vms`."""
        return await self._run(
            lambda cluster: vms.control(
                cluster, action, vms.VmChoice(fleet, indices, state, host), everything, False, token
            ),
            timeout,
        )

    async def plan_control_vms(
        self,
        fleet: str,
        action: VmAction | str,
        *,
        indices: Indices | None = None,
        state: VmState | str | None = None,
        host: str = "",
        everything: bool = False,
        timeout: float | None = None,
    ) -> Controlled:
        """Which VMs it would be, and nothing is done."""
        return await self._run(
            lambda cluster: vms.control(
                cluster, action, vms.VmChoice(fleet, indices, state, host), everything, True, ""
            ),
            timeout,
        )

    # Events ------------------------------------------------------------
    async def past_events(
        self, *, limit: int = 100, fleet: str = "", host: str = "", timeout: float | None = None
    ) -> list[Event]:
        """The newest ones that are kept, the oldest of them first."""
        return await self._run(lambda cluster: events.past(cluster, limit, fleet, host), timeout)

    def events(
        self,
        *,
        after: int | None = None,
        fleet: str = "",
        host: str = "",
        patience: float = math.inf,
        timeout: float | None = None,
    ) -> AsyncGenerator[Event | EventGap, None]:
        """Events as they come, without an end; over failovers. Where some may be missing, an
        EventGap is among them. `after`: the cursor of the last one that was seen; 0: all that
        are kept first; None: from now on. `patience`: seconds without a controller, after which
        Unavailable is raised."""
        return self._each(
            lambda cluster: events.follow(cluster, after, fleet, host, patience), timeout
        )

    # How -------------------------------------------------------------------------------------

    async def _run(self, ask: Callable[[Cluster], T], timeout: float | None) -> T:
        async with self._turns:
            return await self._wait(ask, timeout)

    async def _wait(self, ask: Callable[[Cluster], T], timeout: float | None = None) -> T:
        """Without a turn: it may be long, and others are not to wait for it."""
        cluster = self._link.begin(timeout)
        try:
            return await in_thread(lambda: ask(cluster), cluster.cancellation.cancel)
        finally:
            self._link.end(cluster)

    async def _each(
        self, ask: Callable[[Cluster], Iterator[Sequence[T]]], timeout: float | None
    ) -> AsyncGenerator[T, None]:
        """Batch by batch: the next is asked for when the last one was taken."""
        cluster = self._link.begin(timeout)
        batches = ask(cluster)
        try:
            while (
                batch := await in_thread(lambda: next(batches, None), cluster.cancellation.cancel)
            ) is not None:
                for one in batch:
                    yield one
        finally:
            cluster.cancellation.cancel()
            self._link.end(cluster)
            if isinstance(batches, Generator):
                with suppress(ValueError):  # a thread is in it yet, and ends it
                    batches.close()
