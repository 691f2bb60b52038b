"""Names that a shell may complete, asked of the cluster: of fleets, hosts, VMs and images; and of
contexts, which this machine has.

A key was pressed, and somebody waits for it: there is one short deadline, and where no controller
answers, or anything is wrong, there are no names and no words about it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click

from fleetctl.session import Session

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2
    from megafleet.connection.cluster import Cluster

# Seconds for all that is asked.
SECONDS = 1.0
# Of hosts that a controller lists at once.
_PAGE = 10_000
# Fleets of which more than the first VM is offered.
_FEW_FLEETS = 10

Names = Callable[["Completion"], Iterable[str]]


class Completion:
    """One word to be completed. `typed`: what there is of it."""

    def __init__(self, context: click.Context, typed: str) -> None:
        self.given = context.params
        self.typed = typed
        self._session = context.find_root().ensure_object(Session)
        self._deadline = time.monotonic() + SECONDS
        self._cluster: Cluster | None = None

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            from megafleet.connection.cluster import Cluster
            from megafleet.contexts import Selection, resolve

            one = self._session
            target = resolve(Selection(one.context, one.endpoints, one.identity))
            self._cluster = Cluster(target, SECONDS)
        return self._cluster

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.01, self._deadline - time.monotonic())


def complete_names(command: click.Command) -> None:
    """Gives the parameters of a command, and of those below it, the names that they take."""
    for parameter in command.params:
        if names := NAMES.get(_kind(command, parameter)):
            parameter._custom_shell_complete = _quietly(names)
    if isinstance(command, click.Group):
        for one in command.commands.values():
            complete_names(one)


def _kind(command: click.Command, parameter: click.Parameter) -> str:
    """What names the parameter takes; most are called after it."""
    callback = getattr(command.callback, "__module__", "")
    if parameter.name == "name":
        return {"contexts": "context", "wait": "target"}.get(callback.rpartition(".")[2], "")
    return parameter.name or ""


def _quietly(names: Names) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    def complete(context: click.Context, parameter: click.Parameter, typed: str) -> list[str]:
        try:
            found = names(Completion(context, typed))
            return [one for one in found if one.startswith(typed) and one.isprintable()]
        except Exception:  # whatever is wrong, the command itself will say it
            return []

    return complete


def _fleets(asked: Completion) -> list[cluster_pb2.FleetSummary]:
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ListFleetsRequest()
    return list(asked.cluster.call(lambda stub: stub.ListFleets, request, asked.left).fleets)


def fleet_names(asked: Completion) -> list[str]:
    return [one.name for one in _fleets(asked)]


def host_names(asked: Completion) -> Iterator[str]:
    """Only those from the first that can be meant are asked for."""
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ListHostsRequest(cursor=just_before(asked.typed), limit=_PAGE)
    if len(asked.typed) > 1:
        request.limit = 200
    while True:
        answer = asked.cluster.call(lambda stub: stub.ListHosts, request, asked.left)
        yield from (one.id for one in answer.hosts)
        last = answer.next_cursor
        if not last or not last.startswith(asked.typed):
            return
        request.cursor, request.limit = last, _PAGE


def just_before(prefix: str) -> str:
    """A text below every one that begins so, and above those that are below them all, as far as
    names of hosts go, which are ASCII."""
    return f"{prefix[:-1]}{chr(ord(prefix[-1]) - 1)}\x7f" if prefix else ""


def vm_names(asked: Completion) -> Iterator[str]:
    """spv-25, and a digit more: as many as a shell can show, though there are millions."""
    fleets = [one for one in _fleets(asked) if _may_be_of(asked.typed, one.name)]
    for one in fleets:
        digits = asked.typed[len(one.name) + 1 :]
        few = range(1) if len(fleets) > _FEW_FLEETS else range(10)
        indices = [int(digits)] if digits else []
        indices += [int(f"{digits}{more}") for more in few if digits != "0"]
        yield from (f"{one.name}-{index}" for index in indices if index < one.total)


def _may_be_of(typed: str, fleet: str) -> bool:
    """Whether what is typed may become the name of one of its VMs."""
    rest = typed.removeprefix(f"{fleet}-")
    return f"{fleet}-".startswith(typed) or (rest != typed and rest.isdecimal() and len(rest) < 9)


def image_names(asked: Completion) -> list[str]:
    """Those that fleets ask for, and where a host is named those that it has."""
    found = {
        f"{one.spec.image.name}@{one.spec.image.snapshot}"
        for one in _fleets(asked)
        if one.spec.image.name
    }
    if host := asked.given.get("host"):
        found |= set(_images_of(asked, host))
    return sorted(found)


def _images_of(asked: Completion, host: str) -> Iterator[str]:
    from fleet.v1 import cluster_pb2

    request = cluster_pb2.ListClusterImagesRequest(host=host)
    answer = asked.cluster.call(lambda stub: stub.ListImages, request, asked.left)
    for one in answer.hosts:
        yield from (f"{held.image.name}@{held.image.snapshot}" for held in one.images.images)


def context_names(asked: Completion) -> list[str]:
    from megafleet.contexts import config_file, load

    return list(load(config_file(os.environ)).named)


def target_names(asked: Completion) -> Iterator[str]:
    """Of `top` and `wait`, which take a fleet or a host: for a wait it follows from what for."""
    condition: Any = asked.given.get("condition") or ""
    of_host = str(condition).startswith("host")
    if not of_host:
        yield from fleet_names(asked)
    if of_host or not condition:
        yield from host_names(asked)


# By the parameter's name.
NAMES: dict[str, Names] = {
    "fleet": fleet_names,
    "host": host_names,
    "hosts": host_names,
    "vm": vm_names,
    "image": image_names,
    "context": context_names,
    "target": target_names,
}
