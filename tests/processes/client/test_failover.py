"""The client while leaders are killed: what goes on, and what is told of what was missed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from megafleet.client import (
    Client,
    ClusterContext,
    Event,
    EventGap,
    GapKind,
    ParsedFleet,
    Unavailable,
)
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import spec

DEADLINE = 60.0


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedCluster]:
    """4 hosts of 20 VMs, three controllers, one member of etcd."""
    folder: Path = tmp_path_factory.mktemp("client-failover")
    with ReplicatedCluster(folder, hosts=4, processes=1, members=1) as cluster:
        yield cluster


async def test_events_and_a_wait_go_on_with_the_next_leader(replicas: ReplicatedCluster) -> None:
    context = ClusterContext.with_identity(replicas.endpoints, replicas.operator)
    async with asyncio.timeout(DEADLINE), Client.connect(context) as client:
        await client.apply(ParsedFleet("spv", spec()))
        await client.wait(await client.scale("spv", 10))
        past = await client.past_events(limit=1)
        seen: list[Event | EventGap] = []
        followed = client.events(after=past[-1].cursor)

        async def until(kind: str, text: str) -> None:
            async for one in followed:
                seen.append(one)
                if isinstance(one, Event) and one.kind == kind and text in one.text:
                    return

        before = await client.scale("spv", 20)
        await until("fleet_scaled", "20")
        leader = replicas.leader()
        leader.kill()
        # Neither the wait nor the change is told that anything has happened.
        assert (await client.wait(before)).running == 20
        after = await client.scale("spv", 40)
        assert (await client.wait(after)).running == 40
        await until("fleet_scaled", "40")
        leader.start()
    gaps = [one for one in seen if isinstance(one, EventGap)]
    assert [one.kind for one in gaps] == [GapKind.NEXT_LEADER] and gaps[0].begins_unix > 0
    scales = [one for one in seen if isinstance(one, Event) and one.kind == "fleet_scaled"]
    texts = [one.text for one in scales]
    assert any("20" in text for text in texts) and "40" in texts[-1]
    assert scales[-1].change_id == after.change_id


async def test_nobody_there_ends_a_follower_that_has_no_more_patience(
    replicas: ReplicatedCluster,
) -> None:
    context = ClusterContext.with_identity(["127.0.0.1:9"], replicas.operator)
    async with asyncio.timeout(DEADLINE), Client.connect(context, timeout=1) as client:
        with pytest.raises(Unavailable):
            async for _ in client.events(after=7, patience=1):
                pass
