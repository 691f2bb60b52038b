"""A recovery as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import counted, number
from fleetctl.tables.listing import table

HEADERS = ("FLEET", "TOTAL", "RUNNING", "ADOPTED", "TWICE", "MISSING", "ABOVE", "")
_SHOWN = 20


def recover_json(answer: cluster.RecoverResponse) -> dict[str, Any]:
    return {
        "token": answer.token,
        "frozen": answer.frozen,
        "message": answer.message,
        "hosts": answer.hosts,
        "hosts_ahead": answer.hosts_ahead,
        "unseen_hosts": list(answer.unseen_hosts),
        "fleets": [
            {
                "fleet": one.fleet,
                "uid": one.uid,
                "total": one.total,
                "confirmed": one.confirmed,
                "running": one.running,
                "adopted": one.adopted,
                "twice": one.twice,
                "missing": one.missing,
                "excess": one.excess,
                "problem": one.problem or None,
            }
            for one in answer.fleets
        ],
    }


def plan_text(answer: cluster.RecoverResponse, *, adopt: bool) -> str:
    """What would be done, and what it needs."""
    return "\n".join(_plan_lines(answer, adopt))


def _plan_lines(answer: cluster.RecoverResponse, adopt: bool) -> Iterator[str]:
    ahead = counted(answer.hosts_ahead, "host")
    if adopt and not answer.hosts_ahead and not answer.hosts:
        yield (
            f"{ahead} ahead of the store: there is nothing newer to adopt, and 'fleetctl recover "
            "--confirm' goes on with the store's assignments."
        )
    elif adopt:
        yield (
            f"{ahead} ahead of the store. Adopting makes the assignments of "
            f"{counted(answer.hosts, 'host')} anew of what runs there; nothing is stopped by it."
        )
    else:
        yield f"{ahead} ahead of the store. Confirming keeps the store's assignments as they are."
    yield ""
    if answer.fleets:
        yield table(HEADERS, [_row(one) for one in answer.fleets])
    else:
        yield "No fleets."
    yield from _remarks(answer)
    if answer.unseen_hosts:
        yield ""
        yield f"{counted(len(answer.unseen_hosts), 'host')} not heard:"
        yield from (f"  {printable(host)}" for host in answer.unseen_hosts[:_SHOWN])
        if len(answer.unseen_hosts) > _SHOWN:
            yield f"  and {number(len(answer.unseen_hosts) - _SHOWN)} more"
    yield ""
    yield f"still needed: {printable(answer.message)}" if answer.message else "nothing is missing"


def _row(one: cluster.RecoverFleet) -> tuple[str | int, ...]:
    total = number(one.total) + ("" if one.confirmed else " ?")
    counts = (one.running, one.adopted, one.twice, one.missing, one.excess)
    return (one.fleet, total, *counts, one.problem)


def _remarks(answer: cluster.RecoverResponse) -> Iterator[str]:
    for one in answer.fleets:
        if one.excess and not one.problem:
            text = f"{one.fleet}: {counted(one.excess, 'VM')} above its total"
            yield click.style(f"{text} will be released afterwards", fg="yellow")
        if one.problem:
            yield click.style(f"{one.fleet}: what runs of it is left alone", fg="yellow")
