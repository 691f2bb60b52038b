"""The controllers that an agent remembers."""

from __future__ import annotations

from pathlib import Path

from fleet_agent.controllers.known_controllers import (
    KEPT_SECONDS,
    MOST,
    KnownControllers,
    after_told,
    stored,
)

DAY = 86_400.0


def test_who_was_named_last_is_tried_first_and_others_for_a_week() -> None:
    known = after_told({"old:1": 0.0, "away:1": 6 * DAY}, ["c1:1", "c2:1"], 8 * DAY)
    assert list(known) == ["c1:1", "c2:1", "away:1"]
    assert KEPT_SECONDS == 7 * DAY


def test_what_nobody_can_dial_is_left_out_and_they_are_bounded() -> None:
    told = ["0.0.0.0:1", "x", "http://c:1", *(f"c{number}:1" for number in range(40))]
    known = after_told({"c99:1": 0.0}, told, 1.0)
    assert len(known) == MOST - 2 and "c0:1" in known and "c99:1" in known


def test_a_clock_that_was_set_back_lets_nobody_stand_above_all_others_for_ever() -> None:
    assert after_told({"old:1": 900 * DAY}, ["new:1"], DAY) == {"new:1": DAY, "old:1": DAY}


def test_they_are_kept_in_a_file_and_come_before_those_of_the_settings(tmp_path: Path) -> None:
    file, now = tmp_path / "controllers.json", [1000.0]
    known = KnownControllers(file, ["set:1"], lambda: now[0])
    assert known.endpoints == ["set:1"] and not file.exists()
    assert known.told(["c1:1", "set:1"])
    assert not known.told(["c1:1", "set:1"]), "nothing is written for what is known"
    assert not known.told([]), "an older controller names none"
    again = KnownControllers(file, ["set:2"], lambda: now[0])
    assert again.endpoints == ["c1:1", "set:1", "set:2"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_that_they_are_still_there_is_written_down_once_a_day(tmp_path: Path) -> None:
    file, now = tmp_path / "controllers.json", [1000.0]
    known = KnownControllers(file, [], lambda: now[0])
    known.told(["c1:1"])
    now[0] += DAY / 2
    known.told(["c1:1"])
    assert stored(file) == {"c1:1": 1000.0}
    now[0] += DAY
    assert not known.told(["c1:1"])
    assert stored(file) == {"c1:1": 1000.0 + 1.5 * DAY}


def test_a_file_that_is_rubbish_is_none(tmp_path: Path) -> None:
    file = tmp_path / "controllers.json"
    file.write_bytes(b"{rubbish")
    assert KnownControllers(file, ["set:1"], lambda: 0.0).endpoints == ["set:1"]
