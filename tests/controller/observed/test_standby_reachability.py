"""What standbys have said of hosts, and for how long it holds."""

from __future__ import annotations

from fleet_controller.observed.standby_reachability import (
    AGAIN_SHARE,
    CONFIRMED_SECONDS,
    StandbyReachability,
)

LOST_AFTER = 300.0
AGAIN = AGAIN_SHARE * LOST_AFTER


def test_a_host_that_nobody_reaches_is_confirmed_for_a_while() -> None:
    said = StandbyReachability()
    assert not said.confirms("h1", 1000.0), "nobody was asked"
    assert said.note(["h1"], {}, 1000.0) == []
    assert said.confirms("h1", 1000.0 + CONFIRMED_SECONDS - 1)
    assert not said.confirms("h1", 1000.0 + CONFIRMED_SECONDS), "that was long ago"


def test_a_host_that_is_reached_is_not_confirmed_and_is_told_once() -> None:
    said = StandbyReachability()
    assert said.note(["h1", "h2"], {"h1": "controller-2"}, 1000.0) == ["h1"]
    assert not said.confirms("h1", 1000.0) and said.confirms("h2", 1000.0)
    assert said.by("h1") == "controller-2" and said.by("h2") == ""
    assert said.note(["h1"], {"h1": "controller-3"}, 1060.0) == []
    assert said.by("h1") == "controller-3"


def test_the_silence_of_a_host_counts_from_when_it_was_reached_last() -> None:
    said = StandbyReachability()
    assert said.reached("h1", 700.0) == 700.0
    said.note(["h1"], {"h1": "controller-2"}, 1000.0)
    said.note(["h1"], {}, 1060.0)
    assert said.reached("h1", 700.0) == 1000.0
    assert said.by("h1") == "", "nobody reaches it now"


def test_a_host_that_was_reached_is_asked_about_again_and_again() -> None:
    said = StandbyReachability()
    said.note(["h1", "h2"], {"h1": "controller-2"}, 1000.0)
    assert said.to_ask_again(1000.0 + AGAIN - 1, LOST_AFTER) == []
    assert said.to_ask_again(1000.0 + AGAIN, LOST_AFTER) == ["h1"]
    said.note(["h1"], {}, 1000.0 + AGAIN)
    assert said.to_ask_again(1000.0 + 2 * AGAIN, LOST_AFTER) == ["h1"], "it may come back"


def test_what_is_settled_is_forgotten() -> None:
    said = StandbyReachability()
    said.note(["h1", "h2"], {"h1": "controller-2"}, 1000.0)
    said.forget(["h1", "h9"])
    assert said.all() == ["h2"]
    assert said.note(["h1"], {"h1": "controller-2"}, 2000.0) == ["h1"], "told anew"
