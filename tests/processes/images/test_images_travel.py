"""Images that travel between real agents: with hosts killed and chunks spoiled on the way, and by
need. MEGAFLEET_IMAGE_MIB makes the image larger."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.processes.daemons import eventually
from tests.processes.images.agents import SECONDS, Agents, digest_of, random_disk
from tests.processes.small_cluster import spec

MIB = int(os.environ.get("MEGAFLEET_IMAGE_MIB", "24"))
GOLDEN = types.Image(name="golden", snapshot="2")


@pytest.fixture
def eight(tmp_path: Path) -> Iterator[Agents]:
    with Agents(tmp_path, 8).running() as agents:
        yield agents


def test_eight_agents_get_an_image_though_two_are_killed_and_a_chunk_is_spoiled(
    eight: Agents,
) -> None:
    disk = random_disk(MIB)
    made = eight.put("dom0-1", GOLDEN, disk)
    assert made.image.image.digest == digest_of(disk)
    # So slowly that something can happen in the midst of it.
    pace = max(2 << 20, len(disk) // 12)
    spreading = eight.spread(image=GOLDEN, all=True, host_bytes_per_second=pace)
    content = made.done_bytes
    midst = content + content * 7 // 4
    eventually(lambda: spreading.now.done_bytes > midst, "a quarter is through", SECONDS)
    killed = [eight["dom0-3"], eight["dom0-6"]]
    for one in killed:
        one.kill()
    spoiled = eight["dom0-2"]
    staged = spoiled.staged
    assert staged is not None
    with staged.open("r+b") as file:
        file.write(b"spoiled" * 100)
    for one in killed:
        one.start()
    last = spreading.ended()
    assert last.held == 8 and not last.failed, last
    sent = content
    for one in eight.agents[1:]:
        (image,) = (path for path in one.images.iterdir() if path.name == "golden@2")
        assert image.read_bytes() == disk, one.name
        (fetched,) = one.logged("image fetched")
        assert fetched["bytes"] == sent
        # No more than all of it, and the chunk that was spoiled.
        assert fetched["fetched"] <= sent + (1 << 20), one.name
        if one in killed:
            assert fetched["fetched"] < sent, "what came before was fetched again"
    print(f"{MIB} MiB on 7 hosts in {spreading.seconds:.1f} s, {pace >> 20} MiB/s each at most")
    print(
        "fetched, of", sent, [one.logged("image fetched")[0]["fetched"] for one in eight.agents[1:]]
    )
    listed = eight.stub.ListImages(cluster.ListClusterImagesRequest(), timeout=30)
    digests = {one.images.images[0].image.digest for one in listed.hosts}
    assert digests == {digest_of(disk)}


def test_agents_fetch_the_image_of_vms_that_they_are_to_have_and_no_vm_fails_meanwhile(
    tmp_path: Path,
) -> None:
    with Agents(tmp_path, 3).running() as agents:
        agents.put("dom0-2", GOLDEN, random_disk(8))
        template = spec(image=GOLDEN)
        agents.stub.ApplyFleet(cluster.ApplyFleetRequest(name="spv", spec=template), timeout=20)
        agents.stub.Scale(cluster.ScaleRequest(fleet="spv", total=6), timeout=20)
        failed: list[int] = []

        def converged() -> bool:
            asked = cluster.StatusRequest(fleet="spv")
            status = agents.stub.Status(asked, timeout=20).fleets[0]
            failed.append(status.states[types.VM_STATE_FAILED])
            return bool(status.converged)

        eventually(converged, "all VMs run", SECONDS)
        assert not any(failed)
        for one in agents.agents:
            assert (one.images / "golden@2").exists()


def test_of_a_further_version_only_what_is_new_travels(tmp_path: Path) -> None:
    disk = random_disk(12)
    newer = bytearray(disk)
    newer[5 << 20 : 6 << 20] = os.urandom(1 << 20)
    with Agents(tmp_path, 3).running() as agents:
        agents.put("dom0-1", GOLDEN, disk)
        assert agents.spread(image=GOLDEN, all=True).ended().held == 3
        further = types.Image(name="golden", snapshot="3")
        agents.put("dom0-1", further, bytes(newer))
        assert agents.spread(image=further, all=True).ended().held == 3
        for one in agents.agents[1:]:
            fetched = [line["fetched"] for line in one.logged("image fetched")]
            assert fetched == [9 << 20, 1 << 20], one.name
            assert (one.images / "golden@3").read_bytes() == newer


def test_a_leader_that_goes_in_the_midst_leaves_nothing_undone(tmp_path: Path) -> None:
    disk = random_disk(12)
    with Agents(tmp_path, 3).running() as agents:
        agents.put("dom0-1", GOLDEN, disk)
        spreading = agents.spread(image=GOLDEN, all=True, host_bytes_per_second=2 << 20)
        content = sum(1 << 20 for at in range(12) if at % 4 != 3)

        def both_have_some() -> bool:
            under_way = spreading.now.slowest
            return len(under_way) == 2 and all(one.done_bytes for one in under_way)

        eventually(both_have_some, "some of it is through", SECONDS)
        agents.controller.kill()
        agents.controller.start()
        eventually(agents.all_live, "all hosts are live", SECONDS)
        last = agents.spread(image=GOLDEN, all=True).ended()
        assert last.held == 3
        for one in agents.agents[1:]:
            (fetched,) = one.logged("image fetched")
            assert fetched["fetched"] < fetched["bytes"] == content
            assert (one.images / "golden@2").read_bytes() == disk
