"""A file handed in to a host: taken whole before any guest is touched, and few of them at once."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest

from fleet.guest_commands.answers import Answer, BadCommand
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_agent.api import guest_files as api
from fleet_agent.api.guest_files import MOST_AT_ONCE, Copies, TooManyCopies
from fleet_agent.drivers.ports.guest_files import GuestFile

CONTENT = b"x" * 100_000
DIGEST = hashlib.sha256(CONTENT).digest()


class Guests:
    """The GuestFiles port: what each was given."""

    def __init__(self) -> None:
        self.given: list[GuestFile] = []

    async def put(
        self, fleet_uid: str, indices: IndexSet, file: GuestFile
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        self.given.append(file)
        yield indices, file.copied

    def get(self, *_: Any) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        raise AssertionError("nothing is copied out")


class Caller:
    """As a gRPC context, as far as it is used."""

    def __init__(self) -> None:
        self.told: list[commands.RunInVmsAnswer] = []
        self.heard = asyncio.Event()

    async def write(self, answer: commands.RunInVmsAnswer) -> None:
        self.told.append(answer)
        self.heard.set()


def first(size: int = len(CONTENT)) -> wire.CopyIntoVmsRequest:
    file = wire.CopiedFile(path="/x", mode=0o644, size=size, digest=DIGEST, timeout_ms=1000)
    return wire.CopyIntoVmsRequest(indices=[types.IndexRange(start=0, stop=9)], file=file)


async def parts(*data: bytes) -> AsyncIterator[wire.CopyIntoVmsRequest]:
    for one in data:
        yield wire.CopyIntoVmsRequest(data=one)


async def serve(copies: Copies, rest: Any, caller: Caller | None = None) -> Caller:
    caller = caller or Caller()
    await copies.serve(first(), rest, caller)  # type: ignore[arg-type]
    return caller


async def test_it_says_at_once_that_it_takes_the_file_and_then_what_became_of_it() -> None:
    guests, caller = Guests(), Caller()

    async def rest() -> AsyncIterator[wire.CopyIntoVmsRequest]:
        await caller.heard.wait()  # nothing is sent before
        yield wire.CopyIntoVmsRequest(data=CONTENT[:65536])
        yield wire.CopyIntoVmsRequest(data=CONTENT[65536:])

    async with asyncio.timeout(20):
        await serve(Copies(guests), rest(), caller)
    (file,) = guests.given
    assert (file.content, file.digest, file.path, file.mode) == (CONTENT, DIGEST, "/x", 0o644)
    (group,) = [group for told in caller.told for group in told.groups]
    assert group.text.digest == DIGEST and from_wire(group.indices) == IndexSet.span(0, 9)


@pytest.mark.parametrize(
    "data",
    [
        (),
        (CONTENT[:65536],),
        (CONTENT[:65536], b"y" * 34_464),
        (CONTENT,),
        (b"", CONTENT),
        (CONTENT[:65536], CONTENT[:65536]),
    ],
)
async def test_what_does_not_come_whole_touches_no_guest(data: tuple[bytes, ...]) -> None:
    guests = Guests()
    with pytest.raises(BadCommand):
        await serve(Copies(guests), parts(*data))
    assert not guests.given


async def test_who_hands_in_and_falls_silent_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "SILENCE_SECONDS", 0.05)

    async def silent() -> AsyncIterator[wire.CopyIntoVmsRequest]:
        await asyncio.Event().wait()
        yield wire.CopyIntoVmsRequest()

    with pytest.raises(BadCommand, match="no part of the file came"):
        await serve(Copies(Guests()), silent())


async def test_no_more_are_taken_at_once_than_fit_and_places_are_given_back() -> None:
    copies, callers = Copies(Guests()), [Caller() for _ in range(MOST_AT_ONCE)]

    async def silent() -> AsyncIterator[wire.CopyIntoVmsRequest]:
        await asyncio.Event().wait()
        yield wire.CopyIntoVmsRequest()

    serving = [asyncio.create_task(serve(copies, silent(), caller)) for caller in callers]
    async with asyncio.timeout(20):
        for caller in callers:
            await caller.heard.wait()
        with pytest.raises(TooManyCopies, match="try again later"):
            await serve(copies, parts())
        for task in serving:
            task.cancel()
        await asyncio.wait(serving)
        await serve(copies, parts(CONTENT[:65536], CONTENT[65536:]))
