"""Releases of an agent as words: all that a controller may say of what an agent is to become."""

from __future__ import annotations

import re
from functools import lru_cache

# It becomes a word of a command on the host: nothing that a shell, apt or a path would take for
# more than a number.
RELEASE = re.compile(r"[0-9][0-9A-Za-z.+]{0,39}")
_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)*")


@lru_cache(maxsize=256)  # of thousands of hosts, a few
def is_newer(version: str, than: str) -> bool:
    """Whether it is surely a later release: by its numbers alone, which both must begin with."""
    found, other = _NUMBERS.match(version), _NUMBERS.match(than)
    if not found or not other:
        return False
    return _numbers(found[0]) > _numbers(other[0])


def _numbers(text: str) -> list[int]:
    """Without zeros at the end: 1.0 is 1."""
    numbers = [int(one) for one in text[:60].split(".")]
    while numbers and not numbers[-1]:
        numbers.pop()
    return numbers
