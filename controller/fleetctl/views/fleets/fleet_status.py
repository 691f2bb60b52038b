"""One fleet's status, as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import STATE_STYLES, STATES, counted, number
from fleetctl.tables.listing import table
from fleetctl.views.enum_names import state_name
from fleetctl.views.fleets.rebalances import misplaced_text, status_json, status_text
from fleetctl.views.fleets.rollouts import coloured_rollout, rollout_json
from fleetctl.views.fleets.schedules import schedule_json, schedule_text
from fleetctl.views.hosts.image_fetches import fetches_json, fetches_text

_REASONS = 3  # in one sentence


def states_of(status: cluster.FleetStatus) -> dict[str, int]:
    """The count of each state by its name. A state that we do not know counts as unknown."""
    counts = dict.fromkeys(STATES, 0)
    for value, count in enumerate(status.states):
        if value and count:
            counts[state_name(value)] += count
    return counts


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
        "misplaced": status.misplaced,
        "rebalance": status_json(status.rebalance) if status.HasField("rebalance") else None,
        "schedule": schedule_json(status.schedule) if status.HasField("schedule") else None,
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


def fleet_lines(status: cluster.FleetStatus, frozen: bool, width: int | None) -> Iterable[str]:
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
        yield f"  rollout      {coloured_rollout(status.rollout)}"
    if status.HasField("rebalance"):
        yield f"  rebalance    {status_text(status.rebalance)}"
    elif status.misplaced:
        yield f"  misplaced    {misplaced_text(status.fleet, status.misplaced)}"
    if status.HasField("schedule") and (told := schedule_text(status.schedule)):
        marked = click.style(told, fg="red") if status.schedule.problem else told
        yield f"  schedule     {marked}"
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
        (status.misplaced, "misplaced"),
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
