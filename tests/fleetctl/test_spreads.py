"""Images on their way, as fleetctl tells of them."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.views.hosts.image_fetches import fetches_json, fetches_text
from fleetctl.views.hosts.image_places import few
from fleetctl.views.hosts.spreads import spread_json, spread_line, spread_text, upload_line

MIB = 1 << 20
HALF = cluster.SpreadProgress(
    hosts=16, held=12, fetching=3, waiting=1, done_bytes=830, total_bytes=1000,
    bytes_per_second=240 * MIB,
    slowest=[cluster.SpreadHost(host="dom0-7", done_bytes=40, total_bytes=100)],
)  # fmt: skip
ENDED = cluster.SpreadProgress(
    hosts=4, held=2, over=True, failed=[cluster.SpreadHost(host="h3", why="the disk is full")],
    liars=["h1"],
)  # fmt: skip


def test_the_whole_fleets_progress_is_one_line_with_the_slowest_hosts() -> None:
    assert spread_line("golden@2", HALF) == (
        "golden@2: 12 of 16 hosts have it (83%), 3 fetch, 1 waits for a source, 240 MiB/s; "
        "slowest: dom0-7 40%"
    )
    nothing = cluster.SpreadProgress(hosts=1)
    assert spread_line("golden@2", nothing) == "golden@2: 0 of 1 host have it (0%)"


def test_the_end_names_whoever_is_without_it_and_whoever_lied() -> None:
    assert spread_text("golden@2", ENDED, 12.3).splitlines() == [
        "golden@2: 2 of 4 hosts have it, 12 s",
        "  h3: the disk is full",
        "  1 more host without it",
        "  h1 gave chunks that do not have their digest: look at its disk and memory",
    ]
    told = spread_json("golden@2", ENDED)
    assert told["failed"] == [{"host": "h3", "why": "the disk is full"}]
    assert (told["held"], told["liars"]) == (2, ["h1"])


def test_an_upload_says_how_far_it_is_and_then_what_the_host_does_with_it() -> None:
    half = agent.PutImageAnswer(done_bytes=MIB)
    assert upload_line("g@1", half, 2 * MIB) == "g@1: uploading, 1.0 MiB of 2.0 MiB (50%)"
    assert upload_line("g@1", agent.PutImageAnswer(step="copying"), MIB) == "g@1: copying"


def test_a_status_has_a_line_for_hosts_that_fetch_and_none_where_none_does() -> None:
    status = cluster.FleetStatus(fleet="spv")
    assert (fetches_text(status), fetches_json(status)) == ("", None)
    status.image_fetches.CopyFrom(
        cluster.ImageFetches(hosts=2, done_bytes=MIB, total_bytes=4 * MIB, slowest=["h7"])
    )
    assert fetches_text(status) == (
        "2 hosts fetch the image, 1.0 MiB of 4.0 MiB (25%); slowest: h7"
    )
    status.image_fetches.CopyFrom(cluster.ImageFetches(hosts=1, trouble="nobody\x1b has it"))
    assert fetches_text(status) == "1 host fetches the image; nobody\\x1b has it"
    told = fetches_json(status)
    assert told is not None and told["total_bytes"] is None and told["slowest"] == []


def test_of_many_hosts_a_few_are_named() -> None:
    assert (few([]), few(["a", "b"])) == ("", "a, b")
    assert few([f"h{n}" for n in range(9)]) == "h0, h1, h2 and 6 more"
