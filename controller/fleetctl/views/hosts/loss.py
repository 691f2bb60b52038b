"""Hosts that fail, the breaker, and who is denied, as JSON and as text. Pure: messages in, values
out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import BAD, counted, duration
from fleetctl.tables.column import Column, Kind, iso_text
from fleetctl.views.enum_names import health_name
from fleetctl.views.hosts.hosts import host_json

RELEASED = "lost hosts are replaced, however many are gone"
OVERRIDE = (
    "if they are dead, 'fleetctl breaker release' has them replaced all the same, and 'fleetctl "
    "hosts declare-lost HOST...' some of them"
)


def hosts_json(hosts: Iterable[cluster.HostSummary]) -> dict[str, Any]:
    return {"hosts": [host_json(one) for one in hosts]}


def declared_text(hosts: Sequence[cluster.HostSummary], undo: bool) -> str:
    """What became of a verdict; what the hosts still hold is still to be placed, or waits."""
    names = ", ".join(one.id for one in hosts[:5])
    more = f" and {len(hosts) - 5:,} more" if len(hosts) > 5 else ""
    are = "is" if len(hosts) == 1 else "are"
    if undo:
        return printable(f"{names}{more} {are} not declared lost")
    held = counted(sum(one.assigned for one in hosts), "VM")
    theirs = "it had" if len(hosts) == 1 else "they had"
    sentence = (
        f"{names}{more} {are} lost; the {held} that {theirs} are placed on other hosts, or wait"
    )
    return printable(f"{sentence}. 'fleetctl status' shows how far it is")


def undeclarable_text(hosts: Iterable[cluster.HostSummary]) -> str:
    """Of those that would be declared lost: which never are; empty where all may be."""
    live = [one.id for one in hosts if health_name(one.health) == "live"]
    if not live:
        return ""
    more = f" and {len(live) - 5:,} more" if len(live) > 5 else ""
    are = "is" if len(live) == 1 else "are"
    return printable(
        f"would be refused: {', '.join(live[:5])}{more} {are} live and cannot be lost; cordon or "
        "drain such a host"
    )


def breaker_json(response: cluster.StatusResponse) -> dict[str, Any] | None:
    """None while it is closed."""
    if not response.HasField("breaker"):
        return None
    one = response.breaker
    return {
        "reason": one.reason,
        "since_unix": round(one.since_unix, 3),
        "scopes": list(one.scopes),
        "waiting_hosts": one.waiting_hosts,
    }


def released_seconds_json(response: cluster.StatusResponse) -> float | None:
    """For how long an operator holds the breaker closed yet; None while nobody does."""
    return round(response.breaker_released_seconds, 3) or None


def breaker_text(response: cluster.StatusResponse) -> str:
    """Empty while it is closed, and nobody holds it so."""
    if not response.HasField("breaker"):
        left = response.breaker_released_seconds
        return f"released for another {duration(left)}: {RELEASED}" if left else ""
    one = response.breaker
    waiting = (
        f"; {counted(one.waiting_hosts, 'host')} would be replaced" if one.waiting_hosts else ""
    )
    return printable(f"open: {one.reason}{waiting}; {OVERRIDE}")


def released_json(answer: cluster.ReleaseBreakerResponse) -> dict[str, Any]:
    return {"waiting_hosts": answer.waiting_hosts, "until_unix": round(answer.until_unix, 3)}


def released_text(answer: cluster.ReleaseBreakerResponse, seconds: float) -> str:
    return (
        f"lost hosts are replaced for the next {duration(seconds)}; "
        f"{counted(answer.waiting_hosts, 'host')} waited for it"
    )


def expulsion_text(host: str, plan: cluster.ExpelHostResponse) -> str:
    """What it would mean to expel the host."""
    if not plan.known:
        return f"There is no host {host}: its name is denied in advance."
    if not plan.vms:
        return f"{host} at {plan.address} has no VMs."
    return (
        f"{counted(plan.vms, 'VM')} of {host} are placed elsewhere at once. It is not asked to "
        f"stop them: they may run twice until the dom0 at {plan.address} is switched off."
    )


def expelled_text(host: str, answer: cluster.ExpelHostResponse) -> str:
    if not answer.known:
        return f"{host} is denied; there was no such host"
    if not answer.vms:
        return f"{host} is expelled; it had no VMs"
    return (
        f"{host} is expelled; {counted(answer.vms, 'VM')} are placed elsewhere, and may still run "
        f"there: switch off the dom0 at {answer.address}"
    )


def expelled_json(host: str, reason: str, answer: cluster.ExpelHostResponse) -> dict[str, Any]:
    return {
        "host": host,
        "reason": reason,
        "known": answer.known,
        "vms": answer.vms,
        "address": answer.address or None,
    }


def denied_json(denied: Iterable[cluster.Denied]) -> list[dict[str, Any]]:
    return [
        {
            "role": one.role,
            "name": one.name,
            "reason": one.reason,
            "actor": one.actor,
            "since": one.since_unix,
            "denied_at": iso_text(one.since_unix),
        }
        for one in denied
    ]


DENIED_COLUMNS: tuple[Column[cluster.Denied], ...] = (
    Column("NAME", lambda one: one.name, Kind.NAME, colour=lambda one: BAD),
    Column("ROLE", lambda one: one.role, Kind.NAME),
    Column("SINCE", lambda one: one.since_unix, Kind.AGE, rank=2),
    Column("BY", lambda one: one.actor, rank=3),
    Column("REASON", lambda one: one.reason, rank=1),
)
