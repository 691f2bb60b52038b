"""What keys do to screens that are drawn live."""

from __future__ import annotations

import pytest

from fleetctl.terminal.keyboard import keys_of
from fleetctl.terminal.live_view import LiveView


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"q", ["q"]),
        (b"\x1b[A\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[4~", ["page up", "page down", "home", "end"]),
        (b"/a\x7f\r", ["/", "a", "backspace", "enter"]),
        (b"\x1b", ["escape"]),
        (b"\x1b[200~\x00\xff", []),
        ("ä".encode(), ["ä"]),
    ],
)
def test_keys_have_names_and_what_is_none_is_left_out(typed: bytes, keys: list[str]) -> None:
    assert keys_of(typed) == keys


def test_a_part_of_the_lines_is_shown_and_never_beyond_the_last() -> None:
    view, lines = LiveView(), list(range(10))
    assert view.part(lines, 4) == [0, 1, 2, 3]
    view.press("end")
    assert view.part(lines, 4) == [6, 7, 8, 9] and "7-10 of 10" in view.hint()
    view.press("down")
    assert view.part(lines, 4) == [6, 7, 8, 9]
    view.press("page up")
    assert view.part(lines, 4) == [2, 3, 4, 5]
    view.press("home")
    assert view.part(lines, 20) == lines and "of 10" not in view.hint()


def test_what_is_typed_is_a_filter_and_no_key() -> None:
    view = LiveView()
    assert not any(view.press(key) for key in "/qx")
    assert view.filter == "qx" and view.hint().startswith("/qx_")
    view.press("backspace")
    view.press("enter")
    assert view.lets_through("Quiet") and not view.lets_through("web")
    assert view.press("q")
    view.press("escape")
    assert view.lets_through("web")


def test_without_a_keyboard_no_keys_are_promised() -> None:
    assert LiveView(keys=False).hint() == "Ctrl-C leaves"
