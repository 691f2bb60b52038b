"""What happened, as it happens: over failovers, without a loss that is not told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.v1 import cluster_pb2 as wire
from megafleet.connection.cluster import Cluster
from megafleet.connection.event_following import ALL, follow_events
from megafleet.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `kind` is a stable word; `cursor` is where to go on behind it;
    `count`: how often it was so, where what repeats is counted in one event."""

    kind: str
    fleet: str
    host: str
    text: str
    actor: str
    time_unix: float
    cursor: int
    count: int
    change_id: str
    message: wire.Event = field(repr=False)


class GapKind(StrEnum):
    NEXT_LEADER = "next_leader"  # of what the one before told last, only what matters is known
    NOT_KEPT = "not_kept"  # more happened than is kept


@dataclass(frozen=True, slots=True)
class EventGap:
    """Here events may be missing: look at everything anew. `begins_unix`: since when all are here
    again; 0: not known."""

    kind: GapKind
    begins_unix: float


def follow(
    cluster: Cluster, after: int | None, fleet: str, host: str, patience: float
) -> Iterator[Sequence[Event | EventGap]]:
    """`after`: a cursor; 0: with all that are kept; None: from now on. Without an end."""
    request = wire.ListEventsRequest(fleet=fleet, host=host, limit=ALL)
    if not after:
        first = _first(cluster, request, ALL if after == 0 else 1)
        yield [event_of(one) for one in first.events] if after == 0 else ()
        after = first.next
    request.after = after
    for answer in follow_events(cluster, request, _unreachable, patience=patience):
        if answer.former_leader:
            yield [EventGap(GapKind.NEXT_LEADER, answer.begins_unix)]
        elif answer.truncated and after:
            yield [EventGap(GapKind.NOT_KEPT, 0.0)]
        after = answer.next
        yield [event_of(one) for one in answer.events]


def past(cluster: Cluster, limit: int, fleet: str, host: str) -> list[Event]:
    """The newest ones, the oldest of them first."""
    request = wire.ListEventsRequest(fleet=fleet, host=host)
    return [event_of(one) for one in _first(cluster, request, limit).events]


def event_of(message: wire.Event) -> Event:
    return Event(
        message.kind, message.fleet, message.host, message.message, message.actor,
        message.time_unix, message.cursor, message.count, message.change_id, message,
    )  # fmt: skip


def _first(
    cluster: Cluster, request: wire.ListEventsRequest, limit: int
) -> wire.ListEventsResponse:
    asked = wire.ListEventsRequest(fleet=request.fleet, host=request.host, limit=limit)
    return cluster.call(lambda stub: stub.ListEvents, asked)


def _unreachable(trouble: Unavailable) -> None:
    """It goes on from where it was; whoever wants to hear of it gives a patience."""
