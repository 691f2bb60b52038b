"""What every adapter of the agents port promises of questions, asked of gRPC and of the fake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.grpc_agents import GrpcDialer
from fleet_controller.agents.port import (
    AgentConnection,
    Declined,
    NoAnswer,
    NotOffered,
    Questions,
    StaleTerm,
    Unreachable,
)
from tests.certificates import identity
from tests.doubles.scripted_agents import FakeDialer, ScriptedAgent, serve
from tests.doubles.scripted_questions import Silent

SECONDS = 20.0
IN_USE = Refusal(
    grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_IN_USE", "3 clones of golden@1", {"clones": "3"}
)
Ask = Callable[[Questions, float], Awaitable[Any]]
UNARY: dict[str, tuple[Ask, Any, Any]] = {
    "Doctor": (
        lambda q, s: q.doctor(wire.DoctorRequest(guests=7), s),
        wire.DoctorRequest(guests=7),
        wire.DoctorResponse(summary="this host admits 127 guests"),
    ),
    "Tune": (
        lambda q, s: q.tune(wire.TuneRequest(apply=True), s),
        wire.TuneRequest(apply=True),
        wire.TuneResponse(changes=[wire.TuneChange(what="kernel.pty.max")]),
    ),
    "ListImages": (
        lambda q, s: q.list_images(wire.ListImagesRequest(), s),
        wire.ListImagesRequest(),
        wire.ListImagesResponse(pool=wire.PoolSpace(name="tank")),
    ),
    "DeleteImage": (
        lambda q, s: q.delete_image(wire.DeleteImageRequest(image=types.Image(name="golden")), s),
        wire.DeleteImageRequest(image=types.Image(name="golden")),
        wire.DeleteImageResponse(),
    ),
    "UpgradeAgent": (
        lambda q, s: q.upgrade_agent(wire.UpgradeAgentRequest(version="0.2.0"), s),
        wire.UpgradeAgentRequest(version="0.2.0"),
        wire.UpgradeAgentResponse(version="0.1.0"),
    ),
}


@dataclass
class Rig:
    """One agent called h1, and a connection to it."""

    connection: AgentConnection
    agent: ScriptedAgent

    @property
    def questions(self) -> Questions:
        return self.connection.questions()


@pytest.fixture(params=["fake", "grpc"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    agent = ScriptedAgent("h1")
    if request.param == "fake":
        fake = FakeDialer()
        fake.agents["10.0.0.1:1"] = agent
        connection: AgentConnection = fake.connect("h1", "10.0.0.1:1")
        yield Rig(connection, agent)
        await connection.close()
        return
    server, address = await serve(agent, identity(Role.AGENT, "h1"))
    connection = GrpcDialer(identity(Role.CONTROLLER, "controller-1")).connect("h1", address)
    yield Rig(connection, agent)
    await connection.close()
    await server.stop(0)


def told(error: Declined) -> tuple[Any, ...]:
    """All that the agent said."""
    assert error.answer is not None
    answer = error.answer
    return answer.code, answer.reason, answer.message, dict(answer.metadata or {})


@pytest.mark.parametrize("method", UNARY)
async def test_a_question_is_carried_whole_and_answered(rig: Rig, method: str) -> None:
    ask, request, reply = UNARY[method]
    rig.agent.questions.replies[method] = reply
    assert await ask(rig.questions, SECONDS) == reply
    assert rig.agent.questions.asked == [request]


@pytest.mark.parametrize("method", UNARY)
async def test_a_refusal_comes_with_the_agents_own_words(rig: Rig, method: str) -> None:
    rig.agent.questions.replies[method] = Declined("x", IN_USE)
    with pytest.raises(Declined) as caught:
        await UNARY[method][0](rig.questions, SECONDS)
    assert told(caught.value) == told(Declined("x", IN_USE))


@pytest.mark.parametrize("method", UNARY)
async def test_an_answer_that_does_not_come_ends_in_time(rig: Rig, method: str) -> None:
    rig.agent.questions.replies[method] = Silent()
    with pytest.raises(NoAnswer):
        await UNARY[method][0](rig.questions, 0.2)


async def test_what_an_agent_lacks_is_not_offered(rig: Rig) -> None:
    for ask, _, _ in UNARY.values():
        with pytest.raises(NotOffered):
            await ask(rig.questions, SECONDS)
    with pytest.raises(NotOffered):
        await rig.questions.top(wire.TopRequest()).read()


async def test_a_newer_leader_is_told_as_that(rig: Rig) -> None:
    stale = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "STALE_TERM", "a newer leader")
    rig.agent.questions.replies["Tune"] = StaleTerm("a newer leader", stale)
    with pytest.raises(StaleTerm):
        await rig.questions.tune(wire.TuneRequest(), SECONDS)


async def test_a_stream_is_read_to_its_end_and_the_last_answer_is_not_lost(rig: Rig) -> None:
    progress = [wire.ImportImageProgress(done_bytes=n) for n in (1, 2, 3)]
    rig.agent.questions.replies["ImportImage"] = [*progress, None]
    answers = rig.questions.import_image(wire.ImportImageRequest(source="/srv/x.img"))
    assert [await answers.read() for _ in range(4)] == [*progress, None]
    assert rig.agent.questions.asked == [wire.ImportImageRequest(source="/srv/x.img")]


async def test_a_stream_may_end_with_a_refusal(rig: Rig) -> None:
    refused = Declined("x", IN_USE)
    rig.agent.questions.replies["ImportImage"] = [wire.ImportImageProgress(done_bytes=1), refused]
    answers = rig.questions.import_image(wire.ImportImageRequest())
    await answers.read()
    with pytest.raises(Declined) as caught:
        await answers.read()
    assert told(caught.value) == told(Declined("x", IN_USE))


@pytest.mark.parametrize("how", ["cancel", "cancelled reader", "closed connection"])
async def test_a_stream_that_ends_here_ends_at_the_agent(rig: Rig, how: str) -> None:
    rig.agent.questions.replies["Top"] = [wire.TopSample(window_seconds=1)]
    answers = rig.questions.top(wire.TopRequest())
    await answers.read()
    pending = asyncio.ensure_future(answers.read())
    await asyncio.sleep(0)
    if how == "cancelled reader":
        pending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await pending
    else:
        if how == "cancel":
            answers.cancel()
        else:
            await rig.connection.close()
        with pytest.raises(Unreachable):
            await pending
    if how != "closed connection":  # the fake's connection tells its agent nothing
        await rig.agent.until(lambda: rig.agent.questions.exchanges[0].gone)


async def test_a_console_carries_both_ways_at_once(rig: Rig) -> None:
    rig.agent.questions.replies["Console"] = []
    talk = rig.questions.console()
    reading = asyncio.ensure_future(talk.read())
    opening = wire.ConsoleInput(vm=wire.VmAddress(fleet_uid="u", index=3))
    await talk.write(opening)
    await rig.agent.until(lambda: bool(rig.agent.questions.exchanges))
    (exchange,) = rig.agent.questions.exchanges
    exchange.say(wire.ConsoleOutput(data=b"login: "))
    assert await reading == wire.ConsoleOutput(data=b"login: ")
    await talk.write(wire.ConsoleInput(data=b"root"))
    await rig.agent.until(lambda: len(exchange.inputs) == 2)
    assert exchange.inputs == [opening, wire.ConsoleInput(data=b"root")]
    await talk.done_writing()
    await rig.agent.until(lambda: exchange.no_more_inputs)
    exchange.end()
    assert await talk.read() is None


async def test_a_console_that_has_ended_takes_nothing_more(rig: Rig) -> None:
    rig.agent.questions.replies["Console"] = [wire.ConsoleOutput()]
    talk = rig.questions.console()
    await talk.write(wire.ConsoleInput())
    await talk.read()
    talk.cancel()
    with pytest.raises(Unreachable):
        await talk.read()
    with pytest.raises(Unreachable):
        await talk.write(wire.ConsoleInput())


@pytest.mark.parametrize("method", ["RelayImage", "PutImage"])
async def test_images_travel_by_calls_on_which_both_sides_speak(rig: Rig, method: str) -> None:
    rig.agent.questions.replies[method] = []
    first: Any
    first, answer, then = {
        "RelayImage": (
            wire.RelayOrder(host_id="h1"), wire.RelayState(done_bytes=1),
            wire.RelayOrder(readers=["h2"]),
        ),
        "PutImage": (
            wire.PutImageRequest(host_id="h1"), wire.PutImageAnswer(wanted=b"\1"),
            wire.PutImageRequest(data=b"x"),
        ),
    }[method]  # fmt: skip
    talk: Any = rig.questions.relay_image() if method == "RelayImage" else rig.questions.put_image()
    reading = asyncio.ensure_future(talk.read())
    await talk.write(first)
    await rig.agent.until(lambda: bool(rig.agent.questions.exchanges))
    (exchange,) = rig.agent.questions.exchanges
    exchange.say(answer)
    assert await reading == answer
    await talk.write(then)
    await rig.agent.until(lambda: exchange.inputs == [first, then])
    talk.cancel()
    await rig.agent.until(lambda: exchange.gone)


async def test_what_an_image_is_made_of_is_asked_of_its_host(rig: Rig) -> None:
    told = wire.ImageChunk(manifest=wire.ImageManifest(root=b"r"))
    rig.agent.questions.replies["SendImage"] = [told, None]
    request = wire.SendImageRequest(image=types.Image(name="golden"), manifest_only=True)
    answers = rig.questions.send_image(request)
    assert [await answers.read(), await answers.read()] == [told, None]
    assert rig.agent.questions.asked == [request]
