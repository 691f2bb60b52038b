"""A list that is watched shows what has changed, and nothing twice."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence

import pytest
from rich.console import Console

from fleetctl.outcome import Misuse, Unavailable
from fleetctl.tables.answer import ListAnswer
from fleetctl.tables.column import Column, Kind
from fleetctl.tables.formats import ListOptions
from fleetctl.terminal.list_watch import LiveList, watch_list

# Name, running VMs, and when it was heard.
Host = tuple[str, int, float]
COLUMNS: tuple[Column[Host], ...] = (
    Column("HOST", lambda one: one[0], Kind.NAME),
    Column("RUNNING", lambda one: one[1], Kind.NUMBER),
    Column("HEARD", lambda one: one[2], Kind.AGE),
)


def answer(rows: Sequence[Host]) -> ListAnswer[Host]:
    return ListAnswer(COLUMNS, rows, lambda: {"hosts": [one[0] for one in rows]}, "No hosts.")


def watched(looks: Sequence[Sequence[Host] | None], output: str = "table") -> None:
    """Looks one after the other, then Ctrl-C; None: nobody answers."""
    left = list(looks)

    def look() -> ListAnswer[Host]:
        rows = left.pop(0)
        if rows is None:
            raise Unavailable("no controller answers")
        return answer(rows)

    def pause(_: float) -> None:
        if not left:
            raise KeyboardInterrupt

    watch_list(look, ListOptions(output, columns=("host", "running")), pause)


Read = Callable[[], tuple[str, str]]


@pytest.fixture
def read(capsys: pytest.CaptureFixture[str]) -> Read:
    def both() -> tuple[str, str]:
        found = capsys.readouterr()
        return found.out, found.err

    return both


def test_rows_come_once_and_again_when_they_change(read: Read) -> None:
    watched([[("h1", 1, 0), ("h2", 2, 0)], [("h1", 1, 9), ("h2", 3, 9)], [("h2", 3, 20)]])
    out, err = read()
    assert out.splitlines() == ["HOST  RUNNING", "h1          1", "h2          2", "h2          3"]
    assert err == "no longer listed: h1\n"


def test_json_is_the_whole_list_on_one_line_each_time_it_changes(read: Read) -> None:
    watched([[], [], [("h1", 1, 0)], [("h1", 1, 5)], []], "json")
    assert [json.loads(line)["hosts"] for line in read()[0].splitlines()] == [[], ["h1"], []]


def test_names_and_csv_come_row_by_row(read: Read) -> None:
    looks = [[("h1", 1, 0.0)], [("h1", 2, 0.0)]]
    watched(looks, "csv")
    assert read()[0] == "host,running\nh1,1\nh1,2\n"


def test_a_list_of_nothing_says_so_and_goes_on(read: Read) -> None:
    watched([[], [("h1", 1, 0)]])
    assert read() == ("HOST  RUNNING\nh1          1\n", "No hosts.\n")


def test_while_nobody_answers_it_waits_and_says_so_once(read: Read) -> None:
    watched([[("h1", 1, 0)], None, None, [("h1", 1, 0)]])
    out, err = read()
    assert len(out.splitlines()) == 2
    assert err.count("no controller answers; still waiting") == 1
    assert err.endswith("the controller answers again\n")


def test_what_is_one_document_is_not_watched() -> None:
    with pytest.raises(Misuse, match="--watch prints as"):
        watched([[]], "yaml")


def test_on_a_terminal_as_much_is_drawn_as_there_are_lines() -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=60, height=8, force_terminal=True, color_system=None)
    screen: LiveList[Host] = LiveList(ListOptions(), console)
    screen.show(answer([(f"h{at}", at, 0.0) for at in range(10)]))
    console.print(screen._render())
    lines = shown.getvalue().splitlines()
    assert lines[0].split() == ["HOST", "RUNNING", "HEARD"]
    assert [line.split()[0] for line in lines[1:5]] == ["h0", "h1", "h2", "h3"]
    assert lines[5:] == ["and 6 more", "Ctrl-C leaves"]
