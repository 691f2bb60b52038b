"""Controllers that stand by, as the leader asks them: which hosts do they reach?

The leader waits for no answer longer than it says, and nobody need answer: a standby that cannot be
asked is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Protocol

# Without a question so much is said all the same, as the contract has it: gRPC does not tell the
# end of every call.
SIGN_OF_LIFE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host is dialled."""

    host: str
    address: str


class Standbys(Protocol):
    """All that are at hand."""

    async def reach(self, places: Collection[Place], seconds: float) -> Mapping[str, str]:
        """Of these hosts those that a standby reaches, each with the name of that replica; after
        at most `seconds`. Sooner when all is known. Raises nothing: hosts that nobody was asked
        about in time are not in it."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which of these are there? Without places: a sign of life. `number`: unlike any other's."""

    number: int
    places: tuple[Place, ...]


class Standby:
    """One that is at hand: what it is to be asked, in order, and what it has answered."""

    def __init__(self, name: str, address: str = "", join_address: str = "") -> None:
        """`address`, `join_address`: where others reach it, and where hosts join; empty: nowhere,
        or it does not say."""
        self.name = name
        self.address = address
        self.join_address = join_address
        self._questions: asyncio.Queue[Question | None] = asyncio.Queue()
        self._numbers = count(1)
        self._open: dict[int, asyncio.Future[frozenset[str]]] = {}

    async def ask(self, places: Collection[Place]) -> frozenset[str]:
        """The hosts it reaches. Waits until it has answered."""
        number = next(self._numbers)
        answer: asyncio.Future[frozenset[str]] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        self._questions.put_nowait(Question(number, tuple(places)))
        try:
            return await answer
        finally:
            del self._open[number]

    def answered(self, number: int, reached: Collection[str]) -> None:
        """An answer that nobody waits for any longer says nothing."""
        answer = self._open.get(number)
        if answer is not None and not answer.done():
            answer.set_result(frozenset(reached))

    async def next_question(self, seconds: float) -> Question | None:
        """One without places after so many seconds without another; None: nothing more is asked."""
        try:
            async with asyncio.timeout(seconds):
                return await self._questions.get()
        except TimeoutError:
            return Question(next(self._numbers), ())

    def dismiss(self) -> None:
        """Ask it nothing more."""
        self._questions.put_nowait(None)


class AtHand:
    """The standbys that have made themselves known to this replica, each for as long as its call
    lasts. Kept over leaderships: who is here when this replica leads again is asked again."""

    def __init__(self) -> None:
        self._standbys: dict[Standby, None] = {}

    @property
    def names(self) -> list[str]:
        return sorted(one.name for one in self._standbys)

    @property
    def addresses(self) -> list[str]:
        """Where they serve, as far as they say so."""
        return sorted({one.address for one in self._standbys if one.address})

    @property
    def join_addresses(self) -> list[str]:
        """Where hosts join at them."""
        return sorted({one.join_address for one in self._standbys if one.join_address})

    @contextmanager
    def joined(self, name: str, address: str = "", join_address: str = "") -> Iterator[Standby]:
        """At hand within the context."""
        standby = Standby(name, address, join_address)
        self._standbys[standby] = None
        try:
            yield standby
        finally:
            del self._standbys[standby]

    async def reach(self, places: Collection[Place], seconds: float) -> dict[str, str]:
        """See Standbys."""
        wanted = {place.host for place in places}
        reached: dict[str, str] = {}
        asked = [asyncio.create_task(_answer(one, places)) for one in self._standbys]
        try:
            async with asyncio.timeout(seconds):
                for answering in asyncio.as_completed(asked):
                    name, hosts = await answering
                    reached |= {host: name for host in hosts & wanted if host not in reached}
                    if len(reached) == len(wanted):
                        break
        except TimeoutError:
            pass  # who has not answered by now is not waited for
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return reached

    def close(self) -> None:
        """End their calls: this replica ends."""
        for standby in self._standbys:
            standby.dismiss()


async def _answer(standby: Standby, places: Collection[Place]) -> tuple[str, frozenset[str]]:
    return standby.name, await standby.ask(places)
