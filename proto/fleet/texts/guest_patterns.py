"""Patterns that guests' texts are matched against: RE2's regular expressions.

A guest prints what it likes, so a search must take time linear in the text, whatever the pattern.
RE2 does (https://github.com/google/re2/wiki/Syntax), at the price of look-around and of
back-references.
"""

from __future__ import annotations

from typing import Any, Protocol, cast


class BadPattern(ValueError):
    """It is no regular expression of RE2's; a few words say why."""


class GuestPattern(Protocol):
    """A pattern that was compiled."""

    def search(self, text: str) -> object | None:
        """What was found, or None. In time linear in the text."""


def guest_pattern(text: str) -> GuestPattern:
    """Raises BadPattern."""
    # Late: most who know the wire never match anything.
    import re2

    binding = cast(Any, re2)
    options = binding.Options()
    options.log_errors = False
    try:
        return cast(GuestPattern, binding.compile(text, options))
    except binding.error as error:
        said = error.args[0] if error.args else ""
        words = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        raise BadPattern(words or "it cannot be compiled") from error
