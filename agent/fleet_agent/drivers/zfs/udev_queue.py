"""udev's queue of events, held for as long as many volumes are being made.

For each new volume udev starts a worker that runs all rules, opens the device and a program that
opens it again, under locks of the kernel that cloning needs too: on a busy dom0 half of a clone's
time. While the queue is held events wait and none is lost; the links that the agent waits for it
makes itself.

A host must never be left with its queue held. So a child holds it, and lets go when its input
ends, which an agent that dies cannot prevent, and at the latest after LONGEST seconds. Where the
child is killed as well, the agent's unit lets go (ExecStopPost).
"""

from __future__ import annotations

import asyncio
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

# Other devices of the host wait as long: udev itself gives one event 180 s.
LONGEST = 30
# Starting and ending the child costs as much as a few clones.
FEWEST = 16
# udevadm answers at once where a udevd runs.
_ANSWER_SECONDS = 10.0

_HOLD = """
trap "" PIPE TERM INT HUP
udevadm control --stop-exec-queue || exit 1
echo held
timeout "$1" cat > /dev/null
udevadm control --start-exec-queue
"""


class UdevQueue:
    """For one event loop. Where there is no udev, or none that obeys, nothing is held."""

    def __init__(self, longest: int = LONGEST, fewest: int = FEWEST) -> None:
        """`longest`: seconds; `fewest`: volumes for which it is worth it."""
        self._longest = longest
        self._fewest = fewest
        self._users = 0
        self._turn = asyncio.Lock()
        self._holder: Process | None = None

    @asynccontextmanager
    async def held(self, volumes: int) -> AsyncIterator[None]:
        """Held while anybody is inside, when so many volumes are made."""
        if volumes < self._fewest:
            yield
            return
        self._users += 1
        try:
            async with self._turn:
                if self._holder is None:
                    await self._hold()
            yield
        finally:
            self._users -= 1
            if not self._users:
                await self._let_go()

    async def _hold(self) -> None:
        with suppress(OSError, TimeoutError):
            self._holder = await asyncio.create_subprocess_exec(
                "sh", "-c", _HOLD, "hold", str(self._longest),
                stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True,
            )  # fmt: skip
            assert self._holder.stdout is not None
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._holder.stdout.readline()

    async def _let_go(self) -> None:
        holder, self._holder = self._holder, None
        if holder is None or holder.stdin is None:
            return
        holder.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANSWER_SECONDS):
                await holder.wait()
