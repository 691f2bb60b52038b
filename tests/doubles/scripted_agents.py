"""Agents that do what a test says: behind a dialer of their own, or served over gRPC.

They say everything an agent can say to its leader, and hide nothing of what they were told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc

from fleet.term_claims import term_metadata
from fleet.transport import Identity, Refusal, abort
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.v1.agent_pb2_grpc import add_AgentServiceServicer_to_server
from fleet_controller.agents.port import (
    NO_GUIDANCE,
    AheadOfStore,
    Declined,
    EndedHere,
    Guidance,
    LinkError,
    Misbehaved,
    NoAnswer,
    StaleTerm,
    Unreachable,
)
from fleet_controller.observed.report_bounds import MOST_REPORT_BYTES
from tests.doubles.scripted_questions import FakeQuestions, QuestionsServicer, ScriptedQuestions

ENDED = None


class Stream:
    """One Watch call as the agent has it."""

    def __init__(self) -> None:
        self.sequence = 0
        self.outbox: asyncio.Queue[wire.Report | None] = asyncio.Queue()


class ScriptedAgent:
    """One agent. `refusals`: the errors that its next calls end with, in order."""

    def __init__(self, host_id: str) -> None:
        self.host_id = host_id
        self.epoch = (0, 0)
        self.epoch_seal = b""  # as it was told last
        self.awaits_assign = False
        self.speaks = True  # whether an opened stream begins with a full report
        self.answers = True  # whether an Assign is answered at all
        self.listens = True  # whether it reads what it is told of its pace
        self.reading: Callable[[], Awaitable[None]] | None = None  # what comes before it has
        self.watches: list[wire.WatchRequest] = []
        self.paces: list[wire.Pace] = []
        self.assigned: list[wire.AssignRequest] = []
        self.resets: list[wire.ResetRequest] = []
        self.streams: list[Stream] = []
        self.watch_refusals: list[LinkError] = []
        self.assign_refusals: list[LinkError] = []
        self.described = 0
        self.describe_refusals: list[LinkError] = []
        self.news = asyncio.Event()
        self.questions = ScriptedQuestions(self.news.set)

    def open(self, first: wire.WatchRequest) -> Stream:
        """A Watch call has come. Raises the LinkError that the script wants."""
        self.watches.append(first)
        self.news.set()
        if self.watch_refusals:
            raise self.watch_refusals.pop(0)
        self.streams.append(Stream())
        if self.speaks:
            self.send(full=True)
        return self.streams[-1]

    def describe(self) -> None:
        """Somebody asks who is there. Raises the LinkError that the script wants."""
        self.described += 1
        self.news.set()
        if self.describe_refusals:
            raise self.describe_refusals.pop(0)

    def repace(self, pace: wire.Pace) -> None:
        self.paces.append(pace)
        self.news.set()

    async def assign(self, request: wire.AssignRequest) -> wire.AssignResponse:
        self.assigned.append(request)
        self.news.set()
        if self.assign_refusals:
            raise self.assign_refusals.pop(0)
        if not self.answers:
            await asyncio.Event().wait()
        self.epoch = (request.epoch.store_generation, request.epoch.revision)
        self.epoch_seal = request.epoch.seal
        return wire.AssignResponse(epoch=request.epoch)

    def reset(self, request: wire.ResetRequest) -> wire.ResetResponse:
        """An operator has it forget what it claims."""
        self.resets.append(request)
        self.epoch, self.epoch_seal = (0, 0), b""
        self.news.set()
        return wire.ResetResponse()

    def send(self, skip: int = 0, **fields: Any) -> None:
        """A report on the newest stream; `skip` sequence numbers are left out before it."""
        stream = self.streams[-1]
        stream.sequence += 1 + skip
        generation, revision = self.epoch
        stream.outbox.put_nowait(
            wire.Report(
                sequence=stream.sequence,
                epoch=types.Epoch(
                    store_generation=generation, revision=revision, seal=self.epoch_seal
                ),
                awaits_assign=self.awaits_assign,
                **fields,
            )
        )

    def end(self) -> None:
        """No more reports on the newest stream."""
        self.streams[-1].outbox.put_nowait(ENDED)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the agent hears."""
        async with asyncio.timeout(20):
            while not condition():
                self.news.clear()
                await self.news.wait()


class FakeDialer:
    """Agents by address, with no network between."""

    def __init__(self, dial_seconds: float = 0.0) -> None:
        self.agents: dict[str, ScriptedAgent] = {}
        self.dial_seconds = dial_seconds
        self.dialled: list[str] = []
        self.open = 0  # connections
        self.dialling = self.most_dialling = 0

    def connect(self, host_id: str, address: str) -> FakeConnection:
        if not address:
            raise Unreachable(f"{host_id}: where it is is not known")
        self.dialled.append(address)
        self.open += 1
        return FakeConnection(self, host_id, address)


class FakeConnection:
    def __init__(self, dialer: FakeDialer, host_id: str, address: str) -> None:
        self._dialer = dialer
        self._peer = f"{host_id} at {address}"
        self._host_id = host_id
        self._address = address
        self.closed = asyncio.Event()

    def watch(self, first: wire.WatchRequest) -> FakeReports:
        return FakeReports(self, first)

    async def assign(self, request: wire.AssignRequest, seconds: float) -> wire.AssignResponse:
        agent = self._agent()
        call = asyncio.ensure_future(agent.assign(request))
        closed = asyncio.ensure_future(self.closed.wait())
        try:
            await asyncio.wait((call, closed), timeout=seconds, return_when="FIRST_COMPLETED")
            if call.done():
                return call.result()
            raise Unreachable(f"{self._peer}: no answer")
        finally:
            await _cancelled(call, closed)

    async def reset(self, request: wire.ResetRequest, seconds: float) -> wire.ResetResponse:
        return (await self.dial()).reset(request)

    async def describe(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                (await self.dial()).describe()
                if not self._agent().answers:
                    await self.closed.wait()
        except TimeoutError as error:
            raise NoAnswer(f"{self._peer}: no answer") from error

    def questions(self) -> FakeQuestions:
        return FakeQuestions(self)

    def scripted(self) -> ScriptedQuestions:
        return self._agent().questions

    async def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self._dialer.open -= 1

    async def dial(self) -> ScriptedAgent:
        dialer = self._dialer
        dialer.dialling += 1
        dialer.most_dialling = max(dialer.most_dialling, dialer.dialling)
        try:
            await asyncio.sleep(dialer.dial_seconds)
            return self._agent()
        finally:
            dialer.dialling -= 1

    def _agent(self) -> ScriptedAgent:
        agent = self._dialer.agents.get(self._address)
        if agent is None:
            raise Unreachable(f"{self._peer}: connection refused")
        if agent.host_id != self._host_id:
            raise Unreachable(f"{self._peer}: the certificate there is of {agent.host_id}")
        return agent


class FakeReports:
    def __init__(self, connection: FakeConnection, first: wire.WatchRequest) -> None:
        self._connection = connection
        self._first = first
        self._agent: ScriptedAgent | None = None
        self._stream: Stream | None = None
        self._cancelled = asyncio.Event()

    async def read(self) -> wire.Report:
        if self._stream is None:
            self._agent = await self._connection.dial()
            self._stream = self._agent.open(self._first)
        report = asyncio.ensure_future(self._stream.outbox.get())
        ends = [
            asyncio.ensure_future(event.wait())
            for event in (self._cancelled, self._connection.closed)
        ]
        try:
            await asyncio.wait((report, *ends), return_when="FIRST_COMPLETED")
            if self._cancelled.is_set():
                raise EndedHere("the call was ended at this end")
            if not report.done() or report.result() is ENDED:
                raise Unreachable("the call has ended")
            sent = report.result()
            assert sent is not None
            if sent.ByteSize() > MOST_REPORT_BYTES:
                raise Misbehaved("it sends more at once than a host can have to say")
            return sent
        finally:
            await _cancelled(report, *ends)

    async def repace(self, pace: wire.Pace, guidance: Guidance = NO_GUIDANCE) -> None:
        if self._cancelled.is_set() or self._connection.closed.is_set() or self._agent is None:
            raise Unreachable("the call has ended")
        if not self._agent.listens:
            await asyncio.Event().wait()
        if self._agent.reading:
            await self._agent.reading()
        self._agent.repace(pace)

    def cancel(self) -> None:
        self._cancelled.set()


async def _cancelled(*futures: asyncio.Future[Any]) -> None:
    """None of them is left running; whoever is cancelled meanwhile is cancelled."""
    for future in futures:
        future.cancel()
    await asyncio.wait(futures)


def stale_term(message: str, heard: types.Term) -> StaleTerm:
    """As an agent refuses a leader of a lower term than the one that it has heard."""
    refused = grpc.StatusCode.FAILED_PRECONDITION
    answer = Refusal(refused, "STALE_TERM", message, term_metadata(heard))
    return StaleTerm(message, answer)


# Over gRPC

_REFUSALS: dict[type[LinkError], tuple[grpc.StatusCode, str]] = {
    StaleTerm: (grpc.StatusCode.FAILED_PRECONDITION, "STALE_TERM"),
    AheadOfStore: (grpc.StatusCode.FAILED_PRECONDITION, "STALE_EPOCH"),
    Declined: (grpc.StatusCode.UNAVAILABLE, "LEDGER_FULL"),
}


class _Servicer(QuestionsServicer):
    def __init__(self, agent: ScriptedAgent) -> None:
        self._agent = agent
        self.questions = agent.questions

    async def Describe(self, request: wire.DescribeRequest, context: Any) -> wire.DescribeResponse:
        try:
            self._agent.describe()
        except LinkError as error:
            await _refuse(context, error)
        if not self._agent.answers:
            await asyncio.Event().wait()
        return wire.DescribeResponse(host_id=self._agent.host_id)

    async def Watch(
        self, request_iterator: AsyncIterator[wire.WatchRequest], context: Any
    ) -> AsyncIterator[wire.Report]:
        requests = aiter(request_iterator)
        try:
            stream = self._agent.open(await anext(requests))
        except LinkError as error:
            await _refuse(context, error)
        paces = asyncio.ensure_future(self._follow(requests))
        try:
            while (report := await stream.outbox.get()) is not ENDED:
                yield report
        finally:
            paces.cancel()

    async def Assign(self, request: wire.AssignRequest, context: Any) -> wire.AssignResponse:
        try:
            return await self._agent.assign(request)
        except LinkError as error:
            await _refuse(context, error)

    async def Reset(self, request: wire.ResetRequest, context: Any) -> wire.ResetResponse:
        return self._agent.reset(request)

    async def _follow(self, requests: AsyncIterator[wire.WatchRequest]) -> None:
        async for request in requests:
            self._agent.repace(request.pace)


async def _refuse(context: Any, error: LinkError) -> NoReturn:
    code, reason = _REFUSALS[type(error)]
    said = error.answer.metadata if isinstance(error, Declined) and error.answer else None
    await abort(context, Refusal(code, reason, str(error), said))


async def serve(agent: ScriptedAgent, identity: Identity) -> tuple[grpc.aio.Server, str]:
    """A started server of the agent on a free port of the loopback, and its address."""
    server = grpc.aio.server()
    servicer = _Servicer(agent)
    add_AgentServiceServicer_to_server(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", identity.for_server())
    await server.start()
    return server, f"127.0.0.1:{port}"
