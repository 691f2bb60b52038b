"""What hosts and guests call things can neither forge a line nor steer a terminal."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import Descriptor

from megafleet.connection.plain_texts import plain
from megafleet.texts import one_line
from tests.doubles.filled_messages import NASTY, answers, filled, texts


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
