"""fleetctl images: the golden images of hosts, what they take, making and removing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import click

from fleetctl.cli.arguments import ImageId, byte_count, digest, image_name, whole_image_name
from fleetctl.cli.confirmation import confirm, yes_option
from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.commands.hosts.everywhere import failed, on_each, say_outcomes
from fleetctl.commands.hosts.host_choice import Choice, chosen, several_hosts
from fleetctl.commands.hosts.image_push import push, spread
from fleetctl.outcome import Failed
from fleetctl.output import counted, note, say, say_json
from fleetctl.session import (
    Session,
    cluster_options,
    connection_options,
    list_options,
    pass_session,
)

if TYPE_CHECKING:
    from fleet.v1 import agent_pb2 as agent
    from fleet.v1 import cluster_pb2 as cluster
    from megafleet.connection.cluster import Cluster

# An import of terabytes takes hours; what takes longer has been forgotten.
IMPORT_SECONDS = 86_400.0
DEFAULT_SNAPSHOT = "1"
# Lines of a list that nobody has asked for all of.
LISTED = 100

host_option = click.option("--host", default="", metavar="HOST", help="Only this host.")
one_host_option = click.option(
    "--host", default="", metavar="HOST", help="The host; may be left out while there is only one."
)


@click.group(cls=ListingGroup)
def images() -> None:
    """Golden images of hosts: list, show, push, import, delete, and what they take. Without a
    command: list."""


images.add_command(push)
images.add_command(spread)


@images.command("list")
@host_option
@click.option(
    "--places", "by_place", is_flag=True,
    help="A line for each content: how many hosts have it, lack it, or have another.",
)  # fmt: skip
@click.option(
    "--all", "everything", is_flag=True, help=f"More than {LISTED} lines on a terminal, too."
)
@list_options
@connection_options
@pass_session
def list_images(session: Session, host: str, by_place: bool, everything: bool) -> None:
    """List the golden images of all live hosts, or of one."""
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.tables.formats import TABLE
    from fleetctl.tables.listing import say_list

    if by_place:
        from fleetctl.views.hosts.image_places import PLACE_COLUMNS, places, places_json

        rows = places(_answered(session, host))
        by_content = ListAnswer(PLACE_COLUMNS, rows, lambda: places_json(rows), "No images.")
        say_list(by_content, session.listing)
        return
    from fleetctl.views.hosts.images import IMAGE_COLUMNS, list_json, listed_images

    answered = _answered(session, host)
    found = listed_images(answered)
    shown = found if everything or session.listing.output != TABLE else found[:LISTED]
    remark = f"{len(shown):,} of {len(found):,}; see --places for a line each content, or --all"
    say_list(
        ListAnswer(
            IMAGE_COLUMNS,
            shown,
            lambda: list_json(answered),
            "No images.",
            remark if len(shown) < len(found) else "",
        ),
        session.listing,
    )


@images.command("show")
@click.argument("image", metavar="NAME[@SNAPSHOT]", type=image_name)
@host_option
@cluster_options
@pass_session
def show_image(session: Session, image: ImageId, host: str) -> None:
    """Show one golden image wherever it is: its digest, its source, what it takes."""
    from fleetctl.views.hosts.images import list_json, only, show_text

    answered = only(image, _answered(session, host))
    if not any(one.images.images for one in answered):
        raise Failed(f"there is no image {image} on {host or 'any live host'}")
    if session.json:
        say_json(list_json(answered))
    else:
        say(show_text(answered))


@images.command("df")
@host_option
@cluster_options
@pass_session
def df(session: Session, host: str) -> None:
    """Show what images and the clones of each fleet take of the hosts' pools.

    Referenced is what they show, unique what would be freed with them; the difference is shared
    with others. A pool that is 80 % full is warned of.
    """
    from fleetctl.views.hosts.images import df_json, df_text, full_pools

    answered = _answered(session, host)
    if session.json:
        say_json(df_json(answered))
    else:
        say(df_text(answered))
    for warning in full_pools(answered):
        note(click.style(warning, fg="yellow"))


@images.command("import")
@click.argument("image", metavar="NAME[@SNAPSHOT]", type=image_name)
@click.argument("source")
@several_hosts(argument=False)
@click.option(
    "--digest",
    "wanted",
    metavar="sha256:...",
    type=digest,
    default="",
    help="What the content must be; refused if it differs.",
)
@click.option(
    "--size",
    "size",
    metavar="SIZE",
    type=byte_count,
    default=0,
    help="Of the disk, such as 2GiB; as the source, or as a directory needs, unless given.",
)
@cluster_options
@pass_session
def import_image(
    session: Session, image: ImageId, source: str, choice: Choice, wanted: str, size: int
) -> None:
    """Make a golden image of something that is on the host.

    SOURCE is there, not here: the absolute path of a disk in a file or of a directory, which
    becomes an ext4, or a ZFS volume, or dataset@snapshot of one. The snapshot is 1 unless one is
    named. Of several hosts each imports its own SOURCE; to bring one from here to all, push it.
    Ctrl-C ends the import, and nothing of it is left.
    """  # fmt: skip
    from fleet.v1 import cluster_pb2, types_pb2
    from fleetctl.views.hosts.images import imported_json, imported_text

    image = image.with_snapshot(DEFAULT_SNAPSHOT)
    named = types_pb2.Image(name=image.name, snapshot=image.snapshot, digest=wanted)

    def asked(connection: Cluster, host: str) -> Iterator[agent.ImportImageProgress]:
        request = cluster_pb2.HostImportImageRequest(
            host=host, image=named, source=source, size_bytes=size
        )
        return connection.stream(lambda stub: stub.ImportImage, request, IMPORT_SECONDS)

    if choice.of_many:
        _import_many(session, chosen(session, choice), asked)
        return
    made = _imported(asked(session.cluster, choice.one), session)
    if session.json:
        say_json(imported_json(made, choice.one))
    else:
        say(imported_text(made))


def _import_many(
    session: Session,
    hosts: list[str],
    asked: Callable[[Cluster, str], Iterator[agent.ImportImageProgress]],
) -> None:
    """Raises Failed."""
    from fleetctl.views.hosts.images import imported_json, imported_text

    def made(connection: Cluster, host: str) -> agent.ImageOnHost:
        for one in asked(connection, host):
            if one.HasField("image"):
                return one.image
        raise Failed("the import ended without having made an image")

    outcomes = on_each(session, hosts, "importing", made)
    say_outcomes(session, outcomes, imported_text, lambda host, one: imported_json(one, host))
    if count := failed(outcomes, lambda one: True):
        raise Failed(f"{counted(count, 'host')} of {len(hosts):,} did not import it")


@images.command("delete")
@click.argument("image", metavar="NAME@SNAPSHOT", type=whole_image_name)
@one_host_option
@yes_option
@cluster_options
@pass_session
def delete_image(session: Session, image: ImageId, host: str, yes: bool) -> None:
    """Remove a golden image from a host. Refused while there are clones of it."""
    if not yes:
        place = f" from {host}" if host else ""
        confirm("delete", f"Delete {image}{place}?", f"{image} was not deleted")
    connection = session.cluster
    from fleet.v1 import cluster_pb2, types_pb2

    named = types_pb2.Image(name=image.name, snapshot=image.snapshot)
    request = cluster_pb2.HostDeleteImageRequest(host=host, image=named)
    connection.change(lambda stub: stub.DeleteImage, request)
    if session.json:
        say_json({"host": host or None, "name": image.name, "snapshot": image.snapshot})
    else:
        say(f"{image}: deleted")


def _answered(session: Session, host: str) -> list[cluster.HostImages]:
    """What hosts have answered; those that have not are named. Raises Trouble when none has."""
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.hosts.images import unanswered

    request = cluster_pb2.ListClusterImagesRequest(host=host)
    answer = connection.call(lambda stub: stub.ListImages, request)
    held = list(answer.hosts)
    silent = list(unanswered(held))
    if silent and len(silent) == len(held):
        raise Failed("; ".join(silent))
    for said in silent:
        note(said)
    return held


def _imported(answers: Iterable[agent.ImportImageProgress], session: Session) -> agent.ImageOnHost:
    """Shows how far the import is until it is done. Raises Trouble."""
    from fleetctl.terminal.import_progress import show_import
    from fleetctl.terminal.progress_line import progress_line

    with progress_line(json=session.json, write=say) as line:
        for one in answers:
            if one.HasField("image"):
                return one.image
            show_import(line, one)
    raise Failed("the import ended without having made an image")
