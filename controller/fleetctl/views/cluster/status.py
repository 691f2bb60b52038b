"""The status of the cluster, as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import click

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import one_line, printable
from fleetctl.output import STATES, byte_text, counted, duration, number, utc_text
from fleetctl.views.cluster.upgrade import coloured_line, upgrade_json
from fleetctl.views.fleets.budgets import budget_json, budget_lines
from fleetctl.views.fleets.fleet_status import fleet_json, fleet_lines
from fleetctl.views.hosts.drains import drain_lines, drain_status_json
from fleetctl.views.hosts.loss import breaker_json, breaker_text, released_seconds_json

_CERTIFICATES = 5  # lines


def status_json(response: cluster.StatusResponse) -> dict[str, Any]:
    """All fleets of the answer together, and each by itself under `fleets`.

    `fleet` is the name when there is exactly one, and null otherwise.
    """
    fleets = [fleet_json(one) for one in response.fleets]
    only = fleets[0] if len(fleets) == 1 else None
    return {
        "fleet": only["fleet"] if only else None,
        "total": sum(one["total"] for one in fleets),
        "placed": sum(one["placed"] for one in fleets),
        "unplaced": sum(one["unplaced"] for one in fleets),
        "states": {name: sum(one["states"][name] for one in fleets) for name in STATES},
        "releasing": sum(one["releasing"] for one in fleets),
        "orphans": sum(one["orphans"] for one in fleets),
        "duplicates": sum(one["duplicates"] for one in fleets),
        "on_lost_hosts": sum(one["on_lost_hosts"] for one in fleets),
        "converged": all(one["converged"] for one in fleets),
        "hosts": hosts_json(response.hosts),
        "oldest_report_seconds": round(response.oldest_report_seconds, 3),
        "problems": [problem for one in fleets for problem in one["problems"]],
        "unplaced_reasons": [reason for one in fleets for reason in one["unplaced_reasons"]],
        "generation": only["generation"] if only else None,
        "generations": only["generations"] if only else [],
        "breaker": breaker_json(response),
        "breaker_released_seconds": released_seconds_json(response),
        "freeze": freeze_json(response),
        "settling": settling_json(response),
        "drains": [drain_status_json(one) for one in response.drains],
        "more_drains": response.more_drains,
        "budgets": [budget_json(one) for one in response.budgets],
        "more_budgets": response.more_budgets,
        "upgrade": upgrade_json(response.upgrade) if response.HasField("upgrade") else None,
        "hosts_to_renew": response.hosts_to_renew,
        "certificates": [
            {"holder": one.holder, "expires": one.expires_unix, "file": one.file or None}
            for one in response.certificates
        ],
        "durable": response.durable,
        "store": store_json(response.store if response.HasField("store") else None),
        "read_only": response.read_only or None,
        "as_of_seconds": round(response.as_of_seconds, 3) if response.read_only else None,
        "only_some_fleets": response.only_some_fleets,
        "server_seconds": round(response.server_seconds, 6),
        "fleets": fleets,
    }


def freeze_json(response: cluster.StatusResponse) -> dict[str, Any] | None:
    """None while changes are taken."""
    if not response.HasField("freeze"):
        return None
    freeze = response.freeze
    return {
        "reason": freeze.reason,
        "since": freeze.since_unix,
        "hosts_ahead": freeze.hosts_ahead,
        "hosts_unseen": freeze.hosts_unseen,
    }


def freeze_lines(response: cluster.StatusResponse) -> Iterable[str]:
    """Above everything else: nothing can be changed, and why."""
    if not response.HasField("freeze"):
        return
    freeze = response.freeze
    yield click.style("changes are frozen; VMs go on as they are", fg="red", bold=True)
    yield f"  why          {printable(freeze.reason)}"
    ahead, unseen = number(freeze.hosts_ahead), number(freeze.hosts_unseen)
    yield f"  hosts        {ahead} ahead of the store, {unseen} not heard"
    yield "  what to do   fleetctl recover --plan"


def settling_json(response: cluster.StatusResponse) -> dict[str, Any] | None:
    """None once the leader knows of all hosts what can be known."""
    if not response.HasField("settling"):
        return None
    one = response.settling
    return {
        "controller": one.replica,
        "seconds": round(one.seconds, 3),
        "heard": one.heard,
        "hosts": one.hosts,
    }


def settling_text(response: cluster.StatusResponse) -> str:
    """controller-2 has led for 1.2 s and heard 310 of 448 hosts; empty once it has."""
    if not response.HasField("settling"):
        return ""
    one = response.settling
    return printable(
        f"{one.replica} has led for {one.seconds:.1f} s and heard {number(one.heard)} of "
        f"{counted(one.hosts, 'host')}; VMs of the others are shown as unknown until it has, and "
        "go on"
    )


def hosts_json(hosts: cluster.HostCounts) -> dict[str, int]:
    return {
        "live": hosts.live,
        "unreachable": hosts.unreachable,
        "suspect": hosts.suspect,
        "lost": hosts.lost,
        "cordoned": hosts.cordoned,
        "converged": hosts.converged,
        "draining": hosts.draining,
        "quarantined": hosts.quarantined,
        "cut_off": hosts.cut_off,
        "misbehaving": hosts.misbehaving,
        "awaiting_approval": hosts.awaiting_approval,
        "distrusted": hosts.distrusted,
        "expelled": hosts.expelled,
        "orders_refused": hosts.orders_refused,
        "total": hosts.total,
    }


_ONLY_SOME = "You may see some fleets only: others are left out ('fleetctl users whoami')."


def status_text(response: cluster.StatusResponse, width: int | None = None) -> str:
    """For people, with colours; tables in it fit the width."""
    frozen = response.HasField("freeze")
    blocks = ["\n".join(fleet_lines(one, frozen, width)) for one in response.fleets]
    if not blocks:
        blocks = ["No fleets. Make one with 'fleetctl apply -f FILE'."]
    if response.only_some_fleets:
        blocks.append(click.style(_ONLY_SOME, dim=True))
    if frozen:
        blocks.insert(0, "\n".join(freeze_lines(response)))
    if settling := settling_text(response):
        blocks.insert(0, click.style(settling, fg="yellow"))
    blocks.append("\n".join(_host_lines(response)))
    return "\n\n".join(blocks)


def _certificate_lines(response: cluster.StatusResponse) -> Iterable[str]:
    """Those that end soon: the first few, and how many more there are at least."""
    for one in response.certificates[:_CERTIFICATES]:
        file = f" ({one.file})" if one.file else ""
        end = f"ends on {utc_text(one.expires_unix)}"
        yield click.style(f"  certificate  {printable(one.holder + file)}: {end}", fg="yellow")
    if (more := len(response.certificates) - _CERTIFICATES) > 0:
        yield f"  certificate  {counted(more, 'more certificate')} within 30 days"


def _host_lines(response: cluster.StatusResponse) -> Iterable[str]:
    hosts = response.hosts
    named = [
        ("live", hosts.live, "green"),
        ("unreachable", hosts.unreachable, "yellow"),
        ("suspect", hosts.suspect, "yellow"),
        ("lost", hosts.lost, "red"),
        ("cordoned", hosts.cordoned, "cyan"),
    ]
    named += [("draining", hosts.draining, "cyan")] if hosts.draining else []
    named += [("quarantined", hosts.quarantined, "red")] if hosts.quarantined else []
    named += [("cut off", hosts.cut_off, "red")] if hosts.cut_off else []
    named += [("misbehaving", hosts.misbehaving, "red")] if hosts.misbehaving else []
    waiting = hosts.awaiting_approval
    named += [("awaiting approval", waiting, "yellow")] if waiting else []
    named += [("distrusted", hosts.distrusted, "red")] if hosts.distrusted else []
    named += [("expelled", hosts.expelled, "red")] if hosts.expelled else []
    refusing = hosts.orders_refused
    named += [("take no orders", refusing, "red")] if refusing else []
    cells = [
        click.style(f"{number(count)} {name}", fg=colour if count else None, dim=not count)
        for name, count, colour in named
    ]
    yield f"{click.style('hosts', bold=True)}          {'  '.join(cells)}"
    age = duration(response.oldest_report_seconds)
    yield f"  converged    {number(hosts.converged)} of {number(hosts.live)} live"
    yield f"  oldest news  {age} ago"
    yield from (f"  drain        {line}" for line in drain_lines(response))
    yield from (f"  budget       {line}" for line in budget_lines(response))
    if response.HasField("upgrade"):
        yield f"  upgrade      {coloured_line(response.upgrade)}"
    yield from _certificate_lines(response)
    if behind := response.hosts_to_renew:
        yield f"  certificate  {counted(behind, 'host')} yet to renew theirs, or whom they trust"
    if text := breaker_text(response):
        yield f"  breaker      {click.style(text, fg='red')}"
    if response.HasField("store"):
        yield from (f"  store        {line}" for line in store_lines(response.store))
    if not response.durable:
        yield f"  store        {click.style('in memory, not durable', fg='yellow')}"


def store_json(health: cluster.StoreHealth | None) -> dict[str, Any] | None:
    """None where nobody has looked yet."""
    if health is None:
        return None
    return {
        "members": [
            {
                "name": one.name,
                "address": one.address,
                "reachable": one.reachable,
                "problem": one.problem or None,
                "alarms": list(one.alarms),
                "space_used": one.space_used,
                "space_quota": one.space_quota or None,
                "seconds": round(one.seconds, 6),
                "version": one.version,
            }
            for one in health.members
        ],
        "troubles": list(health.troubles),
        "read_seconds": round(health.read_seconds, 6) or None,
        "age_seconds": round(health.age_seconds, 3),
    }


def store_lines(health: cluster.StoreHealth) -> Iterator[str]:
    """In short how it is, then each trouble."""
    if summary := _store_summary(health):
        yield summary
    for trouble in health.troubles:
        yield click.style(one_line(trouble), fg="red")


def _store_summary(health: cluster.StoreHealth) -> str:
    """3 of 3 members, 1.2 MiB used, read in 2 ms; empty for a store without members."""
    members = health.members
    if not members:
        return ""
    up = sum(one.reachable for one in members)
    parts = [f"{up} of {counted(len(members), 'member')}", _space(health)]
    if health.read_seconds:
        parts.append(f"read in {health.read_seconds * 1000:.3g} ms")
    return ", ".join(part for part in parts if part)


def _space(health: cluster.StoreHealth) -> str:
    """Of the member that has used most of it."""
    fullest = max(health.members, key=lambda one: one.space_used, default=None)
    if fullest is None or not fullest.space_used:
        return ""
    quota = f" of {byte_text(fullest.space_quota)}" if fullest.space_quota else ""
    return f"{byte_text(fullest.space_used)}{quota} used"
