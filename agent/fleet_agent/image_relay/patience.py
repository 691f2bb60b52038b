"""How long a source is waited for: it may be silent for a while, and without a chunk for another.

Who waits for chunks itself says that more will come. A source that said this for ever would keep
its reader, and all below it, from ever asking anybody else: only a chunk proves that it gives.
"""

from __future__ import annotations

import asyncio
import math

# A source that has sent nothing for so long, not even that it waits itself, is gone.
SILENCE_SECONDS = 30.0


class Patience:
    """With one source, as the deadline of whatever is awaited of it."""

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline
        self._since: float | None = None  # when it gave the last chunk, or began to answer
        self._most = 0.0
        self._starved = False

    def asked(self) -> None:
        """A call to it begins. It has to find out that it may answer: until its first word nothing
        counts but its silence."""
        self._since, self._starved = None, False
        self._deadline.reschedule(_now() + SILENCE_SECONDS)

    def rest(self) -> None:
        """What it sent is looked at: that time is not the source's."""
        self._deadline.reschedule(None)

    def heard(self, seconds: float, *, chunk: bool) -> None:
        """It has said something. `seconds`: how long it may give no chunk, as is known by now; 0:
        for ever. A bound that shrinks counts from the next chunk on: what the source has under way
        may be paced as it was before."""
        now, seconds = _now(), seconds or math.inf
        if chunk or self._since is None:
            self._since, self._most = now, seconds
        self._most = max(self._most, seconds)
        silent, starved = now + SILENCE_SECONDS, self._since + self._most
        self._starved = starved < silent
        self._deadline.reschedule(min(silent, starved))

    @property
    def why(self) -> str:
        """What the source has not done by the deadline."""
        if self._starved:
            return f"gave no chunk for {self._most:.0f} s, and said that more would come"
        return f"sent nothing for {SILENCE_SECONDS:.0f} s"


def _now() -> float:
    return asyncio.get_running_loop().time()
