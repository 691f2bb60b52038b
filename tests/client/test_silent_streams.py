"""A call that falls silent is left, though nobody ever tells its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from megafleet.connection.calls.silent_streams import StreamedAnswers, StreamSilent


def test_answers_come_in_order_and_then_their_end() -> None:
    assert list(StreamedAnswers(iter([1, 2, 3]), 10)) == [1, 2, 3]


def test_an_error_comes_after_what_was_answered_before_it() -> None:
    def call() -> Iterator[int]:
        yield 1
        raise ValueError("it broke")

    answers = iter(StreamedAnswers(call(), 10))
    assert next(answers) == 1
    with pytest.raises(ValueError, match="it broke"):
        next(answers)


def test_a_call_whose_end_is_never_told_is_left() -> None:
    over = threading.Event()

    def call() -> Iterator[int]:
        yield 1
        over.wait()

    answers = iter(StreamedAnswers(call(), 0.05))
    assert next(answers) == 1
    with pytest.raises(StreamSilent):
        next(answers)
    over.set()
