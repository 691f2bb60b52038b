"""What hosts and guests call things can neither forge a line nor steer a terminal."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor

from fleetctl.outcome import one_line
from fleetctl.tables.listing import table
from megafleet.connection.plain_texts import plain
from tests.doubles.filled_messages import answers, filled, texts

# A line's end, a carriage's return, a window's title, a cleared screen, text that is read from
# right to left, a line's end of Unicode's, and CSI as one character.
NASTY = ("a\nb", "a\rb", "a\x1b]0;b\x07", "a\x1b[2Jb", "a\u202eb", "a\u2028b", "a\x9b2Jb", "a\tb")


@pytest.mark.parametrize("text", NASTY, ids=ascii)
@pytest.mark.parametrize("answer", answers().values(), ids=answers())
def test_every_text_of_every_answer_is_one_printable_line(answer: Descriptor, text: str) -> None:
    said = filled(answer, text)
    before = list(texts(said))
    after = list(texts(plain(said)))
    assert [name for name, _ in after] == [name for name, _ in before]
    for name, shown in after:
        assert shown == one_line(text) or name == "LimitVerdict.change"
        assert all(line.isprintable() for line in shown.split("\n"))


def test_what_is_printable_stays_as_it_is() -> None:
    answer = answers()["GetHost"]
    assert plain(filled(answer, "größer 大")) == filled(answer, "größer 大")


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_a_cell_is_one_line_whoever_filled_it(text: str) -> None:
    shown = table(("HOST", "LABELS"), [(text, text), ("h", "l")])
    assert len(shown.splitlines()) == 3
    assert all(line.isprintable() for line in shown.split("\n"))
