"""The golden images of many hosts, asked for at once.

Whoever does not answer in time is named with the reason and left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import suppress

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.election.election import LeadershipLost
from fleet_controller.relay.host_calls import list_images
from fleet_controller.relay.relay import NOT_ANSWERED, Relay

# Hosts asked at the same time: more would only wait for one another on one core.
PARALLEL = 64
# Seconds: for one host of many, and for all of them.
HOST_SECONDS = 10.0
ALL_SECONDS = 30.0


async def of_one(relay: Relay, host: str, seconds: float) -> cluster.ListClusterImagesResponse:
    """Its failure is that of the call."""
    host_id = relay.host(host)
    answer = await list_images(relay, host_id, seconds)
    return cluster.ListClusterImagesResponse(
        hosts=[cluster.HostImages(host=host_id, images=answer)]
    )


async def of_all(
    relay: Relay, hosts: Sequence[str], seconds: float
) -> cluster.ListClusterImagesResponse:
    """Of these hosts, after at most `seconds`."""
    found: dict[str, cluster.HostImages] = {}

    async def ask(rest: Iterator[str]) -> None:
        for host_id in rest:
            found[host_id] = await _asked(relay, host_id, min(HOST_SECONDS, seconds))

    rest = iter(hosts)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for _ in range(min(PARALLEL, len(hosts))):
                group.create_task(ask(rest))
    relay.raise_if_over()
    late = f"no answer within {seconds:.0f} s"
    return cluster.ListClusterImagesResponse(
        hosts=[
            found.get(host_id) or cluster.HostImages(host=host_id, error=f"{host_id}: {late}")
            for host_id in hosts
        ]
    )


async def _asked(relay: Relay, host_id: str, seconds: float) -> cluster.HostImages:
    try:
        answer = await list_images(relay, host_id, seconds)
    except (*NOT_ANSWERED, LeadershipLost) as error:
        return cluster.HostImages(host=host_id, error=str(error))
    return cluster.HostImages(host=host_id, images=answer)
