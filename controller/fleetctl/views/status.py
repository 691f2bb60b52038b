"""The status of fleets and of the store, as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import click

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import one_line, printable
from fleetctl.output import STATE_STYLES, STATES, byte_text, counted, duration, number
from fleetctl.tables.listing import table
from fleetctl.views.drains import drain_lines, drain_status_json
from fleetctl.views.enum_names import state_name
from fleetctl.views.hosts.image_fetches import fetches_json, fetches_text
from fleetctl.views.loss import breaker_json, breaker_text, released_seconds_json
from fleetctl.views.rollouts import rollout_json, rollout_text

_CERTIFICATES = 5  # lines
_REASONS = 3  # in one sentence


def states_of(status: cluster.FleetStatus) -> dict[str, int]:
    """The count of each state by its name. A state that we do not know counts as unknown."""
    counts = dict.fromkeys(STATES, 0)
    for value, count in enumerate(status.states):
        if value and count:
            counts[state_name(value)] += count
    return counts


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
        "certificates": [
            {"holder": one.holder, "expires": one.expires_unix, "file": one.file or None}
            for one in response.certificates
        ],
        "durable": response.durable,
        "store": store_json(response.store if response.HasField("store") else None),
        "read_only": response.read_only or None,
        "as_of_seconds": round(response.as_of_seconds, 3) if response.read_only else None,
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


def fleet_json(status: cluster.FleetStatus) -> dict[str, Any]:
    return {
        "fleet": status.fleet,
        "uid": status.uid,
        "total": status.total,
        "placed": status.placed,
        "unplaced": status.unplaced,
        "states": states_of(status),
        "releasing": status.releasing,
        "orphans": status.orphans,
        "failed_for_good": status.failed_for_good,
        "as_wanted": status.as_wanted,
        "powered_off": status.powered_off,
        "duplicates": status.duplicates,
        "on_lost_hosts": status.on_lost_hosts,
        "hosts_used": status.hosts_used,
        "converged": status.converged,
        "deleting": status.deleting,
        "generation": status.generation,
        "generations": [
            {"generation": one.generation, "assigned": one.assigned, "running": one.running}
            for one in status.generations
        ],
        "problems": [
            {
                "kind": one.kind,
                "count": one.count,
                "hosts": one.hosts,
                "example": one.example,
                "lasting": one.lasting,
                "fleet": status.fleet,
            }
            for one in status.problems
        ],
        "unplaced_reasons": unplaced_json(status.unplaced_reasons),
        "change": status.change,
        "changed_by": status.changed_by,
        "rollout": rollout_json(status.rollout) if status.HasField("rollout") else None,
        "image_fetches": fetches_json(status),
    }


def unplaced_json(reasons: Iterable[cluster.Unplaced]) -> list[dict[str, Any]]:
    return [
        {
            "reason": one.reason,
            "count": one.count,
            "first_index": one.first_index,
            "hosts_needed": one.hosts_needed,
            "message": one.message,
        }
        for one in reasons
    ]


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


def status_text(response: cluster.StatusResponse, width: int | None = None) -> str:
    """For people, with colours; tables in it fit the width."""
    frozen = response.HasField("freeze")
    blocks = ["\n".join(_fleet_lines(one, frozen, width)) for one in response.fleets]
    if not blocks:
        blocks = ["No fleets. Make one with 'fleetctl apply -f FILE'."]
    if frozen:
        blocks.insert(0, "\n".join(freeze_lines(response)))
    if settling := settling_text(response):
        blocks.insert(0, click.style(settling, fg="yellow"))
    blocks.append("\n".join(_host_lines(response)))
    return "\n\n".join(blocks)


def verdict(status: cluster.FleetStatus, frozen: bool) -> tuple[str, str]:
    """How the fleet stands in a word or two, and its colour. While changes are frozen nobody
    knows: what is wanted is what an older store says."""
    if frozen:
        return "frozen", "red"
    if status.deleting:
        return "deleting", "magenta"
    if status.converged:
        return "converged", "green"
    counts = states_of(status)
    if status.unplaced and not status.releasing and counts["running"] == status.placed:
        return f"{number(status.unplaced)} unplaced", "red"
    return "converging", "yellow"


def _fleet_lines(status: cluster.FleetStatus, frozen: bool, width: int | None) -> Iterable[str]:
    word, colour = verdict(status, frozen)
    name = click.style(status.fleet, bold=True)
    wanted = f"{counted(status.total, 'VM')} wanted"
    yield f"{name}  {wanted}  {click.style(word, fg=colour, bold=True)}"
    yield ""
    yield from _state_lines(status)
    yield ""
    placed = number(status.placed)
    placed += f" on {counted(status.hosts_used, 'host')}" if status.hosts_used else ""
    rest = [placed, f"{number(status.unplaced)} unplaced", *remarks_of(status)]
    yield f"  placed       {', '.join(rest)}"
    yield f"  generation   {_generations(status)}"
    if fetches := fetches_text(status):
        yield f"  fetching     {fetches}"
    if status.HasField("rollout"):
        yield f"  rollout      {printable(rollout_text(status.rollout))}"
    if status.unplaced_reasons:
        yield ""
        yield from (f"  {unplaced_text(one)}" for one in status.unplaced_reasons)
    if status.problems:
        yield ""
        rows = [(one.kind, one.count, one.hosts, one.example) for one in status.problems]
        yield table(("PROBLEM", "VMS", "HOSTS", "EXAMPLE"), rows, "  ", width)


def reasons_text(status: cluster.FleetStatus, *, lasting: bool = False) -> str:
    """no_memory: 12 VMs on 3 hosts: ..., the most first; `lasting`: those alone that no waiting
    mends. Empty: none is known."""
    known = [one for one in status.problems if one.lasting or not lasting]
    known.sort(key=lambda one: -one.count)
    return "; ".join(
        f"{one.kind}: {counted(one.count, 'VM')} on {counted(one.hosts, 'host')}: {one.example}"
        for one in known[:_REASONS]
    )


def why_text(status: cluster.FleetStatus) -> str:
    """What is in the way: why VMs fail, and why others fit nowhere; empty: nothing is known."""
    reasons = [unplaced_text(one) for one in status.unplaced_reasons]
    if why := reasons_text(status):
        reasons.insert(0, printable(why))
    return "; ".join(reasons)


def remarks_of(status: cluster.FleetStatus) -> list[str]:
    """Counts of a fleet besides its states of VMs; only those that are not 0."""
    counts = (
        (status.releasing, "to be released"),
        (status.orphans, "orphans" if status.orphans != 1 else "orphan"),
        (status.powered_off, "stopped"),
        (status.duplicates, "may run twice"),
        (status.on_lost_hosts, "wait for lost hosts"),
    )
    return [f"{number(count)} {what}" for count, what in counts if count]


def _state_lines(status: cluster.FleetStatus) -> Iterable[str]:
    """The eight states side by side, each over its count."""
    counts = states_of(status)
    widths = {name: max(len(name), len(number(count))) for name, count in counts.items()}
    heads = (click.style(name.rjust(widths[name]), dim=not counts[name]) for name in STATES)
    yield f"  {'  '.join(heads)}"
    cells = (
        click.style(
            number(count).rjust(widths[name]),
            fg=STATE_STYLES[name] if count else None,
            dim=not count,
        )
        for name, count in counts.items()
    )
    yield f"  {'  '.join(cells)}"


def _generations(status: cluster.FleetStatus) -> str:
    """Which one new VMs get, and how many VMs have others."""
    if all(one.generation == status.generation for one in status.generations):
        return number(status.generation)
    older = (
        f"{number(one.generation)}: {counted(one.assigned, 'VM')}" for one in status.generations
    )
    return f"{number(status.generation)} is current  ({'; '.join(older)})"


def unplaced_text(one: cluster.Unplaced) -> str:
    """Why VMs fit nowhere: the controller's sentence, or what can be said without it."""
    if one.message:
        return printable(one.message)
    more = f"; {counted(one.hosts_needed, 'more host')} would do" if one.hosts_needed else ""
    return f"{counted(one.count, 'VM')} unplaced: {printable(one.reason)}{more}"


def _certificate_lines(response: cluster.StatusResponse) -> Iterable[str]:
    """Those that end soon: the first few, and how many more there are at least."""
    for one in response.certificates[:_CERTIFICATES]:
        file = f" ({one.file})" if one.file else ""
        end = f"ends on {datetime.fromtimestamp(one.expires_unix, UTC):%Y-%m-%d %H:%M} UTC"
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
    yield from _certificate_lines(response)
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
    fullest = max(health.members, key=lambda one: one.space_used)
    if not fullest.space_used:
        return ""
    quota = f" of {byte_text(fullest.space_quota)}" if fullest.space_quota else ""
    return f"{byte_text(fullest.space_used)}{quota} used"
