"""A fleet's rollout, as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

import click

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import BAD, DOUBTFUL, GOOD, counted, number


def rollout_json(status: cluster.RolloutStatus) -> dict[str, Any]:
    return {
        "fleet": status.fleet,
        "from_generation": status.from_generation,
        "to_generation": status.to_generation,
        "state": status.state,
        "done": status.done,
        "left": status.left,
        "changing": status.changing,
        "failed": status.failed,
        "wave": status.wave or None,
        "message": status.message or None,
        "since": status.since_unix or None,
        "actor": status.actor or None,
    }


def rollout_plan_text(status: cluster.RolloutStatus) -> str:
    return (
        f"{status.fleet}: {counted(status.left, 'VM')} would be made anew, from generation "
        f"{status.from_generation} to {status.to_generation}\n  {status.message}"
    )


_COLOURS = {"running": DOUBTFUL, "paused": DOUBTFUL, "halted": BAD, "aborted": BAD, "done": GOOD}


def coloured_rollout(status: cluster.RolloutStatus) -> str:
    """As `rollout_text`, its state by its meaning."""
    state, text = status.state, printable(rollout_text(status))
    shown = click.style(state, fg=_COLOURS.get(state))
    return text.replace(f", {state}", f", {shown}", 1) if state in _COLOURS else text


def rollout_text(status: cluster.RolloutStatus) -> str:
    """generation 1 -> 2, running at rack=r3: 120 done, 30 changing, 2 failed, 848 left; ..."""
    if status.state == "done" and not status.left:
        return _done_text(status)
    counts = [f"{number(status.done)} done"]
    counts += [f"{number(status.changing)} changing"] if status.changing else []
    counts += [f"{number(status.failed)} failed"] if status.failed else []
    counts += [f"{number(status.left)} left"]
    at = f" at {status.wave}" if status.wave else ""
    text = (
        f"generation {status.from_generation} -> {status.to_generation}, {status.state}{at}: "
        f"{', '.join(counts)}"
    )
    return f"{text}; {status.message}" if status.message else text


def _done_text(status: cluster.RolloutStatus) -> str:
    """VMs that do not run just now were changed all the same: they are none of its business."""
    changed = counted(status.done + status.changing + status.failed, "VM")
    failed = f", {number(status.failed)} failed" if status.failed else ""
    return f"generation {status.from_generation} -> {status.to_generation}, done: {changed}{failed}"
