"""What a reader of a console's log reads next, and what is freed of the log."""

from __future__ import annotations

import pytest

from fleet_agent.core.console_log import (
    FAST_PACE,
    LAG_BYTES,
    RESUME_BYTES,
    SLOW_PACE,
    LogFile,
    LogPosition,
    Move,
    from_line_start,
    life_notice,
    next_move,
    next_pace,
    old_bytes,
    skipped_notice,
)

FAR = LAG_BYTES + 1000


@pytest.mark.parametrize(
    ("place", "seen", "room", "move"),
    [
        (LogPosition(7, 10), LogFile(7, 10), 100, Move(LogPosition(7, 10), 0)),
        (LogPosition(7, 10), LogFile(7, 60), 100, Move(LogPosition(7, 10), 50)),
        (LogPosition(7, 10), LogFile(7, 60), 20, Move(LogPosition(7, 10), 20)),
        (LogPosition(7, 10), LogFile(7, 60), 0, Move(LogPosition(7, 10), 0)),
        (LogPosition(), LogFile(7, 60), 100, Move(LogPosition(7, 0), 60)),
        (LogPosition(7, 50), LogFile(8, 60), 100, Move(LogPosition(8, 0), 60)),
        (LogPosition(7, 50), LogFile(7, 20), 100, Move(LogPosition(7, 0), 20, -1)),
        (
            LogPosition(7, 50),
            LogFile(7, 50 + FAR),
            100,
            Move(LogPosition(7, 50 + FAR - RESUME_BYTES), 100, FAR - RESUME_BYTES),
        ),
        (
            LogPosition(7, 10**9),
            LogFile(7, FAR),
            1,
            Move(LogPosition(7, FAR - RESUME_BYTES), 1, -1),
        ),
    ],
)
def test_next_move(place: LogPosition, seen: LogFile, room: int, move: Move) -> None:
    assert next_move(place, seen, room) == move


def test_what_was_passed_over_is_told() -> None:
    assert skipped_notice(0) == ""
    assert skipped_notice(12345) == "12,345 bytes of output were skipped here"
    assert "cut" in skipped_notice(-1)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [(3, 3, ""), (-1, -1, ""), (3, -1, "ended"), (-1, 4, "was started"), (3, 4, "started anew")],
)
def test_lives(before: int, after: int, said: str) -> None:
    notice = life_notice("spv-3", before, after)
    assert said in notice and bool(said) == bool(notice)


def test_the_pace_relaxes_and_is_quick_again() -> None:
    pace = FAST_PACE
    for _ in range(30):
        pace = next_pace(pace, active=False)
    assert pace == SLOW_PACE
    assert next_pace(pace, active=True) == FAST_PACE


def test_a_line_that_is_cut_is_left_out_unless_it_is_all() -> None:
    assert from_line_start(b"rest\nwhole\n") == b"whole\n"
    assert from_line_start(b"no line") == b"no line"
    assert from_line_start(b"the only line\n") == b"the only line\n"


@pytest.mark.parametrize(
    ("size", "allocated", "limit", "freed"),
    [
        (100_000, 102_400, 102_400, 0),
        (200_000, 200_704, 100_000, 147_456),
        # What is a hole already does not count.
        (10_000_000, 90_112, 100_000, 0),
        (10_000_000, 110_592, 100_000, 9_949_184),
        (100, 8192, 4096, 0),
    ],
)
def test_old_bytes(size: int, allocated: int, limit: int, freed: int) -> None:
    assert old_bytes(size, allocated, limit) == freed
    assert freed % 4096 == 0 and (not freed or size - freed >= limit // 2)
