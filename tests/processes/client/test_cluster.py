"""The client against a real cluster: fleets, hosts, VMs, drains, and what is said of each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.transport import Role
from fleet.v1 import cluster_pb2 as wire
from megafleet.client import (
    Client,
    ClusterContext,
    HostHealth,
    InvalidArgument,
    Refused,
    SyncClient,
    VmState,
    parse_fleets,
    read_fleets,
)
from tests.certificates import issue
from tests.processes.small_cluster import SmallCluster

pytest_plugins = ["tests.processes.cluster_fixtures"]

SPV = """\
name: spv
image:
  name: golden
  snapshot: "1"
memory: 4MiB
boot:
  kernel: /boot/tiny.elf
network:
  bridge: xenbr0
  prefix: fd00:7::/64
readiness:
  active: true
placement:
  policy: spread
  spread_label: rack
"""


@pytest.fixture
def context(cluster: SmallCluster, tmp_path: Path) -> ClusterContext:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return ClusterContext.with_identity([cluster.controller.address], alice)


@pytest.fixture
def client(context: ClusterContext) -> Iterator[SyncClient]:
    with SyncClient.connect(context) as connected:
        yield connected


def test_a_fleet_from_its_file_to_its_end(client: SyncClient, tmp_path: Path) -> None:
    (tmp_path / "spv.yaml").write_text(SPV)
    (fleet,) = read_fleets(tmp_path)
    plan = client.plan_apply([fleet])
    assert [one.fleet for one in plan.fleets] == ["spv"] and client.fleets() == []
    applied = client.apply(fleet, token=plan.token_of("spv"))
    assert applied.created and applied.fleet.total == 0
    with pytest.raises(Refused) as stale:
        client.apply(fleet, token=plan.token_of("spv"))
    assert stale.value.reason == "STALE_PLAN"

    change = client.scale("spv", 60)
    assert client.wait(change, timeout=60).states[VmState.RUNNING] == 60
    assert client.wait_fleet("spv", "running", timeout=60).converged
    rack = next(client.hosts()).labels["rack"]
    vms = list(client.vms("spv", labels={"rack": rack}, page=7))
    assert vms and all(one.state == "running" and one.host for one in vms)
    assert vms[0].addresses[0].startswith("fd00:7:") and vms[0].uuid and vms[0].generation == 1
    assert client.vm("spv", 3).name == "spv-3"

    plan_stop = client.plan_control_vms("spv", "stop", indices="0-4")
    done = client.control_vms("spv", "stop", indices="0-4", token=plan_stop.token)
    assert (plan_stop.vms, done.vms) == (5, 5)
    assert [one.index for one in client.vms("spv", powered_off=True)] == [0, 1, 2, 3, 4]
    assert "vms_stop" in [one.kind for one in client.past_events(fleet="spv")]
    told = client.call(lambda stub: stub.History, wire.HistoryRequest(limit=1))
    assert (told.records[0].action, told.records[0].change_id) == ("vms_stop", done.change_id)
    assert client.delete_fleet("spv").deleting


def test_all_mistakes_of_a_file_are_told_at_once() -> None:
    with pytest.raises(InvalidArgument) as told:
        parse_fleets("name: spv\nmemory: much\ncolour: red\n", "mine.yaml")
    for one in ("mine.yaml:2: memory", "mine.yaml:3: colour"):
        assert one in told.value.message


async def test_a_host_is_drained_and_takes_vms_again(
    context: ClusterContext, cluster: SmallCluster
) -> None:
    cluster.apply()
    cluster.scale_and_wait(100)
    async with Client.connect(context) as client:
        live = [one async for one in client.hosts(health=HostHealth.LIVE)]
        rack = live[0].labels["rack"]
        hosts = [one async for one in client.hosts(labels={"rack": rack})]
        assert [one.id for one in hosts] == [one.id for one in live if one.labels["rack"] == rack]
        host = max(hosts, key=lambda one: one.running).id
        assert (await client.wait_host(host, timeout=30)).health is HostHealth.LIVE
        try:
            assert (await client.cordon(host)).cordoned
            planned = await client.plan_drain(host)
            begun = await client.drain(host)
            assert planned.left and not begun.done
            told = [one async for one in client.watch_drain(host)]
            assert told[-1].done and (await client.wait_drained(host, timeout=60)).left == 0
            assert (await client.host(host)).host.assigned == 0
            assert [one async for one in client.vms("spv", host=host)] == []
        finally:
            await client.cancel_drain(host)
        assert not (await client.uncordon(host)).cordoned
        async for status in client.watch_status("spv", duration=30):
            if status.fleets[0].converged:
                break
        assert status.hosts == status.live_hosts == 24 and not status.frozen and not status.stale


def test_a_client_that_is_closed_right_after_its_calls_leaves_no_thread_that_fails(
    context: ClusterContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC's own, which look at a channel for a moment after it was asked for."""
    several = replace(context, endpoints=(*context.endpoints, "127.0.0.1:9"))
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    before = set(threading.enumerate())
    with SyncClient.connect(several) as client:
        for _ in range(5):
            client.fleets()
    for thread in set(threading.enumerate()) - before:
        thread.join(10.0)
        assert not thread.is_alive(), thread
    assert not failed
