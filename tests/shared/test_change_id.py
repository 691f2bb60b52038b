"""Ids of changes: made by fleetctl, claimed by whoever calls."""

from __future__ import annotations

import os

import pytest

from fleet.changes.change_id import change_id_or_none, format_change_id, is_change_id


def test_what_is_made_is_an_id() -> None:
    made = format_change_id(os.urandom(6))
    assert is_change_id(made) and len(made) == 12 and change_id_or_none(made) == made


@pytest.mark.parametrize(
    "text", ["", "A", "a" * 41, "-a", "a\n", "a b", "ä", "a_b", "\x1b[2J", "a/b", "a\x00"]
)
def test_what_is_none_is_none(text: str) -> None:
    assert not is_change_id(text) and change_id_or_none(text) == ""
