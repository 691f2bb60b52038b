"""Files out of a host's VMs as its caller gets them: parts, what was given up, and bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from fleet.guest_commands.answers import Answer, BadCommand
from fleet.guest_commands.copies import PART_BYTES
from fleet.guest_commands.files_out import Leaving
from fleet.ranges import IndexSet
from fleet.v1 import copies_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_agent.api import guest_files_out as api
from fleet_agent.api.guest_files import TooManyCopies
from fleet_agent.api.guest_files_out import MOST_AT_ONCE, FilesOut
from fleet_agent.drivers.ports import guest_files as port
from fleet_agent.drivers.ports.guest_files import NotTaken, Take, WantedFile

CONTENT = b"x" * (PART_BYTES + 1)
LATE = port.unanswered("")


class Guests:
    """The GuestFiles port: of three guests one has the file, one is too slow, one has no agent."""

    async def get(
        self, fleet_uid: str, indices: IndexSet, wanted: WantedFile, take: Take
    ) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        yield IndexSet.of((2,)), port.NO_AGENT
        for index in (0, 1):
            leaving = Leaving(index)
            for part in leaving.add(CONTENT):
                await take(part)
            if index == 0:
                await take(leaving.last())
            yield IndexSet.of((index,)), LATE if index else port.SENT

    def put(self, *_: Any) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
        raise AssertionError("nothing is copied in")


class Caller:
    """As a gRPC context, as far as it is used; `blocked`: it takes nothing."""

    def __init__(self, *, blocked: bool = False) -> None:
        self.told: list[wire.CopyFromVmsAnswer] = []
        self.heard = asyncio.Event()
        self._blocked = blocked

    async def write(self, answer: wire.CopyFromVmsAnswer) -> None:
        self.told.append(answer)
        self.heard.set()
        if self._blocked:
            await asyncio.Event().wait()


def request(**fields: Any) -> wire.CopyFromVmsRequest:
    file = wire.WantedFile(**{"path": "/x", "most_bytes": 1 << 20, "timeout_ms": 1000, **fields})
    return wire.CopyFromVmsRequest(indices=[types.IndexRange(start=0, stop=3)], file=file)


async def test_parts_come_in_order_and_what_is_no_file_is_given_up_before_it_is_told_why() -> None:
    caller = Caller()
    await FilesOut(Guests()).serve(request(), caller)  # type: ignore[arg-type]
    parts = [one.part for one in caller.told if one.HasField("part")]
    told = [(part.index, len(part.data), part.HasField("end"), part.given_up) for part in parts]
    assert told == [
        (0, PART_BYTES, False, False),
        (0, 1, True, False),
        (1, PART_BYTES, False, False),
        (1, 0, False, True),
    ]
    groups = [group for one in caller.told for group in one.groups]
    assert {group.text.outcome: from_wire(group.indices) for group in groups} == {
        LATE.outcome: IndexSet.of((1,)),
        port.NO_AGENT.outcome: IndexSet.of((2,)),
    }


@pytest.mark.parametrize(
    "wrong", [{"path": "x"}, {"most_bytes": 0}, {"most_bytes": 1 << 31}, {"timeout_ms": 0}]
)
async def test_what_cannot_be_asked_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadCommand):
        await FilesOut(Guests()).serve(request(**wrong), Caller())  # type: ignore[arg-type]


async def test_whoever_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "NOT_TAKEN_SECONDS", 0.05)
    with pytest.raises(NotTaken, match="nothing of the files was taken"):
        await FilesOut(Guests()).serve(request(), Caller(blocked=True))  # type: ignore[arg-type]


async def test_no_more_at_once_than_the_bound_and_places_are_given_back() -> None:
    files, callers = FilesOut(Guests()), [Caller(blocked=True) for _ in range(MOST_AT_ONCE)]
    serving = [
        asyncio.create_task(files.serve(request(), one))  # type: ignore[arg-type]
        for one in callers
    ]
    async with asyncio.timeout(20):
        for one in callers:
            await one.heard.wait()
        with pytest.raises(TooManyCopies, match="try again later"):
            await files.serve(request(), Caller())  # type: ignore[arg-type]
        for task in serving:
            task.cancel()
        await asyncio.wait(serving)
        await files.serve(request(), Caller())  # type: ignore[arg-type]
