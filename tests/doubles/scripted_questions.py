"""What operators ask of a scripted agent, answered by script: over gRPC, or with no network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, NoReturn, Protocol, TypeVar

import grpc

from fleet.transport import Refusal, abort
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as copies
from fleet.v1.agent_pb2_grpc import AgentServiceServicer
from fleet_controller.agents.port import Declined, NoAnswer, NotOffered, Unreachable

Message = TypeVar("Message")
Said = TypeVar("Said")


class Silent:
    """A reply that never comes."""


class Exchange:
    """One call with a stream, as the agent has it."""

    def __init__(self, request: Any) -> None:
        self.inputs: list[Any] = [request]
        self.outbox: asyncio.Queue[Any] = asyncio.Queue()
        self.no_more_inputs = False
        self.gone = False  # the caller is

    def say(self, *messages: Any) -> None:
        for message in messages:
            self.outbox.put_nowait(message)

    def end(self, why: Declined | None = None) -> None:
        self.outbox.put_nowait(why)


class ScriptedQuestions:
    """`replies` says what each method answers: a message, a list of them (a stream that goes on),
    an error, or Silent. A method without a reply is not offered."""

    def __init__(self, news: Callable[[], None]) -> None:
        self.replies: dict[str, Any] = {}
        self.asked: list[Any] = []
        self.exchanges: list[Exchange] = []
        self.news = news

    def take(self, method: str, request: Any) -> Any:
        """The reply of a unary method. Raises Declined."""
        self.asked.append(request)
        self.news()
        reply = self.replies.get(method)
        if reply is None:
            raise NotOffered(f"this agent does not offer {method}")
        if isinstance(reply, Declined):
            raise reply
        return reply

    def open(self, method: str, request: Any) -> Exchange:
        """Raises Declined."""
        messages = self.take(method, request)
        exchange = Exchange(request)
        exchange.say(*messages)
        self.exchanges.append(exchange)
        return exchange


# With no network


class Place(Protocol):
    """A connection, as far as questions go."""

    closed: asyncio.Event

    def scripted(self) -> ScriptedQuestions:
        """Raises Unreachable."""


class FakeQuestions:
    def __init__(self, place: Place) -> None:
        self._place = place

    async def _ask(self, method: str, request: Any, seconds: float) -> Any:
        reply = self._place.scripted().take(method, request)
        if not isinstance(reply, Silent):
            return reply
        try:
            async with asyncio.timeout(seconds):
                await self._place.closed.wait()
        except TimeoutError as error:
            raise NoAnswer("no answer") from error
        raise Unreachable("the call was ended at this end")

    async def doctor(self, request: wire.DoctorRequest, seconds: float) -> wire.DoctorResponse:
        return await self._ask("Doctor", request, seconds)  # type: ignore[no-any-return]

    async def tune(self, request: wire.TuneRequest, seconds: float) -> wire.TuneResponse:
        return await self._ask("Tune", request, seconds)  # type: ignore[no-any-return]

    async def list_images(
        self, request: wire.ListImagesRequest, seconds: float
    ) -> wire.ListImagesResponse:
        return await self._ask("ListImages", request, seconds)  # type: ignore[no-any-return]

    async def delete_image(
        self, request: wire.DeleteImageRequest, seconds: float
    ) -> wire.DeleteImageResponse:
        return await self._ask("DeleteImage", request, seconds)  # type: ignore[no-any-return]

    async def upgrade_agent(
        self, request: wire.UpgradeAgentRequest, seconds: float
    ) -> wire.UpgradeAgentResponse:
        return await self._ask("UpgradeAgent", request, seconds)  # type: ignore[no-any-return]

    def import_image(
        self, request: wire.ImportImageRequest
    ) -> FakeAnswers[wire.ImportImageProgress]:
        return FakeAnswers(self._place, "ImportImage", request)

    def top(self, request: wire.TopRequest) -> FakeAnswers[wire.TopSample]:
        return FakeAnswers(self._place, "Top", request)

    def console(self) -> FakeTalk[wire.ConsoleInput, wire.ConsoleOutput]:
        return FakeTalk(self._place, "Console", None)

    def send_image(self, request: wire.SendImageRequest) -> FakeAnswers[wire.ImageChunk]:
        return FakeAnswers(self._place, "SendImage", request)

    def relay_image(self) -> FakeTalk[wire.RelayOrder, wire.RelayState]:
        return FakeTalk(self._place, "RelayImage", None)

    def put_image(self) -> FakeTalk[wire.PutImageRequest, wire.PutImageAnswer]:
        return FakeTalk(self._place, "PutImage", None)

    def run_in_vms(self, request: commands.RunInVmsRequest) -> FakeAnswers[commands.RunInVmsAnswer]:
        return FakeAnswers(self._place, "RunInVms", request)

    def copy_into_vms(self) -> FakeTalk[copies.CopyIntoVmsRequest, commands.RunInVmsAnswer]:
        return FakeTalk(self._place, "CopyIntoVms", None)

    def copy_from_vms(
        self, request: copies.CopyFromVmsRequest
    ) -> FakeAnswers[copies.CopyFromVmsAnswer]:
        return FakeAnswers(self._place, "CopyFromVms", request)


class FakeAnswers(Generic[Message]):
    def __init__(self, place: Place, method: str, request: Any) -> None:
        self._place = place
        self._method = method
        self._request = request
        self._exchange: Exchange | None = None
        self._ready = asyncio.Event()
        self._cancelled = asyncio.Event()
        if request is not None:
            self._ready.set()

    async def read(self) -> Message | None:
        answer = asyncio.ensure_future(self._next())
        ends = [asyncio.ensure_future(e.wait()) for e in (self._cancelled, self._place.closed)]
        try:
            await asyncio.wait((answer, *ends), return_when="FIRST_COMPLETED")
            if not answer.done() or self._cancelled.is_set():
                raise Unreachable("the call was ended at this end")
            return answer.result()
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            for future in (answer, *ends):
                future.cancel()
            await asyncio.wait((answer, *ends))

    def cancel(self) -> None:
        self._cancelled.set()
        if self._exchange:
            self._exchange.gone = True
            self._place.scripted().news()

    async def _next(self) -> Message | None:
        await self._ready.wait()
        if self._exchange is None:
            self._exchange = self._place.scripted().open(self._method, self._request)
        message = await self._exchange.outbox.get()
        if isinstance(message, Declined):
            raise message
        return message  # type: ignore[no-any-return]


class FakeTalk(FakeAnswers[Message], Generic[Said, Message]):
    async def write(self, typed: Said) -> None:
        if self._cancelled.is_set() or self._place.closed.is_set():
            raise Unreachable("the call has ended")
        if self._request is None:
            self._request = typed
            self._ready.set()
            self._exchange = self._place.scripted().open(self._method, typed)
        elif self._exchange:
            self._exchange.inputs.append(typed)
            self._place.scripted().news()

    async def done_writing(self) -> None:
        if self._exchange:
            self._exchange.no_more_inputs = True
            self._place.scripted().news()


# Over gRPC


class QuestionsServicer(AgentServiceServicer):
    """The questions' part of a scripted agent's service."""

    questions: ScriptedQuestions

    async def SendImage(  # type: ignore[override]
        self, request: wire.SendImageRequest, context: Any
    ) -> None:
        await self._stream("SendImage", request, context)

    async def RelayImage(  # type: ignore[override]
        self, request_iterator: AsyncIterator[wire.RelayOrder], context: Any
    ) -> None:
        inputs = aiter(request_iterator)
        await self._stream("RelayImage", await anext(inputs), context, inputs)

    async def PutImage(  # type: ignore[override]
        self, request_iterator: AsyncIterator[wire.PutImageRequest], context: Any
    ) -> None:
        inputs = aiter(request_iterator)
        await self._stream("PutImage", await anext(inputs), context, inputs)

    async def RunInVms(  # type: ignore[override]
        self, request: commands.RunInVmsRequest, context: Any
    ) -> None:
        await self._stream("RunInVms", request, context)

    async def CopyIntoVms(  # type: ignore[override]
        self, request_iterator: AsyncIterator[copies.CopyIntoVmsRequest], context: Any
    ) -> None:
        inputs = aiter(request_iterator)
        await self._stream("CopyIntoVms", await anext(inputs), context, inputs)

    async def CopyFromVms(  # type: ignore[override]
        self, request: copies.CopyFromVmsRequest, context: Any
    ) -> None:
        await self._stream("CopyFromVms", request, context)

    async def Doctor(self, request: wire.DoctorRequest, context: Any) -> wire.DoctorResponse:
        return await self._reply("Doctor", request, context)  # type: ignore[no-any-return]

    async def Tune(self, request: wire.TuneRequest, context: Any) -> wire.TuneResponse:
        return await self._reply("Tune", request, context)  # type: ignore[no-any-return]

    async def ListImages(
        self, request: wire.ListImagesRequest, context: Any
    ) -> wire.ListImagesResponse:
        return await self._reply("ListImages", request, context)  # type: ignore[no-any-return]

    async def DeleteImage(
        self, request: wire.DeleteImageRequest, context: Any
    ) -> wire.DeleteImageResponse:
        return await self._reply("DeleteImage", request, context)  # type: ignore[no-any-return]

    async def UpgradeAgent(
        self, request: wire.UpgradeAgentRequest, context: Any
    ) -> wire.UpgradeAgentResponse:
        return await self._reply("UpgradeAgent", request, context)  # type: ignore[no-any-return]

    async def ImportImage(self, request: wire.ImportImageRequest, context: Any) -> None:  # type: ignore[override]
        await self._stream("ImportImage", request, context)

    async def Top(self, request: wire.TopRequest, context: Any) -> None:  # type: ignore[override]
        await self._stream("Top", request, context)

    async def Console(  # type: ignore[override]
        self, request_iterator: AsyncIterator[wire.ConsoleInput], context: Any
    ) -> None:
        inputs = aiter(request_iterator)
        first = await anext(inputs)
        await self._stream("Console", first, context, inputs)

    async def _reply(self, method: str, request: Any, context: Any) -> Any:
        try:
            reply = self.questions.take(method, request)
        except Declined as error:
            await _decline(context, method, error)
        if isinstance(reply, Silent):
            await asyncio.Event().wait()
        return reply

    async def _stream(
        self, method: str, first: Any, context: Any, inputs: AsyncIterator[Any] | None = None
    ) -> None:
        try:
            exchange = self.questions.open(method, first)
        except Declined as error:
            await _decline(context, method, error)
        hearing = asyncio.ensure_future(self._hear(exchange, inputs))
        try:
            while (message := await exchange.outbox.get()) is not None:
                if isinstance(message, Declined):
                    await _decline(context, method, message)
                try:
                    await context.write(message)
                except Exception:  # amid a message that nobody takes any more
                    exchange.gone = True
                    self.questions.news()
                    raise
        except asyncio.CancelledError:
            exchange.gone = True
            self.questions.news()
            raise
        finally:
            hearing.cancel()

    async def _hear(self, exchange: Exchange, inputs: AsyncIterator[Any] | None) -> None:
        if inputs is None:
            return
        async for message in inputs:
            exchange.inputs.append(message)
            self.questions.news()
        exchange.no_more_inputs = True
        self.questions.news()


async def _decline(context: Any, method: str, error: Declined) -> NoReturn:
    words = f"this agent does not offer {method}; a newer one may"
    lacking = Refusal(grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED", words)
    await abort(context, error.answer or lacking)
