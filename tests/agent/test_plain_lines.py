"""What a guest printed, as a person would read it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_agent.core.plain_lines import plain_lines


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        ("", [""]),
        ("a\r\nb\nc", ["a", "b", "c"]),
        ("a\r\r\nb\n", ["a", "b", ""]),
        ("a\r\rb\r", ["a", "", "b", ""]),
        ("10 %\r20 %\rdone", ["10 %", "20 %", "done"]),
        ("[\x1b[0;32m  OK  \x1b[0m] up", ["[  OK  ] up"]),
        ("\x1b[2J\x1b[1;1H\x1b[?25lGRUB", ["GRUB"]),
        ("\x1b]0;root@vm: ~\x07# ", ["# "]),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", ["link"]),
        ("\x1bP1$r0m\x1b\\after", ["after"]),
        ("\x1b(B\x1b7text\x1b8", ["text"]),
        ("\x9b31mred", ["red"]),
        ("bell\x07 back\x08 null\x00", ["bell back null"]),
        ("tab\tstays", ["tab\tstays"]),
        ("cut off \x1b[3", ["cut off "]),
        ("\x1b]0;a title that never ends\nnext", ["", "next"]),
    ],
)
def test_lines_without_escape_sequences(printed: str, lines: list[str]) -> None:
    assert plain_lines(printed) == lines


@given(st.text(alphabet="\x1b[]P0;m\x07\\\r\na\x9b\t", max_size=60))
def test_nothing_that_steers_a_terminal_is_left(printed: str) -> None:
    left = "".join(plain_lines(printed))
    assert all(one.isprintable() or one == "\t" for one in left)


@pytest.mark.parametrize("piece", ["\x1b]", "\x1b[", "\x1bP", "\x1b[0;", "\r", "\x1b "])
def test_no_text_takes_for_ever(piece: str) -> None:
    began = time.process_time()
    plain_lines(piece * 1_000_000)
    assert time.process_time() - began < 20.0  # what takes the square of the length takes minutes
