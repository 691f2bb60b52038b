"""Patterns that guests' texts are matched against take time linear in the text."""

from __future__ import annotations

import time

import pytest

from fleet.texts.guest_patterns import BadPattern, guest_pattern


@pytest.mark.parametrize("pattern", ["a*a*a*a*a*a*b", "(a+)+$b", "(a|aa)+b", "(.*)*(.*)*b"])
def test_no_pattern_takes_for_ever_on_an_unlucky_console(pattern: str) -> None:
    compiled = guest_pattern(pattern)
    began = time.process_time()
    assert compiled.search("a" * 2000) is None
    assert time.process_time() - began < 1.0  # a backtracking engine takes 6 s, or for ever


@pytest.mark.parametrize("pattern", ["(", "(?=a)b", r"(a)\1", "a{1001}", "[z-a]", r"\8"])
def test_what_cannot_be_compiled_is_refused_in_words(
    pattern: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadPattern) as refused:
        guest_pattern(pattern)
    assert str(refused.value)
    assert capfd.readouterr().err == "", "the engine's own log says nothing"
