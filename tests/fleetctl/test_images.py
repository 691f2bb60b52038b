"""Golden images as people and scripts see them."""

from __future__ import annotations

import click
import pytest

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.cli.arguments import ImageId, byte_count, digest, image_name, whole_image_name
from fleetctl.output import byte_text
from fleetctl.tables.listing import Listing
from fleetctl.terminal.import_progress import bar_text, progress_text, show_import
from fleetctl.terminal.progress_line import ProgressLine
from fleetctl.views.hosts.images import (
    IMAGE_COLUMNS,
    df_json,
    df_text,
    full_pools,
    list_json,
    listed_images,
    only,
    show_text,
    unanswered,
)

GIB = 1 << 30
DIGEST = f"sha256:{'5e' * 32}"


def image(name: str = "golden", snapshot: str = "1", imported: bool = True) -> agent.ImageOnHost:
    return agent.ImageOnHost(
        image=types.Image(name=name, snapshot=snapshot, digest=DIGEST if imported else ""),
        size_bytes=4 * GIB,
        space=agent.Space(referenced_bytes=GIB, unique_bytes=GIB // 4),
        clones=250,
        source="/srv/golden.qcow2" if imported else "",
    )


def host(name: str, *images: agent.ImageOnHost, free: int = 60) -> cluster.HostImages:
    fleet = agent.FleetSpace(
        fleet_uid="u", fleet="spv", clones=250, space=agent.Space(referenced_bytes=250 * GIB)
    )
    pool = agent.PoolSpace(name="tank", total_bytes=100 * GIB, free_bytes=free * GIB)
    held = agent.ListImagesResponse(images=images, fleets=[fleet], pool=pool)
    return cluster.HostImages(host=name, images=held)


SILENT = cluster.HostImages(host="dom0-9", error="no answer\x1b[2J within 5 s")


def test_the_list_names_host_image_size_and_digest() -> None:
    hosts = [host("dom0-1", image(), image("tiny", imported=False)), SILENT]
    listing = Listing(IMAGE_COLUMNS, width=None)
    assert list(listing.text(listed_images(hosts))) == [
        "IMAGE     HOST       SIZE    TAKES  CLONES  DIGEST               SOURCE",
        "golden@1  dom0-1  4.0 GiB  1.0 GiB     250  sha256:5e5e5e5e5e5e  /srv/golden.qcow2",
        "tiny@1    dom0-1  4.0 GiB  1.0 GiB     250  none",
    ]
    assert listed_images([SILENT]) == []
    assert list(unanswered(hosts)) == ["dom0-9: no answer\\x1b[2J within 5 s"]


def test_the_list_as_json() -> None:
    told = list_json([host("dom0-1", image(), image("tiny", imported=False)), SILENT])["hosts"]
    assert [(one["host"], one["error"], len(one["images"])) for one in told] == [
        ("dom0-1", None, 2),
        ("dom0-9", SILENT.error, 0),
    ]
    assert told[0]["images"][0] == {
        "name": "golden",
        "snapshot": "1",
        "digest": DIGEST,
        "size_bytes": 4 * GIB,
        "referenced_bytes": GIB,
        "unique_bytes": GIB // 4,
        "shared_bytes": GIB * 3 // 4,
        "clones": 250,
        "created": None,
        "source": "/srv/golden.qcow2",
    }
    assert told[0]["images"][1]["digest"] is None


def test_one_image_wherever_it_is() -> None:
    hosts = [host("dom0-1", image(), image(snapshot="2")), host("dom0-2", image("tiny")), SILENT]
    assert [len(one.images.images) for one in only(ImageId("golden", ""), hosts)] == [2]
    (found,) = only(ImageId("golden", "2"), hosts)
    text = show_text([found])
    assert "golden@2" in text and DIGEST in text and "of which 256 MiB" in text
    assert only(ImageId("gone", ""), hosts) == []


def test_what_is_taken_and_what_is_nearly_full() -> None:
    hosts = [host("dom0-1", image()), host("dom0-2", free=20), SILENT]
    lines = df_text(hosts).splitlines()
    assert lines[0] == "dom0-1  tank: 40 GiB of 100 GiB used (40%), 60 GiB free"
    assert lines[2].split() == "image golden@1 250 1.0 GiB 256 MiB 768 MiB".split()
    assert lines[3].split() == "fleet spv 250 250 GiB 0 B 250 GiB".split()
    (warning,) = full_pools(hosts)
    assert warning.startswith("dom0-2: tank is 80% full")
    told = df_json(hosts)["hosts"]
    assert [one["pool"] and one["pool"]["nearly_full"] for one in told] == [False, True, None]
    assert told[0]["fleets"][0]["shared_bytes"] == 250 * GIB


def test_progress_on_one_line() -> None:
    told = agent.ImportImageProgress(step="copying", done_bytes=GIB, total_bytes=4 * GIB)
    assert progress_text(told, 12.3) == "copying, 1.0 GiB of 4.0 GiB (25%), 12 s"
    assert bar_text(told) == f"[{'#' * 6}{'.' * 18}]"
    unknown = agent.ImportImageProgress(step="making a file system")
    assert progress_text(unknown, 1) == "making a file system, 1.0 s"
    assert bar_text(unknown) == f"[{'.' * 24}]"


def test_without_a_terminal_a_line_comes_every_two_seconds() -> None:
    written: list[str] = []
    times = [0.0]
    line = ProgressLine(terminal=False, write=written.append, clock=lambda: times[-1])
    for now in (0.5, 2.1, 3.0, 4.2):
        times.append(now)
        show_import(line, agent.ImportImageProgress(step="copying"))
    assert written == ["copying, 2.1 s", "copying, 4.2 s"]


def test_what_is_typed() -> None:
    assert image_name("golden") == ImageId("golden", "")
    assert image_name("golden@1.2_x") == whole_image_name("golden@1.2_x") == ("golden", "1.2_x")
    assert (byte_count("2GiB"), byte_count("512"), byte_count("64TiB")) == (2 * GIB, 512, 64 << 40)
    assert digest(DIGEST) == DIGEST
    for read, text in (
        (image_name, "../golden"),
        (image_name, "golden@"),
        (image_name, "-r"),
        (whole_image_name, "golden"),
        (byte_count, "2GB"),
        (byte_count, "65TiB"),
        (byte_count, "-1"),
        (digest, "sha256:5E"),
    ):
        with pytest.raises(click.BadParameter):
            read(text)


def test_bytes_for_people() -> None:
    assert list(map(byte_text, (0, 999, 1000, 1536 << 10, 5 << 50))) == [
        "0 B",
        "999 B",
        "1.0 KiB",
        "1.5 MiB",
        "5120 TiB",
    ]
