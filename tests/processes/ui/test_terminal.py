"""`fleetctl ui` as a process at a real terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.transport import Role
from tests.certificates import issue
from tests.doubles.filled_messages import answers, filled
from tests.processes.controller_double import IDENTITY, ControllerDouble
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.screen_terminal import ScreenTerminal
from tests.processes.small_cluster import SmallCluster

pytest_plugins = ["tests.processes.cluster_fixtures"]

NASTY = "a\n\r\x1b]0;b\x07\x1b[2J\u202e\u2028[red]c"


@pytest.fixture
def fleetctl(tmp_path: Path, cluster: SmallCluster) -> Fleetctl:
    return Fleetctl(
        tmp_path, (cluster.controller.address,), issue(tmp_path / "a", Role.OPERATOR, "alice")
    )


def at(
    fleetctl: Fleetctl, *arguments: str, columns: int = 80, lines: int = 24, **more: str
) -> ScreenTerminal:
    environment = {**os.environ, **fleetctl.environment, "NO_COLOR": "", **more}
    if not environment["NO_COLOR"]:
        del environment["NO_COLOR"]
    return ScreenTerminal(fleetctl.arguments("ui", *arguments), environment, columns, lines)


@pytest.fixture
def running(cluster: SmallCluster) -> Iterator[SmallCluster]:
    cluster.apply("spv")
    cluster.scale_and_wait(48)
    yield cluster


@pytest.mark.parametrize("leave", ["q", "\x03"])
def test_it_shows_the_cluster_is_resized_and_leaves_the_terminal_as_it_was(
    running: SmallCluster, fleetctl: Fleetctl, leave: str
) -> None:
    with at(fleetctl) as shown:
        shown.until_shown("48 of 48 VMs running", "golden@1")
        shown.press("3")
        shown.until_shown("spv-18 ", "1 of 48")
        shown.resize(120, 40)
        shown.until_shown("spv-34 ", "UUID")
        shown.resize(30, 5)
        shown.until_shown("too small")
        shown.resize(80, 24)
        shown.until_shown("spv-18 ")
        shown.press(leave)
        assert shown.ended() == 0
        # The other screen is left, and the cursor is seen again.
        assert b"\x1b[?1049l" in shown.seen
        assert shown.seen.rfind(b"\x1b[?25h") > shown.seen.rfind(b"\x1b[?25l")


def test_a_signal_that_ends_it_leaves_the_terminal_as_it_was(
    running: SmallCluster, fleetctl: Fleetctl
) -> None:
    with at(fleetctl) as shown:
        shown.until_shown("48 of 48 VMs running", "golden@1")
        shown.process.terminate()
        assert shown.ended() == 143
        assert b"\x1b[?1049l" in shown.seen


@pytest.mark.parametrize("command", ["watch", "top"])
def test_watch_and_top_take_keys_and_leave(
    running: SmallCluster, fleetctl: Fleetctl, command: str
) -> None:
    environment = {**os.environ, **fleetctl.environment}
    with ScreenTerminal(fleetctl.arguments(command), environment, 120, 12) as shown:
        shown.until_shown("48 VMs", "q leaves")
        shown.press(" ")
        shown.until_shown("paused: space goes on")
        shown.press(" /spv\r")
        shown.until_shown("/spv  ")
        if command == "top":
            shown.press("s")
            shown.until_shown("s sorts (memory)")
            shown.press("\x1b[6~")
            shown.until_shown(" of 48")
        shown.press("q")
        assert shown.ended() == 0


def test_a_console_has_the_terminal_until_it_is_left(
    running: SmallCluster, fleetctl: Fleetctl
) -> None:
    with at(fleetctl, "vms") as shown:
        shown.until_shown("1 of 48", "OK")
        shown.press("c")
        shown.until_shown("console of spv-0", "Ctrl-] leaves", "ready name=spv-0")
        shown.press("\x1d")
        shown.until_shown("console of spv-0 left")
        shown.press("j")
        shown.until_shown("2 of 48")
        shown.press("q")
        assert shown.ended() == 0


def test_without_colours_the_chosen_row_is_seen_all_the_same(
    running: SmallCluster, fleetctl: Fleetctl
) -> None:
    with at(fleetctl, "vms", NO_COLOR="1") as shown:
        shown.until_shown("1 of 48", "OK")
        row = next(at for at, line in enumerate(shown.screen.display) if line.startswith("spv-0 "))
        assert shown.screen.buffer[row][0].reverse
        assert not shown.screen.buffer[row + 1][0].reverse
        drawn = {one.fg for line in shown.screen.buffer.values() for one in line.values()}
        assert not drawn & {"red", "green", "brown", "blue", "cyan", "magenta"}


@pytest.mark.parametrize("terminal", ["dumb", ""])
def test_where_nothing_can_be_drawn_it_says_what_there_is_instead(
    fleetctl: Fleetctl, terminal: str
) -> None:
    said = fleetctl.process("ui")
    assert said.code == 2 and "ui needs a terminal" in said.err and "-o json" in said.err


def test_no_text_of_a_host_or_guest_steers_the_terminal(tmp_path: Path) -> None:
    with ControllerDouble() as double:
        for method in ("ListFleets", "ListHosts", "ListVms", "ListEvents", "Status", "GetHost"):
            answer = filled(answers()[method], NASTY)
            if method in ("ListVms",):
                answer.fleet.CopyFrom(IDENTITY)
            double.on(method, answer)
        fleetctl = Fleetctl(
            tmp_path, (double.endpoint,), issue(tmp_path / "a", Role.OPERATOR, "alice")
        )
        with at(fleetctl, "hosts", columns=200, lines=50) as shown:
            shown.until_shown("\\x1b]0;b\\x07\\x1b[2J\\u202e\\u2028[red]c")
            for pane in "13452":
                shown.press(pane)
                shown.until_shown("[red]c")
            shown.press("\r")
            shown.until_shown("enter leaves", "[red]c")
            shown.press("q")
            shown.press("q")
            shown.ended()
        for forbidden in (b"\x1b]0;b", b"\xe2\x80\xae", b"\xe2\x80\xa8"):
            assert forbidden not in shown.seen
