"""Reports for one reader of the board: a full one, then numbered deltas at the reader's pace.

When the host has nothing left to do, a report goes out at once. The first change after quiet waits
a moment in which more may come. Everything between waits for the pace and goes out as one report.
Without news a heartbeat is sent. What a slow reader has not fetched is never queued: it grows into
the next report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.serving.boot_buckets import BUCKETS, bucket_of
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import to_wire
from fleet_agent.alarm import Alarm
from fleet_agent.reporting.board import Board


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two reports while things change, and of silence before a heartbeat."""

    min_interval: float = 0.2
    heartbeat: float = 10.0

    @classmethod
    def of(cls, message: wire.Pace) -> Pace:
        """Zero means the agent's own default."""
        return cls(
            message.min_interval_ms / 1000 or DEFAULT_PACE.min_interval,
            message.heartbeat_ms / 1000 or DEFAULT_PACE.heartbeat,
        )


DEFAULT_PACE = Pace()
# Seconds: an assignment that is carried out within them makes one report, not two.
SETTLE = 0.02


class ReportStream:
    """The reports of one stream. Detach with close()."""

    def __init__(
        self,
        board: Board,
        pace: Pace,
        clock: Callable[[], float],
        complete: Callable[[wire.Report], None] | None = None,
    ) -> None:
        """`complete` adds to each report what only observers get."""
        self._board = board
        self._complete = complete
        self._pace = pace
        self._clock = clock
        self._alarm = Alarm()
        self._sequence = 0
        self._full_is_next = True
        self._last_sent = self._news_since = 0.0
        self._urgent = False
        self._closed = False
        self._clear()
        board.attach(self)

    def _clear(self) -> None:
        self._news = False
        self._states: dict[Kin, IndexSet] = {}
        self._gone: dict[Kin, IndexSet] = {}
        self._released: list[int] = []
        self._problems = self._orphans = self._facts = self._fallbacks = False
        self._boots, self._boot_seconds = [0] * BUCKETS, 0.0

    def set_pace(self, pace: Pace) -> None:
        self._pace = pace
        self._alarm.ring()

    def restart(self) -> None:
        """The next report is a full one, and comes at once."""
        self._full_is_next = True
        self._alarm.ring()

    def close(self) -> None:
        """No more reports: next() returns None. May be called twice."""
        if not self._closed:
            self._closed = True
            self._board.detach(self)
            self._alarm.ring()

    async def next(self) -> wire.Report | None:
        """The next report, when the pace allows one. None once closed."""
        while not self._closed:
            now = self._clock()
            if self._full_is_next:
                return self._sent(self._full(), now)
            due = self._due()
            if now >= due:
                return self._sent(self._delta(), now)
            await self._alarm.sleep(due - now)
        return None

    def _due(self) -> float:
        if self._urgent:
            return 0.0
        if not self._news:
            return self._last_sent + self._pace.heartbeat
        return max(self._last_sent + self._pace.min_interval, self._news_since + SETTLE)

    def _sent(self, report: wire.Report, now: float) -> wire.Report:
        self._sequence += 1
        report.sequence = self._sequence
        self._last_sent = now
        self._full_is_next = self._urgent = False
        if any(self._boots):
            report.boots.extend(self._boots)
            report.boot_seconds = self._boot_seconds
        if self._complete is not None:
            self._complete(report)
        self._clear()
        return report

    # What the board tells -----------------------------------------------------------------

    def _note(self) -> None:
        if not self._news:
            self._news = True
            self._news_since = self._clock()
            self._alarm.ring()

    def on_states(self, kin: Kin, indices: IndexSet) -> None:
        before = self._states.get(kin)
        if before is None:
            self._states[kin] = indices
            # What came back is not gone: one report never says both of an index.
            if kin in self._gone:
                self._gone[kin] = self._gone[kin] - indices
        elif before.ranges != indices.ranges:
            self._states[kin] = before | indices
            if kin in self._gone:
                self._gone[kin] = self._gone[kin] - indices
        self._note()

    def on_gone(self, kin: Kin, indices: IndexSet) -> None:
        if kin in self._states:
            self._states[kin] = self._states[kin] - indices
        self._gone[kin] = self._gone.get(kin, EMPTY) | indices
        self._note()

    def on_released(self, ids: Iterable[int]) -> None:
        self._released.extend(sorted(ids))
        self._note()

    def on_problems(self) -> None:
        self._problems = True
        self._note()

    def on_orphans(self) -> None:
        self._orphans = True
        self._note()

    def on_fallbacks(self) -> None:
        self._fallbacks = True
        self._note()

    def on_facts(self) -> None:
        self._facts = True
        self._note()

    def on_booted(self, vms: int, seconds: float) -> None:
        """Goes with whatever is reported next: a figure is no news."""
        self._boots[bucket_of(seconds)] += vms
        self._boot_seconds += vms * seconds

    def on_standing(self, converged: bool) -> None:
        if converged:
            self._urgent = True
            self._alarm.ring()
        self._note()

    # Messages -----------------------------------------------------------------------------

    def _standing(self) -> wire.Report:
        board = self._board
        return wire.Report(
            epoch=types.Epoch(
                store_generation=board.epoch[0], revision=board.epoch[1], seal=board.epoch_seal
            ),
            converged=board.converged,
            awaits_assign=board.awaits_assign,
            orders_refused=board.orders_refused,
        )

    def _full(self) -> wire.Report:
        board = self._board
        report = self._standing()
        report.full = True
        self._add_states(report, {kin: states.indices for kin, states in board.kins.items()})
        self._add_problems(report)
        self._add_orphans(report)
        self._add_fallbacks(report)
        report.released.extend(sorted(board.released))
        report.facts.CopyFrom(board.facts)
        return report

    def _delta(self) -> wire.Report:
        report = self._standing()
        if not self._news:
            return report
        self._add_states(report, self._states)
        for kin, indices in self._gone.items():
            if indices:
                report.gone.append(
                    wire.Gone(fleet_uid=kin.fleet_uid, birth=kin.birth, ranges=to_wire(indices))
                )
        report.released.extend(self._released)
        if self._problems:
            self._add_problems(report)
        if self._orphans:
            self._add_orphans(report)
        if self._fallbacks:
            self._add_fallbacks(report)
        if self._facts:
            report.facts.CopyFrom(self._board.facts)
        return report

    def _add_states(self, report: wire.Report, dirty: Mapping[Kin, IndexSet]) -> None:
        for kin, indices in dirty.items():
            states = self._board.kins.get(kin)
            runs = states.runs(indices) if states else []
            if runs:
                report.shards.append(
                    wire.ShardReport(
                        fleet_uid=kin.fleet_uid,
                        generation=kin.generation,
                        birth=kin.birth,
                        runs=runs,
                    )
                )

    def _add_problems(self, report: wire.Report) -> None:
        report.problems_set = True
        report.problems.extend(self._board.problems)

    def _add_fallbacks(self, report: wire.Report) -> None:
        report.fallbacks_set = True
        report.fallbacks.extend(self._board.fallbacks)

    def _add_orphans(self, report: wire.Report) -> None:
        report.orphans_set = True
        report.orphans.extend(
            wire.Orphans(fleet_uid=kin.fleet_uid, birth=kin.birth, ranges=to_wire(indices))
            for kin, indices in self._board.orphans.items()
        )
