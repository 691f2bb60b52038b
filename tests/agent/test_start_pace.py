"""How much the CPUs are wanted -> how many VMs may be on their way at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_agent.core.start_pace import (
    HIGH,
    LOW,
    STALE_SECONDS,
    Look,
    Pressure,
    look_again,
    starts_allowed,
)
from fleet_agent.dom0.cpu_pressure import pressure_of, read_pressure

CORES, MOST = 4, 100


@pytest.mark.parametrize(
    ("allowed", "share", "starting", "follows"),
    [
        (8, 0.2, 8, 12),  # all of it is used, and cores are free
        (8, 0.2, 3, 8),  # who does not use it needs no more
        (8, 0.75, 8, 8),  # between the two it stays
        (24, 0.95, 24, 18),
        (24, 0.95, 30, 24),  # what was taken back has not shown yet
        (10, 1.0, 10, 2 * CORES),  # two a core are never taken
        (90, 0.0, 90, MOST),
        (400, 0.75, 0, MOST),  # operators allow less than before
    ],
)
def test_what_is_allowed_next(allowed: int, share: float, starting: int, follows: int) -> None:
    assert starts_allowed(allowed, share, starting, CORES, MOST) == follows


@given(
    st.integers(0, 10**6), st.floats(0, 1), st.integers(0, 10**6),
    st.integers(1, 1024), st.integers(1, 4096),
)  # fmt: skip
def test_never_less_than_one_nor_more_than_operators_allow(
    allowed: int, share: float, starting: int, cores: int, most: int
) -> None:
    assert 1 <= starts_allowed(allowed, share, starting, cores, most) <= most


def looked(before: Look | None, waited_us: int, now: float, lately: float = 0.0) -> int:
    pressure = Pressure(waited_us, lately)
    return look_again(before, pressure, now, starting=8, cores=CORES, most=MOST).allowed


def test_the_share_is_of_the_time_since_the_last_look() -> None:
    before = Look(100.0, Pressure(5_000_000, 0.0), 8)
    assert looked(before, 5_400_000, 102.0, lately=1.0) == 12
    assert looked(before, 6_500_000, 102.0) == 8
    busy = Look(100.0, Pressure(5_000_000, 0.0), 16)
    assert looked(busy, 6_900_000, 102.0) == 12


def test_at_first_and_after_a_pause_it_begins_anew_by_the_last_ten_seconds() -> None:
    long_ago = Look(100.0, Pressure(0, 0.0), 64)
    for before in (None, long_ago):
        assert looked(before, 9, 101.0 + STALE_SECONDS, lately=1.0) == 2 * CORES
        assert looked(before, 9, 101.0 + STALE_SECONDS, lately=0.1) == 3 * CORES


def test_a_counter_that_went_back_is_not_believed() -> None:
    before = Look(100.0, Pressure(10**12, 0.0), 8)
    assert looked(before, 7, 101.0, lately=(LOW + HIGH) / 2) == 8


def test_what_the_kernel_tells(tmp_path: Path) -> None:
    text = (
        "some avg10=5.57 avg60=6.01 avg300=8.56 total=20516099788\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )
    assert pressure_of(text) == Pressure(20_516_099_788, 0.0557)
    for other in ("", "full avg10=0.00 avg60=0.00 avg300=0.00 total=0", "some avg10=x total=y"):
        assert pressure_of(other) is None
    assert read_pressure(tmp_path / "absent") is None
    (tmp_path / "there").write_text(text)
    assert read_pressure(tmp_path / "there") == pressure_of(text)
