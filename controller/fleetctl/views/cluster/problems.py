"""What needs somebody, as rows of a list. Pure: a status in, values out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import BAD, DOUBTFUL
from fleetctl.tables.column import Column, Kind
from fleetctl.views.cluster.health_check import Level, verdict_of
from fleetctl.views.fleets.fleet_status import unplaced_text
from fleetctl.views.hosts.drains import left_text


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """`level`: of `status --check`; lower case for what explains or goes on, and is not judged."""

    level: str
    kind: str
    about: str
    vms: int | None
    hosts: int | None
    text: str


_COLOURS = {Level.CRITICAL.name: BAD, Level.WARNING.name: DOUBTFUL}


PROBLEM_COLUMNS: tuple[Column[ProblemRow], ...] = (
    Column("LEVEL", lambda one: one.level, Kind.NAME, colour=lambda one: _COLOURS.get(one.level)),
    Column("KIND", lambda one: one.kind, Kind.NAME, rank=1),
    Column("ABOUT", lambda one: one.about or None, Kind.NAME, rank=2),
    Column("VMS", lambda one: one.vms, Kind.NUMBER, rank=4),
    Column("HOSTS", lambda one: one.hosts, Kind.NUMBER, rank=5),
    Column("WHAT IS WRONG", lambda one: one.text),
)


def problem_rows(status: cluster.StatusResponse, now: float) -> list[ProblemRow]:
    """The worst first. `now`: seconds since 1970, for the ends of certificates."""
    judged = [
        ProblemRow(one.level.name, one.name, "", None, None, one.text)
        for one in verdict_of(status, now).reasons
    ]
    return [*judged, *_reasons(status), *_drains(status)]


def _reasons(status: cluster.StatusResponse) -> Iterator[ProblemRow]:
    for fleet in status.fleets:
        for one in sorted(fleet.problems, key=lambda one: -one.count):
            more = "; no waiting mends it" if one.lasting else ""
            yield ProblemRow(
                "failing", one.kind, fleet.fleet, one.count, one.hosts, one.example + more
            )
        for why in fleet.unplaced_reasons:
            text = unplaced_text(why)
            yield ProblemRow("unplaced", why.reason, fleet.fleet, why.count, None, text)


def _drains(status: cluster.StatusResponse) -> Iterator[ProblemRow]:
    for one in status.drains:
        text = left_text(one.progress)
        yield ProblemRow("drain", "draining", one.host, one.progress.left, 1, text)
    if more := status.more_drains:
        yield ProblemRow("drain", "draining", "", None, more, "more hosts are drained")
