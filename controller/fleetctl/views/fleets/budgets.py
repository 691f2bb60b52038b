"""Disruption budgets of fleets, as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import counted, number


def budget_json(one: cluster.BudgetStatus) -> dict[str, Any]:
    """`per_minute` is null where it is not bounded."""
    return {
        "fleet": one.fleet,
        "at_most": one.at_most,
        "down": one.down,
        "per_minute": one.per_minute or None,
        "begun": one.begun,
        "waiting": one.waiting,
        "to_restart": one.to_restart,
        "to_reimage": one.to_reimage,
        "message": one.message or None,
    }


def budget_lines(response: cluster.StatusResponse) -> Iterable[str]:
    """One for each fleet of the answer whose budget is in use, and one for the others."""
    used = [one for one in response.budgets if in_use(one)]
    yield from (printable(f"{one.fleet}: {budget_text(one)}") for one in used)
    if more := response.more_budgets:
        yield f"{counted(more, 'more fleet')} with a budget: 'fleetctl fleets -o json'"


def in_use(one: cluster.BudgetStatus) -> bool:
    """Whether there is anything to tell of it."""
    return bool(one.down or one.waiting or one.to_restart or one.to_reimage or one.begun)


def budget_text(one: cluster.BudgetStatus) -> str:
    """3 of 50 down, 120 of 200 begun anew in a minute; 940 VMs to restart; and what waits."""
    parts = [short_text(one)]
    if one.per_minute:
        parts[0] += f", {number(one.begun)} of {number(one.per_minute)} begun anew in a minute"
    for count, what in ((one.to_restart, "restart"), (one.to_reimage, "make anew")):
        if count:
            parts.append(f"{counted(count, 'VM')} to {what}")
    if one.message:
        parts.append(one.message)
    return "; ".join(parts)


def short_text(one: cluster.BudgetStatus) -> str:
    """3 of 50 down."""
    return f"{number(one.down)} of {number(one.at_most)} down"
