"""What may have been meant by a name that is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

# Of difflib's likeness: hots and hosts have 0.89, --stat and --sort 0.83 with their dashes.
LIKENESS = 0.7


def meant(typed: str, known: Iterable[str]) -> list[str]:
    """Those that begin so, else those that are written alike; the likeliest first, three at
    most."""
    bare = typed.lstrip("-")
    names = {one.lstrip("-"): one for one in known if len(one.lstrip("-")) > 1}
    if len(bare) < 2:
        return []
    beginning = sorted(name for name in names if name.startswith(bare))
    return [names[one] for one in (beginning or get_close_matches(bare, names, 3, LIKENESS))[:3]]


def suggestion(names: Sequence[str]) -> str:
    """A question to put behind a sentence; empty where nothing is like it."""
    return f" Did you mean {' or '.join(map(repr, names))}?" if names else ""
