"""Mistakes that agents could make."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.past_tombstones import past_tombstones
from fleet_agent.core.plan import isolation
from fleet_agent.core.plan.isolation import StartPermit
from fleet_agent.core.plan.snapshot import Snapshot, snapshot_of
from fleet_agent.reconcile import agent, fencing, loop
from fleet_agent.reconcile.fencing import FencedAssignment
from fleet_agent.reconcile.ledger import LedgerRecord
from fleet_agent.reconcile.loop import ReconcileLoop
from fleet_agent.reconcile.observer_reports import add_for_observer
from fleet_agent.reporting.board import Board
from fleet_agent.reporting.report_streams import ReportStreams
from tests.simulation.seeded_bugs.replacing import SeededBug, wrong


def _anything(self: Any, *args: Any) -> None:
    """Whatever is asked is in order."""


async def _remember_later(self: FencedAssignment, record: LedgerRecord) -> None:
    """Answer first, write when there is time."""
    if record != self.record:
        self.record = record
        writing = asyncio.get_running_loop().create_task(_write_later(self, record))
        self.__dict__.setdefault("writing", []).append(writing)


async def _write_later(orders: FencedAssignment, record: LedgerRecord) -> None:
    await asyncio.sleep(0.5)
    await orders._ledger.save(record)


_list = ReconcileLoop._list


async def _look_at_nothing_first(self: ReconcileLoop) -> Snapshot:
    """A fresh agent begins with a clean slate."""
    if not self.__dict__.get("looked"):
        self.__dict__["looked"] = True
        return snapshot_of([], [])
    return await _list(self)


async def _open_without_boot(self: FencedAssignment) -> None:
    """What the ledger wants is wanted, whenever it was written."""
    await _open(self)
    self.awaits_assign = False


_open = FencedAssignment.open


def _past_forgotten(*told: types.Assignment) -> types.Assignment:
    """What is acknowledged is done with."""
    return types.Assignment()


def _silent_since_last_word(self: ReportStreams) -> float | None:
    """Whoever reads says nothing, it thinks."""
    return None if self._contact is None else self._clock() - self._contact


def _permit_that_isolates_none(*args: Any) -> StartPermit:
    """What is held is not started; what runs goes on."""
    return replace(_start_permit(*args), isolated=frozenset())


_start_permit = isolation.start_permit


def _tell_as_of_the_last_look(report: wire.Report, orders: FencedAssignment, board: Board) -> None:
    """As to those that command: what the loop came to."""
    before = wire.Report()
    before.CopyFrom(report)
    add_for_observer(report, orders, board)
    del report.shards[len(before.shards) :]
    report.epoch.CopyFrom(before.epoch)
    report.converged = before.converged


AGENTS: tuple[SeededBug, ...] = (
    SeededBug(
        "no epoch check",
        (wrong(FencedAssignment._check_epoch, _anything),),
        ("storm", "change_mind"),
    ),
    SeededBug("no term check", (wrong(FencedAssignment.check_term, _anything),)),
    SeededBug(
        "ledger written after the acknowledgement",
        (wrong(FencedAssignment._remember, _remember_later),),
    ),
    SeededBug(
        "adopt skipped",
        (wrong(ReconcileLoop._list, _look_at_nothing_first),),
        ("kill_agents", "change_mind"),
    ),
    SeededBug("starts after a reboot", (wrong(FencedAssignment.open, _open_without_boot),)),
    SeededBug(
        "releases forgotten once acknowledged",
        (wrong(past_tombstones, _past_forgotten, seen_in=fencing),),
        ("kill_agent", "kill_agents", "change_mind"),
    ),
    SeededBug(
        "a stream of reports is no word",
        (wrong(ReportStreams.seconds_silent, _silent_since_last_word),),
        ("scale_other",),
    ),
    SeededBug(
        "nothing is stopped for silence",
        (wrong(isolation.start_permit, _permit_that_isolates_none, seen_in=loop),),
        ("scale_other", "cut_host"),
    ),
    SeededBug(
        "observers hear of the last look alone",
        (wrong(add_for_observer, _tell_as_of_the_last_look, seen_in=agent),),
        ("set_back", "no_driver", "change_mind", "scale"),
    ),
)
