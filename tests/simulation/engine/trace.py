"""What has happened in a simulated world: a digest of all of it, and its last lines for people."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable

KEPT = 4_000
# Ends a play: which rule is broken, and how.
Fail = Callable[[str, str], None]


class Trace:
    """`clock` gives the world's seconds; lines say them from the world's beginning."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began = clock()
        self._hash = hashlib.blake2b(digest_size=16)
        self.lines: deque[tuple[float, str, str]] = deque(maxlen=KEPT)
        self.count = 0

    def add(self, kind: str, text: str) -> None:
        """`kind` is a word by which lines are chosen."""
        now = self._clock() - self._began
        self._hash.update(f"{now:.9f} {kind} {text}\n".encode())
        self.lines.append((now, kind, text))
        self.count += 1

    def digest(self) -> str:
        return self._hash.hexdigest()

    def tail(self, most: int) -> list[str]:
        """The newest lines, oldest first."""
        return [f"{now:9.3f}  {kind:<10} {text}" for now, kind, text in list(self.lines)[-most:]]
