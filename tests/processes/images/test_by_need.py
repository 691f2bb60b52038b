"""A fleet that is placed on hosts without its image makes them fetch it."""

from __future__ import annotations

from pathlib import Path

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.processes.daemons import eventually
from tests.processes.small_cluster import SmallCluster, spec

GOLDEN = types.Image(name="golden", snapshot="1")


def test_hosts_fetch_the_image_of_vms_that_are_placed_on_them(tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text("has_everything = false\n")
    options = ("--profile", str(profile))
    with SmallCluster(tmp_path, hosts=6, per_host=4, processes=2, options=options) as small:
        request = cluster.HostImportImageRequest(
            host=small.hosts[0], image=GOLDEN, source="/srv/golden.raw", size_bytes=64 << 20
        )
        list(small.stub.ImportImage(request, timeout=30))
        only_there = spec(image=types.Image(name="golden", snapshot="1", local_only=True))
        small.apply(template=only_there)
        told = small.scale(8, plan_only=True).plan.reasons
        assert "5 more hosts lack golden@1" in told[0].message
        small.apply(template=spec())
        small.scale_and_wait(24)
        listed = small.stub.ListImages(cluster.ListClusterImagesRequest(), timeout=30)
        held = {
            one.host: [image.image.digest for image in one.images.images] for one in listed.hosts
        }
        assert len({tuple(digests) for digests in held.values()}) == 1, held
        eventually(
            lambda: not small.fleet().HasField("image_fetches"), "nothing is fetched any more"
        )
        assert not small.fleet().problems


def test_nothing_is_placed_while_the_only_host_that_could_give_is_gone(
    tmp_path: Path,
) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text("has_everything = false\n")
    options = ("--profile", str(profile))
    with SmallCluster(tmp_path, hosts=3, per_host=4, processes=3, options=options) as small:
        request = cluster.HostImportImageRequest(
            host=small.hosts[0], image=GOLDEN, source="/srv/golden.raw"
        )
        list(small.stub.ImportImage(request, timeout=30))
        small.hollows[0].kill()
        eventually(lambda: small.status().hosts.live == 2, "the only host that has it is gone")
        small.apply(template=spec())
        (told,) = small.scale(4, plan_only=True).plan.reasons
        assert told.reason == "lacks_image"
        assert told.message == "4 VMs cannot be placed: 2 hosts lack golden@1"
