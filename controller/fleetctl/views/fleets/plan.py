"""What a scale does, as JSON and as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import counted, number
from fleetctl.tables.listing import table
from fleetctl.views.fleets.fleet_status import unplaced_json, unplaced_text


def plan_json(answer: cluster.ScaleResponse) -> dict[str, Any]:
    plan = answer.plan
    return {
        "fleet": answer.fleet,
        "from_total": answer.from_total,
        "total": answer.total,
        "adds": plan.adds,
        "moves": plan.moves,
        "removes": plan.removes,
        "hosts_changed": plan.hosts_changed,
        "unplaced": plan.unplaced,
        "unplaced_reasons": unplaced_json(plan.reasons),
        "examples": [
            {"host": one.host, "adds": one.adds, "removes": one.removes, "after": one.after}
            for one in plan.examples
        ],
        "token": plan.token,
    }


def plan_text(answer: cluster.ScaleResponse, for_seconds: int = 0) -> str:
    """`for_seconds`: the total is to hold for so long."""
    return "\n".join(_plan_lines(answer, for_seconds))


def _plan_lines(answer: cluster.ScaleResponse, for_seconds: int) -> Iterable[str]:
    plan = answer.plan
    yield f"{answer.fleet}: {number(answer.from_total)} -> {counted(answer.total, 'VM')}"
    yield ""
    rows = [(plan.adds, plan.moves, plan.removes, plan.unplaced, plan.hosts_changed)]
    yield table(("ADDS", "MOVES", "REMOVES", "UNPLACED", "HOSTS CHANGED"), rows, "  ")
    if plan.examples:
        yield ""
        hosts = [(one.host, one.adds, one.removes, one.after) for one in plan.examples]
        yield table(("HOST", "ADDS", "REMOVES", "VMS AFTERWARDS"), hosts, "  ")
        more = plan.hosts_changed - len(plan.examples)
        if more > 0:
            yield f"  and {counted(more, 'more host')}"
    if plan.reasons:
        yield ""
        yield from (f"  {unplaced_text(one)}" for one in plan.reasons)
    if plan.token:
        options = " --partial" if plan.unplaced else ""
        options += f" --for {for_seconds}s" if for_seconds else ""
        yield ""
        yield "To do exactly this, and be refused if anything has changed meanwhile:"
        yield (
            f"  fleetctl scale {answer.fleet} --total {answer.total}{options} --token {plan.token}"
        )
