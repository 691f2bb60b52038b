"""Drains and removals of hosts, as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import counted, number


def drain_json(host: str, progress: cluster.DrainProgress, outcome: str) -> dict[str, Any]:
    return {
        "host": host,
        "outcome": outcome,
        "moved": progress.moved,
        "left": progress.left,
        "moving": progress.moving,
        "unplaced": progress.unplaced,
        "message": progress.message or None,
        "done": progress.done,
    }


def drain_plan_text(host: str, plan: cluster.DrainProgress) -> str:
    lines = [f"{host}: {counted(plan.moved, 'VM')} would move to other hosts"]
    if plan.unplaced:
        lines.append(f"  {counted(plan.unplaced, 'VM')} fit on no other host and would stay")
    lines.append(f"  {plan.message}")
    return "\n".join(lines)


def drain_question(host: str, plan: cluster.DrainProgress) -> str:
    """Of a plan: how many VMs begin anew elsewhere, and how many cannot."""
    if not (plan.moved or plan.unplaced):
        return f"Place no more VMs on {host}? It has none."
    stay = f", and {number(plan.unplaced)} fit nowhere and stay" if plan.unplaced else ""
    return (
        f"Move {counted(plan.moved, 'VM')} off {host}{stay}? Their disks do not move: they begin "
        "anew elsewhere."
    )


def drain_line(host: str, progress: cluster.DrainProgress) -> str:
    """h1: 120 moved, 130 left, 64 of them moving."""
    parts = [f"{number(progress.moved)} moved", f"{number(progress.left)} left"]
    if progress.moving:
        parts.append(f"{number(progress.moving)} of them moving")
    if progress.unplaced and not progress.message:
        parts.append(f"{number(progress.unplaced)} fit nowhere")
    text = f"{host}: {', '.join(parts)}"
    return f"{text}; {progress.message}" if progress.message else text


def drained_text(host: str, progress: cluster.DrainProgress) -> str:
    return (
        f"{host}: empty, {counted(progress.moved, 'VM')} moved; it takes no new ones until "
        f"'fleetctl hosts drain {host} --cancel'"
    )


def removed_json(host: str, answer: cluster.RemoveHostResponse) -> dict[str, Any]:
    return {"host": host, "removed": True, "forsaken": answer.forsaken}


def removed_text(host: str, answer: cluster.RemoveHostResponse) -> str:
    again = "should its agent still run, it announces itself again"
    if not answer.forsaken:
        return f"{host}: removed; {again}"
    return (
        f"{host}: removed, with {counted(answer.forsaken, 'VM')} that may still run there; "
        f"{again}, and lets them go"
    )
