"""Hosts that have only what is imported: nothing is placed before, and all of it after."""

from __future__ import annotations

from pathlib import Path

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.processes.daemons import eventually
from tests.processes.small_cluster import SmallCluster, spec

GOLDEN = types.Image(name="golden", snapshot="1")


def test_vms_wait_for_their_image_and_come_up_by_themselves_once_it_is_imported(
    tmp_path: Path,
) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text('has_everything = false\nbridges = ["br0"]\n')
    options = ("--profile", str(profile))
    with SmallCluster(tmp_path, hosts=2, per_host=4, processes=1, options=options) as small:
        here_alone = types.Image(name="golden", snapshot="1", local_only=True)
        small.apply(template=spec(network=types.Network(bridge="br0"), image=here_alone))
        plan = small.scale(4, plan_only=True).plan
        assert [one.reason for one in plan.reasons] == ["lacks_image"]
        assert plan.reasons[0].message == "4 VMs cannot be placed: 2 hosts lack golden@1"
        small.scale(4, partial=True)
        request = cluster.HostImportImageRequest(
            host=small.hosts[0], image=GOLDEN, source="/srv/golden.raw"
        )
        assert [one.step for one in small.stub.ImportImage(request, timeout=30)][-1] == "done"
        small.until_converged(4)
        held = small.assignments()
        assert [host for host, one in held.items() if one.shards] == [small.hosts[0]]
        told = small.scale(8, plan_only=True).plan.reasons
        assert "1 more host lacks golden@1" in told[0].message


def test_a_fleet_goes_only_where_its_bridge_is(tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text("has_everything = false\n")
    options = ("--profile", str(profile))
    with SmallCluster(tmp_path, hosts=1, per_host=4, processes=1, options=options) as small:
        request = cluster.HostImportImageRequest(image=GOLDEN, source="/srv/golden.raw")
        list(small.stub.ImportImage(request, timeout=30))
        small.apply(template=spec(network=types.Network(bridge="br0")))

        def reason() -> str:
            return small.scale(1, plan_only=True).plan.reasons[0].message

        missing = "1 VM cannot be placed: 1 host lacks the bridge br0"
        eventually(lambda: reason() == missing, "the image is told, and the bridge is missing")
        small.apply(template=spec(network=types.Network(bridge="br0", create=True)))
        small.scale_and_wait(1)
