"""fleetctl vms: which there are, and how one stands."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from fleetctl.cli.arguments import Labels, fleet_option, indices, selector_option_with
from fleetctl.cli.arguments import vm as vm_named
from fleetctl.cli.empty_texts import MAY_BE_EMPTY
from fleetctl.cli.lazy_group import ListingGroup
from fleetctl.cli.paging import more_text, pages
from fleetctl.commands.vms.control import COMMANDS
from fleetctl.commands.vms.copy import copy
from fleetctl.commands.vms.run import run
from fleetctl.outcome import Failed, Misuse
from fleetctl.output import STATES, note, say, say_json
from fleetctl.session import (
    Session,
    cluster_options,
    connection_options,
    list_options,
    pass_session,
    watch_option,
)
from fleetctl.tables.streaming import document_stream

if TYPE_CHECKING:
    from fleet.ranges import IndexSet
    from fleet.v1 import cluster_pb2 as cluster
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.tables.streaming import DocumentStream
    from fleetctl.views.vms.vms import ListedVm

MAX_PAGE = 10_000
# No state of the wire: a VM that is defined, or still on its way there.
STOPPED = "stopped"
NO_VMS = "no such VMs"


@dataclass(frozen=True, slots=True)
class _Filters:
    fleet: str
    state: str | None
    host: str
    indices: IndexSet | None
    selector: Mapping[str, str]


@click.group(cls=ListingGroup)
def vms() -> None:
    """List VMs, show one, act on them, run commands, copy files. Without a command: list."""


for command in (*COMMANDS, run, copy):
    vms.add_command(command)


@vms.command("list")
@fleet_option
@click.option(
    "--state",
    type=click.Choice([*STATES, STOPPED]),
    metavar="STATE",
    default=None,
    help=f"Only VMs in this state: {', '.join(STATES)}; or stopped: those that an operator keeps "
    "off.",
)
@click.option("--host", default="", help="Only VMs of this host.")
@selector_option_with("Only VMs of hosts with all of these labels.")
@click.option(
    "--index", "index", metavar="RANGES", type=indices, default=None, help="Only these: 0-99,300."
)
@click.option(
    "--limit",
    type=click.IntRange(1, MAX_PAGE),
    default=100,
    show_default=True,
    help="At most so many.",
)
@click.option("--cursor", type=MAY_BE_EMPTY, default="", help="Where the list before ended.")
@click.option("--all", "everything", is_flag=True, help="All of them, whatever their number.")
@watch_option
@list_options
@connection_options
@pass_session
def list_vms(
    session: Session,
    fleet: str,
    state: str | None,
    host: str,
    selector: Labels,
    index: IndexSet | None,
    limit: int,
    cursor: str,
    everything: bool,
    watch: bool,
) -> None:
    """List VMs of a fleet."""  # fmt: skip
    filters = _Filters(fleet, state, host, index, dict(selector))

    def looked() -> Iterator[cluster.ListVmsResponse]:
        found = _pages(session, filters, MAX_PAGE if everything else limit, cursor)
        return found if everything else iter([next(found)])

    if watch:
        from fleetctl.terminal.list_watch import watch_list

        watch_list(lambda: _listed(list(looked())), session.listing)
        return
    found = looked()
    if stream := document_stream(session.listing.output):
        _say_streamed(found, stream)
    elif session.listing.of_document:
        from fleetctl.tables.listing import say_document

        say_document(_listed(list(found)).document(), session.listing.output)
    else:
        _say_rows(session, found)


def _pages(
    session: Session, filters: _Filters, limit: int, cursor: str
) -> Iterator[cluster.ListVmsResponse]:
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleet.wire_ranges import to_wire
    from fleetctl.views.enum_names import vm_state

    stopped = filters.state == STOPPED

    def fetch(cursor: str) -> cluster.ListVmsResponse:
        request = cluster_pb2.ListVmsRequest(
            fleet=filters.fleet,
            state=vm_state(None if stopped else filters.state),
            powered_off_only=stopped,
            host=filters.host,
            indices=to_wire(filters.indices) if filters.indices else (),
            host_selector=filters.selector,
            cursor=cursor,
            limit=limit,
        )
        answer = connection.call(lambda stub: stub.ListVms, request)
        if stopped and not all(row.powered_off for row in answer.vms):
            raise Failed("this controller is too old to list stopped VMs")
        if filters.selector and not answer.HasField("selected_hosts"):
            raise Failed("this controller is too old to list VMs by labels of hosts")
        return answer

    return pages(fetch, cursor)


def _say_rows(session: Session, found: Iterator[cluster.ListVmsResponse]) -> None:
    """Page by page: a million rows are on the screen before the last one is asked for. Only sorted
    ones have to be there before the first."""
    from fleetctl.tables.listing import Listing
    from fleetctl.views.vms.vms import VM_COLUMNS, listed_vms

    listing = Listing(VM_COLUMNS, session.listing)
    if session.listing.sort:
        answers = list(found)
        listing.say([one for answer in answers for one in listed_vms(answer, time.time())])
        shown, last = sum(len(answer.vms) for answer in answers), answers[-1]
    else:
        shown = 0
        for last in found:
            if last.vms or session.listing.output == "csv":
                listing.say(listed_vms(last, time.time()))
            shown += len(last.vms)
    if not shown:
        note(NO_VMS)
    elif more := more_text(shown, last):
        note(more)


def _listed(answers: Sequence[cluster.ListVmsResponse]) -> ListAnswer[ListedVm]:
    """A list that has to be there as a whole."""
    from fleetctl.tables.answer import ListAnswer
    from fleetctl.views.vms.vms import VM_COLUMNS, fleet_of, listed_vms, vm_rows_json

    last = answers[-1]
    return ListAnswer(
        VM_COLUMNS,
        [one for answer in answers for one in listed_vms(answer, time.time())],
        lambda: {
            "fleet": fleet_of(last.fleet).name,
            "vms": [row for answer in answers for row in vm_rows_json(answer)],
            **_end(last),
        },
        NO_VMS,
    )


def _say_streamed(found: Iterator[cluster.ListVmsResponse], stream: DocumentStream) -> None:
    """One document, written page by page: it may have a million rows."""
    from fleetctl.views.vms.vms import fleet_of, vm_rows_json

    begun = False
    for answer in found:
        if not begun:
            say(stream.begin({"fleet": fleet_of(answer.fleet).name}, "vms"))
            begun = True
        if rows := vm_rows_json(answer):
            say(stream.rows(rows))
    say(stream.end(_end(answer)))


def _end(last: cluster.ListVmsResponse) -> dict[str, Any]:
    return {
        "matching": last.matching,
        "next_cursor": last.next_cursor,
        "server_seconds": last.server_seconds,
    }


@vms.command("show")
@click.argument("vm", metavar="INDEX|NAME")
@fleet_option
@cluster_options
@pass_session
def show_vm(session: Session, vm: str, fleet: str) -> None:
    """Show one VM, by its index or by its name, such as spv-250."""
    named, index = _vm(vm, fleet)
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.views.vms.vms import detail_json, detail_text

    request = cluster_pb2.GetVmRequest(fleet=named, index=index)
    answer = connection.call(lambda stub: stub.GetVm, request)
    if session.json:
        say_json(detail_json(answer))
    else:
        say(detail_text(answer, time.time()))


def _vm(text: str, fleet: str) -> tuple[str, int]:
    """Fleet and index that are meant. Raises Misuse or click.BadParameter."""
    named, index = vm_named(text)
    if fleet and named and named != fleet:
        raise Misuse(f"{text} is not of fleet {fleet}")
    return named or fleet, index
