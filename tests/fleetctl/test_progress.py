"""How a change that is waited for is shown, and what else goes on."""

from __future__ import annotations

import pytest
from rich.console import Console

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import counted, duration, pace_text
from fleetctl.tables.listing import table
from fleetctl.terminal.live_status import LiveScale, LiveStatus, shares
from fleetctl.terminal.progress_line import ProgressLine
from fleetctl.terminal.progress_viewers import ProgressLines, change_text
from fleetctl.views.fleets.rollouts import rollout_text
from fleetctl.views.hosts.drains import drain_question
from fleetctl.waiting_note import WaitingNote
from megafleet.progress import ChangeProgress
from tests.processes.controller_double import status


def test_a_line_for_those_without_a_terminal() -> None:
    progress = ChangeProgress(started=0.0)
    first = status(running=0)
    progress.record(first.fleets[0], 1.0)
    last = status(running=400, failed=3)
    progress.record(last.fleets[0], 2.0)
    assert change_text(last, progress, 2.0) == (
        " 2.0 s   40.0%, 400 of 1,000 running, 400 VMs/s, hosts ready 4 of 4, 3 VMs failed, "
        "about 1.5 s left"
    )


def test_a_line_names_the_reasons_of_what_has_failed() -> None:
    seen = status(running=400, failed=3)
    for kind, count in (("driver", 1), ("no_memory", 3)):
        seen.fleets[0].problems.add(kind=kind, count=count, hosts=1, example=f"h1: \x1b{kind}")
    progress = ChangeProgress(started=0.0)
    progress.record(seen.fleets[0], 1.0)
    text = change_text(seen, progress, 1.0)
    assert "3 VMs failed, no_memory: 3 VMs on 1 host: h1: \\x1bno_memory; driver: 1 VM on" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (59.6, "1:00"), (187, "3:07"),
     (7380, "2:03:00")],
)  # fmt: skip
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_and_tables_are_for_people() -> None:
    assert counted(1, "host") == "1 host" and counted(4480, "host") == "4,480 hosts"
    assert table(("NAME", "VMS"), [("a", 1000), ("long\x1b", 5)]) == (
        "NAME        VMS\na         1,000\nlong\\x1b      5"
    )
    assert table(("NAME", "VMS"), []) == "NAME  VMS"


def test_a_bar_is_never_longer_than_it_is() -> None:
    counts = dict.fromkeys(
        ("pending", "cloning", "defined", "booting", "running", "stopping", "failed", "unknown"), 1
    )
    for whole in (8, 9, 1000):
        for width in (1, 7, 100):
            assert 0 <= sum(shares(counts, whole, width).values()) <= width
    assert shares(counts | {"running": 93}, 100, 100)["running"] == 93


def drawn(width: int, *seen: cluster.StatusResponse) -> str:
    console = Console(width=width, record=True, force_terminal=True, height=30)
    progress = ChangeProgress(started=0.0, work=1000)
    with LiveScale(console) as live:
        for at, one in enumerate(seen):
            progress.record(one.fleets[0], float(at))
            live.show(one, progress, float(at))
        live.unreachable("cannot reach the controller")
    return console.export_text()


def test_the_live_display_shows_counts_pace_and_trouble() -> None:
    going = status(running=400, failed=4)
    going.fleets[0].problems.add(kind="no_memory", count=4, hosts=1, example="h1\x1b: no memory")
    text = drawn(100, status(running=0), going)
    assert "spv  1,000 VMs wanted" in text and "40.0%" in text
    assert "running        400" in text and "failed           4" in text
    assert "400 VMs/s  hosts ready 4 of 4" in text and "ends in about 1.5 s" in text
    assert "! no_memory: 4 VMs on 1 host: h1\\x1b: no memory" in text
    assert "cannot reach the controller; still waiting" in text


def test_the_live_display_fits_a_narrow_terminal() -> None:
    for width in (20, 40, 80):
        text = drawn(width, status(running=400))
        assert max(map(len, text.split("\n"))) <= width
    assert "booting" in text and "…" not in text


def test_watch_shows_fleets_and_hosts() -> None:
    console = Console(width=100, record=True, force_terminal=True, height=30)
    shown = LiveStatus(console)
    with shown.live:
        shown.show(status(running=400))
    text = console.export_text()
    assert "converging" in text and "4 live   4 ready" in text


def test_watch_in_a_narrow_terminal_hides_neither_counts_nor_what_to_do() -> None:
    console = Console(width=60, record=True, force_terminal=True, height=30)
    shown = LiveStatus(console)
    seen = status(running=400)
    seen.fleets[0].states[8] = 600
    seen.hosts.lost, seen.hosts.quarantined = 7, 3
    seen.breaker.reason = "12 of 20 hosts of rack=r01 are gone, and that is more than half of it"
    seen.freeze.reason = "older"
    with shown.live:
        shown.show(seen)
    text = console.export_text()
    assert "unknown        600" in text and "7 lost" in text and "3 quarantined" in text
    assert "of it" in text and "recover --plan" in " ".join(text.split())
    assert "…" not in text and max(map(len, text.split("\n"))) <= 60


def test_watch_shows_what_states_do_not_tell_and_a_rollout_that_is_not_over() -> None:
    console = Console(width=100, record=True, force_terminal=True, height=30)
    shown = LiveStatus(console)
    seen = status(running=400)
    fleet = seen.fleets[0]
    fleet.powered_off, fleet.duplicates = 5, 3
    fleet.rollout.MergeFrom(rollout("paused", done=10, left=30))
    seen.hosts.draining = 2
    with shown.live:
        shown.show(seen)
    text = console.export_text()
    assert "5 stopped, 3 may run twice" in text
    assert "rollout generation 1 -> 2, paused: 10 done, 30 left" in text
    assert "2 draining" in text and "quarantined" not in text


def test_a_rollout_that_is_over_counts_vms_that_do_not_run_just_now() -> None:
    over = rollout("done", done=6, changing=3, failed=1)
    assert rollout_text(over) == "generation 1 -> 2, done: 10 VMs, 1 failed"


def rollout(
    state: str, done: int, left: int = 0, changing: int = 0, failed: int = 0
) -> cluster.RolloutStatus:
    return cluster.RolloutStatus(
        from_generation=1, to_generation=2, state=state,
        done=done, left=left, changing=changing, failed=failed,
    )  # fmt: skip


def test_a_late_answer_is_told_of_and_then_wiped_away(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = ""
    with WaitingNote("waiting for a controller to answer", 0.0, shown=True):
        while "waiting" not in told:
            told += capsys.readouterr().err
    assert told.startswith("\rwaiting for a controller to answer ... 0 s")
    assert capsys.readouterr().err.endswith("\r") and "\n" not in told


def test_an_answer_in_time_is_not_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    for seconds, shown in ((60.0, True), (0.0, False)):
        with WaitingNote("waiting", seconds, shown) as waiting:
            waiting.close()
    assert capsys.readouterr().err == ""


def test_a_drain_asks_about_what_would_move_and_what_would_not() -> None:
    asked = drain_question("h1", cluster.DrainProgress(moved=1, unplaced=2))
    assert asked.startswith("Move 1 VM off h1, and 2 fit nowhere and stay? Their disks")
    assert drain_question("h1", cluster.DrainProgress()).startswith("Place no more VMs on h1?")


@pytest.mark.parametrize(
    ("pace", "text"),
    [(0, "0 VMs/s"), (20 / 34, "35.3 VMs/min"), (5.88, "5.9 VMs/s"), (1260.4, "1,260 VMs/s")],
)
def test_what_is_slow_is_not_told_as_nothing(pace: float, text: str) -> None:
    assert pace_text(pace) == text


def test_off_a_terminal_a_line_comes_for_a_change_and_seldom_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, progress = ProgressLines(0.0), ChangeProgress(0.0)
    stuck = status(running=400)
    stuck.fleets[0].unplaced_reasons.add(reason="no_capacity", count=3, message="3 VMs fit nowhere")
    for second in range(600):  # ten minutes in which nothing happens
        lines.show(stuck, progress, float(second))
    (only,) = capsys.readouterr().out.splitlines()
    assert only.endswith("3 VMs fit nowhere")
    for second in range(600, 660):  # a minute with a change each second
        lines.show(status(running=second), progress, float(second))
    assert len(capsys.readouterr().out.splitlines()) == 6


def test_a_sentence_of_progress_is_whole_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    line = ProgressLine(terminal=True)
    line.show("spv: generation 1 -> 2, running: 5 done; h1 is full")
    line.show("spv: done")
    line.end()
    assert capsys.readouterr().out == (
        "\r\x1b[Jspv: generation 1 -> 2,\n  running: 5 done; h1 is full"
        "\r\x1b[1A\x1b[Jspv: done"
        "\r\x1b[J"
    )
