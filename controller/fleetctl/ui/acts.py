"""What is done with a row of a pane: the same questions, requests and sentences as the commands
have. Each waits for a controller, on a thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import Failed
from fleetctl.views.hosts.drains import drain_line, drain_question
from fleetctl.views.hosts.hosts import cordon_text
from megafleet.connection.cluster import Cluster


@dataclass(frozen=True, slots=True)
class Act:
    """`question`: what is asked first; None: nothing. `do` gives the sentence that it ends with.
    Both raise Trouble."""

    key: str
    name: str
    question: Callable[[Cluster, str], str] | None
    do: Callable[[Cluster, str], str]


def _drain(
    connection: Cluster, host: str, *, plan: bool = False, cancel: bool = False
) -> cluster.DrainProgress:
    """The first that is answered: the plan, or that the drain stands."""
    request = cluster.DrainRequest(host=host, plan_only=plan, cancel=cancel, no_wait=True)
    with closing(connection.follow(lambda stub: stub.Drain, request)) as answers:
        told = list(islice(answers, 1))
    if not told:
        raise Failed("the controller did not answer")
    return told[0]


def _drain_question(connection: Cluster, host: str) -> str:
    return drain_question(host, _drain(connection, host, plan=True))


def _begin_drain(connection: Cluster, host: str) -> str:
    return f"{drain_line(host, _drain(connection, host))}; the drain goes on, D ends it"


def _end_drain(connection: Cluster, host: str) -> str:
    _drain(connection, host, cancel=True)
    return f"{host}: not drained; it takes VMs unless it is cordoned"


def _set_cordon(connection: Cluster, host: str, cordoned: bool) -> str:
    request = cluster.SetCordonRequest(id=host, cordoned=cordoned)
    return cordon_text(connection.change(lambda stub: stub.SetCordon, request, again=True))


HOST_ACTS = (
    Act("d", "drain", _drain_question, _begin_drain),
    Act("D", "end drain", None, _end_drain),
    Act("c", "cordon", None, lambda connection, host: _set_cordon(connection, host, True)),
    Act("u", "uncordon", None, lambda connection, host: _set_cordon(connection, host, False)),
)
