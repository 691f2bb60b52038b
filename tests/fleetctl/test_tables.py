"""How lists fit a width, and what formats they are printed in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetctl.outcome import Misuse
from fleetctl.output import ago, painted
from fleetctl.tables.answer import ListAnswer
from fleetctl.tables.column import Column, Kind
from fleetctl.tables.formats import ListOptions
from fleetctl.tables.layout import MORE, Shape, fitted, lines, shortened
from fleetctl.tables.listing import Listing, natural_order, say_list, table
from tests.doubles.filled_messages import NASTY

NOW = 1_800_000_000.0


@dataclass(frozen=True)
class Vm:
    name: str
    memory: int
    since: float | None
    reason: str = ""


VMS = (
    Vm("spv-10", 1 << 30, NOW - 300, "no memory for 16 MiB: the host has 3 of 250 left"),
    Vm("spv-2", 16 << 20, None),
)
COLUMNS: tuple[Column[Vm], ...] = (
    Column("NAME", lambda one: one.name, Kind.NAME),
    Column("MEMORY", lambda one: one.memory, Kind.BYTES, rank=2),
    Column("FAILED AT", lambda one: one.since, Kind.AGE, rank=3),
    Column("REASON", lambda one: one.reason, rank=1),
    Column("TWICE", lambda one: 2 * one.memory, Kind.NUMBER, rank=20, spare=True),
)


def shown(width: int | None, rows: Sequence[Vm] = VMS, **options: object) -> list[str]:
    wanted = ListOptions(**options)  # type: ignore[arg-type]
    listing = Listing(COLUMNS, wanted, width=width, clock=lambda: NOW)
    return list(listing.text(listing.sorted(rows)))


def test_numbers_stand_to_the_right_and_ages_are_told_in_words() -> None:
    assert shown(None) == [
        "NAME     MEMORY  FAILED AT  REASON",
        "spv-10  1.0 GiB  5 m ago    no memory for 16 MiB: the host has 3 of 250 left",
        "spv-2    16 MiB  -",
    ]  # fmt: skip


def test_width_to_spare_is_used() -> None:
    assert "TWICE" in shown(200)[0] and "TWICE" not in shown(80)[0]
    assert shown(200)[1].endswith("2,147,483,648")


def test_texts_are_shortened_between_words_and_then_columns_go_by_rank() -> None:
    assert shown(70)[1] == "spv-10  1.0 GiB  5 m ago    no memory for 16 MiB: the host has 3 of..."
    assert shown(50)[0] == "NAME     MEMORY  REASON"
    assert shown(42) == [
        "NAME    REASON",
        "spv-10  no memory for 16 MiB: the host...",
        "spv-2",
    ]  # fmt: skip
    assert shown(30) == ["NAME", "spv-10", "spv-2"]
    assert shown(10)[1] == "spv-10"


def test_columns_without_anything_to_show_are_left_out() -> None:
    assert shown(None, VMS[1:]) == ["NAME   MEMORY", "spv-2  16 MiB"]


def test_a_text_is_never_cut_within_a_word() -> None:
    assert shortened("one two three", 13) == "one two three"
    assert shortened("one two three", 12) == "one two..."
    assert shortened("one two, three", 11) == "one two..."
    assert shortened("immeasurable", 8) == MORE
    assert shortened("日本 語", 6) == "..."  # each takes two cells


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.booleans(), st.booleans()), min_size=1, max_size=8
    ),
    st.lists(st.lists(st.from_regex(r"[a-z]{0,9}( [a-z]{1,9}){0,4}", fullmatch=True), min_size=8),
             min_size=1, max_size=3),
    st.integers(1, 120),
)  # fmt: skip
def test_what_may_go_or_be_shortened_makes_any_list_fit(
    kinds: list[tuple[int, bool, bool]], rows: list[list[str]], width: int
) -> None:
    shapes = [
        Shape("HEAD", rank, may_be_shortened=text, spare=spare) for rank, text, spare in kinds
    ]
    cells = [[row[at] for row in rows] for at in range(len(shapes))]
    layout = fitted(shapes, cells, width)
    words = {word for column in cells for cell in column for word in cell.split()}
    for padded in lines(shapes, cells, layout):
        line = "  ".join(padded)
        must_stay = [at for at in layout.kept if shapes[at].rank == 0 and not shapes[at].spare]
        assert len(line) <= width or len(must_stay) == len(layout.kept)
        for cell in padded:
            assert all(word.removesuffix(MORE) in words | {""} for word in cell.split())


def test_ages_are_short() -> None:
    seconds = (0, 12, 300, 7199, 7200, 172_800, -5)
    assert [ago(one) for one in seconds] == [
        "0 s ago", "12 s ago", "5 m ago", "119 m ago", "2 h ago", "2 d ago", "0 s ago",
    ]  # fmt: skip


def test_wide_has_all_columns_and_whole_moments() -> None:
    head, first, _ = shown(20, output="wide")
    assert head.split() == ["NAME", "MEMORY", "FAILED", "AT", "REASON", "TWICE"]
    assert "2027-01-15" in first and "250 left" in first
    assert first.split()[4][-6] in "+-"  # the zone


def test_csv_has_bare_numbers_and_moments_with_zone() -> None:
    head, body = "\n".join(shown(20, output="csv")).split("\n", 1)
    assert head == "name,memory,failed_at,reason,twice"
    assert "spv-10,1073741824,2027-01-15T" in body and "spv-2,16777216,,,33554432" in body


def test_names_alone_are_for_the_next_command() -> None:
    assert shown(20, output="name", sort="name") == ["spv-2", "spv-10"]


def test_columns_are_chosen_by_name_and_rows_without_headers() -> None:
    assert shown(20, columns=("failed-at", "Name"), headers=False) == [
        "5 m ago    spv-10",
        "-          spv-2",
    ]
    with pytest.raises(Misuse, match="no column 'x'; there are name, memory, failed_at, reason"):
        shown(20, columns=("x",))


@pytest.mark.parametrize(
    ("sort", "first"),
    [("name", "spv-2"), ("-name", "spv-10"), ("memory", "spv-2"), ("-failed_at", "spv-10"),
     ("failed_at", "spv-10")],
)  # fmt: skip
def test_a_list_is_sorted_by_a_column_what_has_nothing_last(sort: str, first: str) -> None:
    assert shown(None, sort=sort)[1].startswith(first)


def test_numbers_in_names_count_as_numbers() -> None:
    names = ["h10", "h2", "h2a", "x", "2"]
    assert sorted(names, key=natural_order) == ["2", "h2", "h2a", "h10", "x"]


DOCUMENT = {"vms": [{"name": "spv-2", "since": None}, {"name": "spv-10", "since": 5}]}


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("json", json.dumps(DOCUMENT, indent=2)),
        ("yaml", "vms:\n- name: spv-2\n  since: null\n- name: spv-10\n  since: 5"),
        ("jsonpath=$.vms[*].name", "spv-2\nspv-10"),
        ("jsonpath={.vms[*].name}", "spv-2\nspv-10"),
        ("jsonpath=vms[0]", '{"name": "spv-2", "since": null}'),
        ("jsonpath=$.vms[?@.since > 3].name", "spv-10"),
    ],
)
def test_the_document_of_json_is_there_as_yaml_and_by_expression(
    output: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    say_list(ListAnswer(COLUMNS, VMS, lambda: DOCUMENT, "none"), ListOptions(output))
    assert capsys.readouterr().out == expected + "\n"


def test_an_expression_that_is_none_is_told_of() -> None:
    with pytest.raises(Misuse, match="is no JSONPath"):
        say_list(ListAnswer(COLUMNS, VMS, lambda: DOCUMENT, "none"), ListOptions("jsonpath=$.["))


def test_a_header_comes_once_and_again_where_columns_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listing = Listing(COLUMNS, width=None, clock=lambda: NOW)
    for rows in (VMS[1:], VMS[1:], VMS):
        listing.say(rows)
    firsts = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert firsts == ["NAME", "spv-2", "spv-2", "NAME", "spv-10", "spv-2"]


def test_a_table_within_a_text_fits_too() -> None:
    text = table(
        ("KIND", "VMS", "EXAMPLE"), [("no_space", 1200, "the pool is full of it")], "  ", 32
    )
    assert text == "  KIND        VMS  EXAMPLE\n  no_space  1,200  the pool..."
    assert max(map(len, text.split("\n"))) <= 32


def test_a_name_that_several_rows_have_is_printed_once() -> None:
    column: Column[str] = Column("IMAGE", lambda one: one, Kind.NAME)
    listing = Listing((column,), ListOptions("name"))
    assert list(listing.text(["golden@1", "golden@1", "rootfs@2"])) == ["golden@1", "rootfs@2"]


def test_values_are_painted_by_their_labels_and_nothing_else_is() -> None:
    text = "host      h1\nhealth    live\n\nproblems:\n  healthy  x"
    assert painted(text, {"health": "green", "host": None}) == text.replace(
        "live", "\x1b[32mlive\x1b[0m"
    )


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_a_cell_is_one_line_whoever_filled_it(text: str) -> None:
    shown = table(("HOST", "LABELS"), [(text, text), ("h", "l")])
    assert len(shown.splitlines()) == 3
    assert all(line.isprintable() for line in shown.split("\n"))
