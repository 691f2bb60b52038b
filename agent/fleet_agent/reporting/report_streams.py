"""The controllers that read reports, and when any controller has spoken last."""

from __future__ import annotations

from collections.abc import Callable

from fleet.keys import Term
from fleet.v1 import agent_pb2 as wire
from fleet_agent.reporting.board import Board
from fleet_agent.reporting.report_stream import Pace, ReportStream


class ReportStreams:
    """The open streams of reports, each with the term of its reader. Times are of `clock`, in
    seconds; `on_watched` hears whether anybody that commands holds a stream."""

    def __init__(
        self,
        board: Board,
        clock: Callable[[], float],
        on_watched: Callable[[bool], None] | None,
    ) -> None:
        self._board = board
        self._clock = clock
        self._on_watched = on_watched
        self._streams: list[tuple[Term, ReportStream]] = []
        self._observers: list[ReportStream] = []
        self._contact: float | None = None  # when a controller was heard last

    def open(self, term: Term, pace: Pace) -> ReportStream:
        """For a reader that speaks in this term."""
        reports = ReportStream(self._board, pace, self._clock)
        self._streams.append((term, reports))
        if self._on_watched is not None and len(self._streams) == 1:
            self._on_watched(True)
        return reports

    def observe(self, pace: Pace, complete: Callable[[wire.Report], None]) -> ReportStream:
        """For a reader that commands nothing, whatever its term."""
        reports = ReportStream(self._board, pace, self._clock, complete)
        self._observers.append(reports)
        return reports

    def restart_observers(self) -> None:
        """Their next report is a full one: the ledger says something else."""
        for reports in self._observers:
            reports.restart()

    def remove(self, reports: ReportStream) -> None:
        """The reader of these has gone away."""
        was_watched = bool(self._streams)
        self._streams = [one for one in self._streams if one[1] is not reports]
        self._observers = [one for one in self._observers if one is not reports]
        if self._on_watched is not None and was_watched and not self._streams:
            self._on_watched(False)

    def close_older(self, term: Term) -> None:
        """Streams of a lower term end: a newer leader was heard."""
        for of, reports in self._streams:
            if of < term:
                reports.close()

    def note_contact(self) -> None:
        """A controller speaks, or has done so until now."""
        self._contact = self._clock()

    @property
    def any_open(self) -> bool:
        """Whether a controller holds a stream of reports."""
        return bool(self._streams or self._observers)

    def seconds_silent(self) -> float | None:
        """Seconds without a controller, None when none was ever heard; a stream that one holds is
        its word."""
        if self.any_open:
            return 0.0
        return None if self._contact is None else self._clock() - self._contact
