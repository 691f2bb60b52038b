"""The one string by which a machine joins."""

from __future__ import annotations

import pytest

from fleet.certificates.join_token import BadToken, JoinToken, token_id
from tests.doubles.joining_hosts import a_token


def test_a_token_is_read_back_as_it_was_written() -> None:
    token = a_token()
    assert JoinToken.parse(f"  {token.text}\n") == token
    assert token.text.isascii() and token.text == token.text.lower() and len(token.text) == 99
    assert not set(token.text) - set("abcdefghijklmnopqrstuvwxyz0123456789."), "no quotes needed"


def test_it_is_shown_without_its_secret() -> None:
    assert repr(a_token()) == "JoinToken(abcd2345)"


def test_ids_are_as_tokens_have_them() -> None:
    made = token_id(bytes(5))
    assert JoinToken.parse(JoinToken(made, bytes(20), bytes(32)).text).id == made


@pytest.mark.parametrize("text", ["", "mft1", "mft2.a.b.c", a_token().text[:-1], "x" * 100_000])
def test_what_is_no_token_is_told_without_repeating_it(text: str) -> None:
    with pytest.raises(BadToken) as bad:
        JoinToken.parse(text)
    assert str(bad.value).startswith("this is no token: one begins with 'mft1.'")
