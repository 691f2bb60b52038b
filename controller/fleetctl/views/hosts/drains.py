"""Drains and removals of hosts, as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import counted, number, utc_text
from fleetctl.views.enum_names import drain_end_name


def drain_json(host: str, progress: cluster.DrainProgress, outcome: str) -> dict[str, Any]:
    return {
        "host": host,
        "outcome": outcome,
        "moved": progress.moved,
        "left": progress.left,
        **_where_it_is(progress),
        "done": progress.done,
    }


def drain_status_json(one: cluster.DrainStatus) -> dict[str, Any]:
    """As a status has it: of one host that is not empty."""
    return {"host": one.host, "left": one.progress.left, **_where_it_is(one.progress)}


def draining_json(detail: cluster.HostDetail) -> dict[str, Any] | None:
    """As a host has it; None for one that is not draining."""
    if not detail.HasField("drain"):
        return None
    summary = detail.summary
    return {
        "left": detail.drain.left,
        **_where_it_is(detail.drain),
        "done": detail.drain.done,
        "until": summary.drain_until_unix or None,
        "then": drain_end_name(summary.drain_then),
        "ignores_budget": summary.drain_ignores_budget,
    }


def drain_detail_text(detail: cluster.HostDetail) -> str:
    """As a host has it: what is left, and what becomes of the drain in the end."""
    text, summary = left_text(detail.drain), detail.summary
    if summary.drain_until_unix and not detail.drain.done:
        then = drain_end_name(summary.drain_then) or "stop"
        text += f"; until {utc_text(summary.drain_until_unix)}, then {then}"
    if summary.drain_ignores_budget:
        text += "; heeds no disruption budget"
    return text


def _where_it_is(progress: cluster.DrainProgress) -> dict[str, Any]:
    return {
        "moving": progress.moving,
        "releasing": progress.releasing,
        "unplaced": progress.unplaced,
        "message": progress.message or None,
    }


def drain_plan_text(host: str, plan: cluster.DrainProgress) -> str:
    lines = [f"{host}: {counted(plan.moved, 'VM')} would move to other hosts"]
    if plan.unplaced:
        lines.append(
            f"  {counted(plan.unplaced, 'VM')} {'fits' if plan.unplaced == 1 else 'fit'} on no "
            "other host and would stay"
        )
    lines.append(f"  {plan.message}")
    return "\n".join(lines)


def drain_question(host: str, plan: cluster.DrainProgress) -> str:
    """Of a plan: how many VMs begin anew elsewhere, and how many cannot."""
    if not (plan.moved or plan.unplaced):
        return f"Place no more VMs on {host}? It has none."
    stay = (
        f", and {_fit(plan.unplaced)} and {'stays' if plan.unplaced == 1 else 'stay'}"
        if plan.unplaced
        else ""
    )
    return (
        f"Move {counted(plan.moved, 'VM')} off {host}{stay}? Their disks do not move: they begin "
        "anew elsewhere."
    )


def _fit(vms: int) -> str:
    return f"{number(vms)} {'fits' if vms == 1 else 'fit'} nowhere"


def drain_line(host: str, progress: cluster.DrainProgress) -> str:
    """h1: 120 moved, 130 left, 64 of them moving."""
    if progress.done:
        return f"{host}: {number(progress.moved)} moved, 0 left"
    return f"{host}: {number(progress.moved)} moved, {left_text(progress)}"


def left_text(progress: cluster.DrainProgress) -> str:
    """130 left, 64 of them moving, 12 to be let go by the host; and what stands in the way."""
    if progress.done:
        return "empty: it may be removed, or drained no more"
    parts = [f"{number(progress.left)} left"]
    if progress.moving:
        parts.append(f"{number(progress.moving)} of them moving")
    if progress.releasing:
        parts.append(f"{number(progress.releasing)} of those to be let go here")
    if progress.unplaced and not progress.message:
        parts.append(_fit(progress.unplaced))
    return printable("; ".join([", ".join(parts), *filter(None, [progress.message])]))


def drain_lines(response: cluster.StatusResponse) -> Iterable[str]:
    """One for each host of the answer that is not empty, and one for the others."""
    yield from (f"{one.host}: {left_text(one.progress)}" for one in response.drains)
    if more := response.more_drains:
        yield f"{counted(more, 'more host')}: 'fleetctl hosts list --draining'"


def drained_text(host: str, progress: cluster.DrainProgress) -> str:
    return (
        f"{host}: empty, {counted(progress.moved, 'VM')} moved; it takes no new ones until "
        f"'fleetctl hosts drain {host} --cancel'"
    )


def held_count(detail: cluster.HostDetail) -> int:
    """VMs that are assigned to the host, and those that it is to release and has not: a lost one is
    not waited for, as in drains."""
    lost = detail.summary.health == cluster.HOST_HEALTH_LOST
    return detail.summary.assigned + (0 if lost else _releasing_count(detail))


def _releasing_count(detail: cluster.HostDetail) -> int:
    return sum(one.stop - one.start for stone in detail.tombstones for one in stone.ranges)


def removal_plan_text(detail: cluster.HostDetail, force: bool) -> str:
    """What a removal would do, for all that can be seen here; the controller has the last word."""
    host = printable(detail.summary.id)
    held = detail.summary.assigned + _releasing_count(detail)
    live = detail.summary.health == cluster.HOST_HEALTH_LIVE
    if force and live:
        return f"would be refused: {host} answers, and its VMs run; drain it"
    if force and held:
        return (
            f"would be removed with {counted(held, 'VM')}: what is assigned to it would be placed "
            "elsewhere, and runs twice should it still run here"
        )
    if held:
        return (
            f"would be refused: it has, or has not let go of, {counted(held, 'VM')}; drain it, or "
            "when it is gone for good give them up with --force"
        )
    return "would be removed: it has nothing left"


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
