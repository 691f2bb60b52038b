"""Hosts: what is known of them, whether they take VMs, and drains."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field

from fleet.v1 import cluster_pb2 as wire
from megafleet.client.words import HostHealth, health_number, host_health
from megafleet.connection.cluster import Cluster
from megafleet.errors import Failed, InvalidArgument, NotConverged

# Of one page: what a controller gives by itself.
PAGE = 1000


@dataclass(frozen=True, slots=True)
class Host:
    """One host. `assigned`, `running`, `failed` and `capacity`: VMs; `quarantine` and
    `unreachable_because`: sentences, empty where nothing is to be said."""

    id: str
    address: str
    health: HostHealth
    cordoned: bool
    draining: bool
    assigned: int
    running: int
    failed: int
    capacity: int
    converged: bool
    labels: Mapping[str, str]
    quarantine: str
    unreachable_because: str
    message: wire.HostSummary = field(repr=False)


@dataclass(frozen=True, slots=True)
class HostDetail:
    """A host, with all that is kept of it in `message`: facts, shards, problems, orphans."""

    host: Host
    message: wire.HostDetail = field(repr=False)


@dataclass(frozen=True, slots=True)
class Drain:
    """How far a drain is. `left`, `moving`, `unplaced`: VMs; `in_the_way`: what, where, why."""

    host: str
    left: int
    moving: int
    unplaced: int
    done: bool
    in_the_way: str
    message: wire.DrainProgress = field(repr=False)


def pages(
    cluster: Cluster,
    health: HostHealth | str | None,
    labels: Mapping[str, str] | None,
    cordoned: bool,
    draining: bool,
    quarantined: bool,
) -> Iterator[list[Host]]:
    """Raises MegafleetError while iterating."""
    request = wire.ListHostsRequest(
        selector=labels, cordoned_only=cordoned, draining_only=draining,
        quarantined_only=quarantined, limit=PAGE,
    )  # fmt: skip
    try:
        request.health = health_number(health)
    except ValueError as error:
        raise InvalidArgument(f"{str(health)[:40]!r} is no health of hosts") from error
    while True:
        answer = cluster.call(lambda stub: stub.ListHosts, request)
        yield [host_of(one) for one in answer.hosts]
        if not answer.next_cursor:
            return
        request.cursor = answer.next_cursor


def get(cluster: Cluster, host: str) -> HostDetail:
    answer = cluster.call(lambda stub: stub.GetHost, wire.GetHostRequest(id=host))
    return HostDetail(host_of(answer.summary), answer)


def set_cordon(cluster: Cluster, host: str, cordoned: bool) -> Host:
    request = wire.SetCordonRequest(id=host, cordoned=cordoned)
    return host_of(cluster.change(lambda stub: stub.SetCordon, request, again=True))


def plan_drain(cluster: Cluster, host: str, force: bool) -> Drain:
    return _first(cluster, wire.DrainRequest(host=host, force=force, plan_only=True), None)


def drain(cluster: Cluster, host: str, force: bool) -> Drain:
    """Ends once the drain stands."""
    request = wire.DrainRequest(host=host, force=force, no_wait=True)
    return _first(cluster, request, wire.DrainRequest(host=host, watch_only=True))


def cancel_drain(cluster: Cluster, host: str) -> Drain:
    request = wire.DrainRequest(host=host, cancel=True, no_wait=True)
    return _first(cluster, request, wire.DrainRequest(host=host, watch_only=True))


def watch_drain(cluster: Cluster, host: str) -> Iterator[list[Drain]]:
    """Until nothing is left; it asks for nothing."""
    request = wire.DrainRequest(host=host, watch_only=True)
    with closing(cluster.follow(lambda stub: stub.Drain, request)) as answers:
        for answer in answers:
            yield [drain_of(host, answer)]
            if answer.done:
                return


def wait_drained(cluster: Cluster, host: str, wait: float) -> Drain:
    """The end of the drain. Raises NotConverged after `wait` seconds; the drain goes on."""
    deadline = time.monotonic() + wait
    last: Drain | None = None
    with closing(watch_drain(cluster, host)) as told:  # type: ignore[type-var]
        for (last,) in told:
            if last.done:
                return last
            if time.monotonic() >= deadline:
                break
    if last is None:
        raise Failed(f"{host} is not being drained")
    why = f": {last.in_the_way}" if last.in_the_way else ""
    raise NotConverged(f"{last.left:,} VMs are left on {host} after {wait:g} s{why}")


def host_of(message: wire.HostSummary) -> Host:
    return Host(
        id=message.id, address=message.address, health=host_health(message.health),
        cordoned=message.cordoned, draining=message.draining, assigned=message.assigned,
        running=message.running, failed=message.failed, capacity=message.capacity_guests,
        converged=message.converged, labels=dict(message.labels), quarantine=message.quarantine,
        unreachable_because=message.link_error, message=message,
    )  # fmt: skip


def drain_of(host: str, message: wire.DrainProgress) -> Drain:
    return Drain(
        host, message.left, message.moving, message.unplaced, message.done, message.message, message
    )


def _first(cluster: Cluster, request: wire.DrainRequest, then: wire.DrainRequest | None) -> Drain:
    with closing(cluster.follow(lambda stub: stub.Drain, request, then=then)) as answers:
        for answer in answers:
            return drain_of(request.host, answer)
    raise Failed("the controller did not answer")
