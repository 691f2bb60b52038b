"""fleetctl images push, spread: images brought into the cluster, and from host to host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import (
    ImageId,
    byte_count,
    digest,
    whole_image_name,
)
from fleetctl.commands.hosts.host_choice import Choice, chosen, live_host, several_hosts
from fleetctl.outcome import Failed
from fleetctl.output import byte_text, counted, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.v1 import agent_pb2 as agent
    from fleet.v1 import cluster_pb2 as cluster

FILE = click.Path(path_type=Path)
rate_option = click.option(
    "--rate", metavar="SIZE", type=byte_count, default=0,
    help="That each host fetches a second at most, such as 100MiB.",
)  # fmt: skip
fleet_rate_option = click.option(
    "--fleet-rate", metavar="SIZE", type=byte_count, default=0,
    help="That all hosts together fetch a second at most.",
)  # fmt: skip


@click.command("push")
@click.argument("image", metavar="NAME@SNAPSHOT", type=whole_image_name)
@click.argument("file", type=FILE)
@click.option("--kernel", type=FILE, default=None, help="That belongs to it; kept beside it.")
@click.option("--initrd", type=FILE, default=None, help="That belongs to it; kept beside it.")
@click.option(
    "--digest", "wanted", metavar="sha256:...", type=digest, default="",
    help="What the disk must be; refused if it differs.",
)  # fmt: skip
@click.option("--size", metavar="SIZE", type=byte_count, default=0, help="Of the disk.")
@several_hosts(argument=False)
@rate_option
@fleet_rate_option
@cluster_options
@pass_session
def push(
    session: Session,
    image: ImageId,
    file: Path,
    kernel: Path | None,
    initrd: Path | None,
    wanted: str,
    size: int,
    choice: Choice,
    rate: int,
    fleet_rate: int,
) -> None:
    """Bring a disk from this machine to hosts.

    FILE is uploaded once, to one host; the others get it from hosts, near ones first. Holes and
    zeros are not sent, and what broke goes on where it was. With a kernel and an initrd the image
    is all three under one name: fleets boot them by the paths that are told at the end.
    Ctrl-C ends it, and what hosts have by then is kept for the next time.
    """
    hosts = chosen(session, choice)
    host = live_host(session, hosts)
    files = {"disk": file, "kernel": kernel, "initrd": initrd}
    put = _uploaded(
        session, image, host, {name: path for name, path in files.items() if path}, wanted, size
    )
    from fleetctl.views.hosts.spreads import pushed_json, pushed_text

    if not session.json:
        say(pushed_text(str(image), host, put))
    if hosts == [host]:
        if session.json:
            say_json({"image": str(image), "upload": pushed_json(host, put), "spread": None})
        return
    last = _spread(session, image, put.image.image.digest, hosts, rate, fleet_rate)
    _say_end(session, image, last, {"upload": pushed_json(host, put)})


@click.command("spread")
@click.argument("image", metavar="NAME@SNAPSHOT", type=whole_image_name)
@click.option(
    "--digest", "wanted", metavar="sha256:...", type=digest, default="",
    help="Which, where hosts have different ones under the name.",
)  # fmt: skip
@several_hosts(argument=False)
@rate_option
@fleet_rate_option
@cluster_options
@pass_session
def spread(
    session: Session, image: ImageId, wanted: str, choice: Choice, rate: int, fleet_rate: int
) -> None:
    """Bring an image that some host has to other hosts.

    Hosts get it from hosts, near ones first. Ctrl-C ends it, and what they have by then is kept for
    the next time.
    """
    hosts = chosen(session, choice)
    last = _spread(session, image, wanted, hosts, rate, fleet_rate)
    _say_end(session, image, last, {})


def _uploaded(
    session: Session, image: ImageId, host: str, files: dict[str, Path], wanted: str, size: int
) -> agent.PutImageAnswer:
    """Raises Trouble."""
    connection = session.cluster
    from fleet.v1 import agent_pb2, cluster_pb2, types_pb2
    from fleetctl.local.image_file import ImageFiles
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.hosts.spreads import upload_line
    from megafleet.connection.image_upload import ImageUpload

    named = types_pb2.Image(name=image.name, snapshot=image.snapshot, digest=wanted)
    with ImageFiles(files) as opened, progress_line(json=session.json) as line:
        manifest = opened.manifest(
            lambda done, total: line.show(
                f"{image}: reading, {byte_text(done)} of {byte_text(total)}"
            )
        )
        first = agent_pb2.PutImageRequest(manifest=manifest.message(named), size_bytes=size)
        upload = ImageUpload(
            connection,
            cluster_pb2.HostPutImageRequest(host=host, put=first),
            manifest,
            lambda number: opened.chunk(manifest, number),
        )
        return upload.run(lambda put: line.show(upload_line(str(image), put, manifest.sent)))


def _spread(
    session: Session, image: ImageId, wanted: str, hosts: list[str], rate: int, fleet_rate: int
) -> tuple[cluster.SpreadProgress, float]:
    """How it ended, and after how many seconds. Raises Trouble."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2, types_pb2
    from fleetctl.terminal.progress_line import progress_line
    from fleetctl.views.hosts.spreads import spread_line

    request = cluster_pb2.SpreadImageRequest(
        image=types_pb2.Image(name=image.name, snapshot=image.snapshot, digest=wanted),
        hosts=hosts,
        host_bytes_per_second=rate,
        fleet_bytes_per_second=fleet_rate,
    )
    began, last = time.monotonic(), None
    with progress_line(json=session.json) as line:
        for last in connection.follow(lambda stub: stub.SpreadImage, request):
            line.show(spread_line(str(image), last))
    if last is None or not last.over:
        raise Failed(f"the controller ended before all hosts had {image}; spread it again")
    return last, time.monotonic() - began


def _say_end(
    session: Session,
    image: ImageId,
    ended: tuple[cluster.SpreadProgress, float],
    more: dict[str, Any],
) -> None:
    """Raises Failed where a host is without it."""
    from fleetctl.views.hosts.spreads import spread_json, spread_text

    last, seconds = ended
    if session.json:
        say_json({"image": str(image), **more, "spread": spread_json(str(image), last)})
    else:
        say(spread_text(str(image), last, seconds))
    if missing := last.hosts - last.held:
        raise Failed(f"{counted(missing, 'host')} of {last.hosts:,} did not get {image}")
