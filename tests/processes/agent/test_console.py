"""Consoles over real gRPC: readers, the one writer, and who may have them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from fleet.ranges import IndexSet
from fleet.transport import Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.certificates import identity
from tests.doubles.assignments import SPV
from tests.processes.agent.agent_caller import DEADLINE, Caller
from tests.processes.agent.served_agent import TEN, Served, refusal, serving

READY = b"megafleet: ready name=spv-3 index=3\r\n"
ANSWER = b"name=spv-3 index=3\r\n"


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as made:
        async with made.caller() as caller:
            await caller.assign(TEN, 10)
            await caller.until_converged(10)
        yield made


class Open:
    """One console, opened."""

    def __init__(self, caller: Caller) -> None:
        self.call: Any = caller.stub.Console()
        self.data = b""
        self.notices: list[str] = []
        self.writing = False

    async def read(self) -> bool:
        """One message; False after the last one."""
        async with asyncio.timeout(DEADLINE):
            output = await self.call.read()
        if output is grpc.aio.EOF:
            return False
        self.data += output.data
        self.notices += [output.notice] if output.notice else []
        self.writing = output.writing
        return True

    async def until(self, data: bytes = b"", notice: str = "") -> None:
        while data not in self.data or not any(notice in one for one in [*self.notices, ""]):
            assert await self.read(), "the console has ended"

    async def type(self, data: bytes) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):  # which reading raises as well
            await self.call.write(wire.ConsoleInput(data=data))


async def opened(caller: Caller, index: int = 3, term: int = 1, **more: Any) -> Open:
    console = Open(caller)
    vm = wire.VmAddress(fleet_uid=SPV.uid, index=index)
    first = wire.ConsoleInput(vm=vm, term=types.Term(store_generation=1, revision=term), **more)
    with contextlib.suppress(grpc.aio.AioRpcError):
        await console.call.write(first)
    return console


async def test_what_is_typed_is_answered(served: Served) -> None:
    async with served.caller() as caller:
        console = await opened(caller, log_bytes=4096, rows=24, columns=80)
        await console.until(READY)
        assert console.writing
        await console.type(b"id\r")
        await console.until(ANSWER)
        await console.call.done_writing()
        while await console.read():
            pass
        assert await console.call.code() is grpc.StatusCode.OK


async def test_several_read_and_one_writes(served: Served) -> None:
    async with served.caller() as caller:
        writer = await opened(caller)
        await writer.read()
        second = await opened(caller)
        await second.until(notice="another session types to spv-3")
        reader = await opened(caller, read_only=True)
        await reader.read()
        assert (writer.writing, second.writing, reader.writing) == (True, False, False)
        for refused in (second, reader):
            await refused.type(b"not this\r")
        await writer.type(b"\r")
        for one in (writer, second, reader):
            await one.until(ANSWER)
            assert b"not this" not in one.data
        assert reader.notices == []


async def test_one_takes_over_and_the_other_reads_on(served: Served) -> None:
    async with served.caller() as caller:
        before = await opened(caller)
        await before.read()
        after = await opened(caller, take_over=True)
        await after.read()
        assert after.writing
        await before.until(notice="another session took over spv-3")
        assert not before.writing
        await before.type(b"lost\r")
        await after.type(b"id\r")
        for one in (before, after):
            await one.until(ANSWER)
            assert b"lost" not in one.data


async def test_a_writer_that_is_gone_leaves_its_place(served: Served) -> None:
    async with served.caller() as caller:
        gone = await opened(caller)
        await gone.read()
        gone.call.cancel()
        async with asyncio.timeout(DEADLINE):
            while True:  # until the agent has heard of it
                next_one = await opened(caller)
                await next_one.read()
                if next_one.writing:
                    break
                next_one.call.cancel()
        await next_one.type(b"id\r")
        await next_one.until(ANSWER)


async def test_the_last_lines_alone(served: Served) -> None:
    async with served.caller() as caller:
        console = await opened(caller, log_only=True, log_bytes=len(READY))
        while await console.read():
            pass
        assert console.data == READY
        assert await console.call.code() is grpc.StatusCode.OK


async def test_the_end_of_a_vm_is_told(served: Served) -> None:
    async with served.caller() as caller:
        console = await opened(caller)
        await console.read()
        served.hypervisor.lose(SPV.uid, IndexSet.of([3]))
        await console.until(notice="spv-3 has ended")
        # The agent starts it again.
        await console.until(READY, notice="spv-3 was started")
        await console.type(b"id\r")
        await console.until(ANSWER)


async def test_refusals(served: Served) -> None:
    async with served.caller() as caller:
        missing = await opened(caller, index=99)
        unknown = (grpc.StatusCode.NOT_FOUND, "NO_SUCH_VM")
        assert await refusal(missing.call.read()) == unknown
        log = await opened(caller, index=99, log_only=True)
        assert await refusal(log.call.read()) == unknown
        nameless = caller.stub.Console()
        await nameless.write(wire.ConsoleInput(data=b"id"))
        bad = (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONSOLE_INPUT")
        assert await refusal(nameless.read()) == bad
        flood = await opened(caller)
        await flood.read()
        await flood.type(bytes(70_000))
        assert await refusal(flood.call.read()) == bad


async def test_a_stale_leader_may_read_and_not_type(served: Served) -> None:
    async with served.caller() as caller:
        await caller.describe(term=5)
        stale = await opened(caller, term=4)
        assert (await refusal(stale.call.read()))[1] == "STALE_TERM"
        reader = await opened(caller, term=4, read_only=True, log_bytes=4096)
        await reader.until(READY)


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER, Role.AGENT])
async def test_only_controllers_may_open_one(served: Served, role: Role) -> None:
    async with served.caller(identity(role, "somebody")) as caller:
        console = await opened(caller)
        denied = (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        assert await refusal(console.call.read()) == denied
