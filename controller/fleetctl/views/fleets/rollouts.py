"""A fleet's rollout, as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

import click

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import BAD, DOUBTFUL, GOOD, counted, duration, number


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
        "canaries": status.canaries,
        "canaries_made": status.canaries_made,
        "canaries_well": status.canaries_well,
        "promote_after_seconds": status.promote_after_seconds,
        "waiting_seconds": status.waiting_seconds,
        "awaits_promotion_by_hand": status.awaits_word,
        "forgotten": status.forgotten,
        "undo_on_halt": status.undo_on_halt,
        "further_generation": status.further_generation or None,
    }


def rollout_plan_text(status: cluster.RolloutStatus) -> str:
    generations = f"from generation {status.from_generation} to {status.to_generation}"
    text = f"{status.fleet}: {counted(status.left, 'VM')} would be made anew, {generations}"
    if status.canaries:
        first = "1 canary" if status.canaries == 1 else f"{number(status.canaries)} canaries"
        text += f"\n  {first} first, and the rest once {_promotion(status)}"
    if status.undo_on_halt:
        text += "\n  where it would halt, it is undone by itself"
    return f"{text}\n  {status.message}"


def _promotion(status: cluster.RolloutStatus) -> str:
    """What the rest waits for."""
    if not status.promote_after_seconds:
        return f"'fleetctl rollout promote {status.fleet}' says so"
    return f"they have run for {duration(status.promote_after_seconds)} without a break"


def rollout_question(status: cluster.RolloutStatus) -> str:
    vms, lost = counted(status.left, "VM"), "What is on their disks is lost."
    if status.canaries:
        first = number(min(status.canaries, status.left))
        return f"Make {first}, and then all, of {vms} of {status.fleet} anew? {lost}"
    return f"Make {vms} of {status.fleet} anew? {lost}"


_COLOURS = {
    "running": DOUBTFUL, "canary": DOUBTFUL, "held": DOUBTFUL, "paused": DOUBTFUL, "halted": BAD,
    "aborted": BAD, "done": GOOD,
}  # fmt: skip


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
    if status.state == "held" and status.further_generation:
        text += f"; further VMs get generation {status.further_generation}"
    return f"{text}; {status.message}" if status.message else text


def _done_text(status: cluster.RolloutStatus) -> str:
    """VMs that do not run just now were changed all the same: they are none of its business."""
    changed = counted(status.done + status.changing + status.failed, "VM")
    failed = f", {number(status.failed)} failed" if status.failed else ""
    return f"generation {status.from_generation} -> {status.to_generation}, done: {changed}{failed}"
