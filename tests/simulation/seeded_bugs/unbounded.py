"""Mistakes that a leader could make with how much a single host says."""

from __future__ import annotations

from typing import Any

from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.conduct import Conduct
from fleet_controller.changes.announcements import Announcements
from fleet_controller.leader import agent_events
from fleet_controller.observed import report_bounds
from fleet_controller.observed.report_bounds import Allowance, bounded
from tests.simulation.seeded_bugs.replacing import SeededBug, wrong


def _whole(report: wire.Report, allowance: Allowance) -> wire.Report:
    """What a host says is what there is to know."""
    return report


def _any_orphans(report: wire.Report, allowance: Allowance) -> None:
    """What nobody assigned can be anything."""


def _never(self: Conduct, *report: Any) -> str:
    """Hosts keep the pace that they are asked for."""
    return ""


def _at_once(self: Announcements, host_id: str) -> float:
    """Each change of a host is news."""
    return 0.0


UNBOUNDED: tuple[SeededBug, ...] = (
    SeededBug(
        "ranges have no bound",
        (wrong(bounded, _whole, seen_in=agent_events),),
        ("many ranges",),
    ),
    SeededBug(
        "released ids have no bound",
        (wrong(bounded, _whole, seen_in=agent_events),),
        ("many released",),
    ),
    SeededBug(
        "orphans count without bound",
        (wrong(report_bounds._check_orphans, _any_orphans),),
        ("orphans of others",),
    ),
    SeededBug("reports have no pace", (wrong(Conduct.too_fast, _never),), ("flood",)),
    SeededBug(
        "each change of a host is written",
        (wrong(Announcements._due_in, _at_once),),
        ("many announcements",),
    ),
)
