"""What the commands about images ask of the controller, print, and end with."""

from __future__ import annotations

import grpc

from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

DIGEST = f"sha256:{'5e' * 32}"
MADE = agent.ImageOnHost(
    image=types.Image(name="golden", snapshot="1", digest=DIGEST),
    size_bytes=1 << 30,
    space=agent.Space(referenced_bytes=1 << 20, unique_bytes=1 << 20),
)
POOL = agent.PoolSpace(name="tank", total_bytes=100, free_bytes=10)
HELD = cluster.HostImages(host="dom0-1", images=agent.ListImagesResponse(images=[MADE], pool=POOL))
SILENT = cluster.HostImages(host="dom0-2", error="no answer within 5 s")


def test_an_import_asks_for_all_of_it_and_ends_with_the_image(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    told = [
        agent.ImportImageProgress(step="copying", done_bytes=1, total_bytes=2),
        agent.ImportImageProgress(step="done", image=MADE),
    ]
    controller.on("ImportImage", lambda _: iter(told))
    options = ("--host", "dom0-1", "--digest", DIGEST, "--size", "1GiB")
    said = fleetctl("images", "import", "golden", "/srv/golden.raw", *options)
    assert (said.code, said.out) == (0, f"golden@1: 1.0 GiB, takes 1.0 MiB, {DIGEST}\n")
    (asked,) = controller.asked("ImportImage")
    assert asked == cluster.HostImportImageRequest(
        host="dom0-1",
        image=types.Image(name="golden", snapshot="1", digest=DIGEST),
        source="/srv/golden.raw",
        size_bytes=1 << 30,
    )
    told_json = fleetctl("images", "import", "golden@1", "tank/x@1", "-o", "json").json
    assert (told_json["host"], told_json["digest"]) == (None, DIGEST)


def test_an_import_that_is_refused_or_ends_without_an_image_fails(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    message = "golden@1 exists with other content; choose another snapshot name"
    refusal = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_EXISTS", message)
    controller.on("ImportImage", refusal)
    said = fleetctl("images", "import", "golden@1", "/srv/golden.raw")
    assert (said.code, said.out, said.err) == (1, "", f"fleetctl: {message}\n")
    controller.on("ImportImage", lambda _: iter(()))
    said = fleetctl("images", "import", "golden@1", "/srv/golden.raw")
    assert said.code == 1 and "without having made an image" in said.err


def test_hosts_that_do_not_answer_are_named_beside_the_list(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = cluster.ListClusterImagesResponse(hosts=[HELD, SILENT])
    controller.on("ListImages", answer)
    said = fleetctl("images")
    assert said.code == 0 and "golden@1" in said.out
    assert said.err == "dom0-2: no answer within 5 s\n"
    controller.on("ListImages", cluster.ListClusterImagesResponse(hosts=[SILENT]))
    said = fleetctl("images", "list", "--host", "dom0-2")
    assert (said.code, said.err) == (1, "fleetctl: dom0-2: no answer within 5 s\n")
    assert controller.asked("ListImages")[-1].host == "dom0-2"


def test_show_and_df(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ListImages", cluster.ListClusterImagesResponse(hosts=[HELD]))
    assert DIGEST in fleetctl("images", "show", "golden").out
    missing = fleetctl("images", "show", "golden@2")
    assert missing.code == 1 and "no image golden@2 on any live host" in missing.err
    said = fleetctl("images", "df")
    assert "image golden@1" in said.out and "tank is 90% full" in said.err
    assert fleetctl("images", "df", "-o", "json").json["hosts"][0]["pool"]["nearly_full"] is True


def test_deleting_asks_first(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("DeleteImage", agent.DeleteImageResponse())
    unasked = fleetctl("images", "delete", "golden@1")
    assert unasked.code == 2 and "give --yes" in unasked.err
    assert not controller.asked("DeleteImage")
    said = fleetctl("images", "delete", "golden@1", "--yes")
    assert (said.code, said.out) == (0, "golden@1: deleted\n")
    (asked,) = controller.asked("DeleteImage")
    assert (asked.image.name, asked.image.snapshot) == ("golden", "1")
