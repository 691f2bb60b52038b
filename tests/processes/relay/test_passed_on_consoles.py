"""Consoles passed on by a controller: both ways at once, and either side's end ends the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from fleet.transport import TAKEN_METADATA, Refusal, Role
from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.port import Declined
from fleet_controller.relay import console as relay_console
from tests.certificates import identity
from tests.doubles.leading import until
from tests.doubles.scripted_questions import Exchange
from tests.processes.relay.relay_rig import SECONDS, RelayRig, refusal, relay_rig

VIEWER = identity(Role.VIEWER, "eve")
TAKEN = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "CONSOLE_TAKEN", "bob types there")
HELLO = wire.ConsoleOutput(data=b"login: ", writing=True)


class Place:
    """A rig with VMs, and the operator's end of consoles there."""

    def __init__(self, rig: RelayRig, uid: str) -> None:
        self.rig = rig
        self.uid = uid
        self.questions = rig.agents["h1"].questions
        self.questions.replies["Console"] = [HELLO]

    async def open(self, who: Any = None, index: int = 3, **fields: Any) -> Any:
        call = self.rig.stub(who).Console()
        vm = wire.VmAddress(fleet_uid=self.uid, index=index)
        await call.write(wire.ConsoleInput(vm=vm, **fields))
        return call

    async def exchange(self) -> Exchange:
        await self.heard(lambda: bool(self.questions.exchanges))
        return self.questions.exchanges[-1]

    async def heard(self, condition: Any) -> None:
        await self.rig.agents["h1"].until(condition)


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with relay_rig(1) as rig:
        yield Place(rig, await rig.scale(12))


async def test_what_is_typed_and_printed_passes_at_once(place: Place) -> None:
    call = await place.open(rows=24, columns=80, log_bytes=4096)
    assert await call.read() == HELLO
    exchange = await place.exchange()
    for turn in range(3):
        await call.write(wire.ConsoleInput(data=b"x%d" % turn))
        await place.heard(lambda wanted=turn + 2: len(exchange.inputs) == wanted)
        exchange.say(wire.ConsoleOutput(data=b"y%d" % turn))
        assert (await call.read()).data == b"y%d" % turn
    opening, *typed = exchange.inputs
    assert opening == wire.ConsoleInput(
        vm=wire.VmAddress(fleet_uid=place.uid, index=3), rows=24, columns=80, log_bytes=4096,
        term=place.rig.leading.memory.term, actor="operator/alice",
    )  # fmt: skip
    assert [one.data for one in typed] == [b"x0", b"x1", b"x2"]
    assert dict(await call.initial_metadata())[TAKEN_METADATA] == "1"
    call.cancel()


async def test_a_console_that_is_silent_is_taken_at_once(place: Place) -> None:
    place.questions.replies["Console"] = []
    call = await place.open()
    async with asyncio.timeout(SECONDS):
        assert dict(await call.initial_metadata())[TAKEN_METADATA] == "1"
    call.cancel()


async def test_writing_is_an_event_once_the_agent_lets_one_write(place: Place) -> None:
    reading = await place.open(VIEWER, read_only=True)
    await reading.read()
    assert not place.rig.events("console_opened")
    writing = await place.open()
    await writing.read()
    (await place.exchange()).say(HELLO)
    await writing.read()
    taking = await place.open(take_over=True)
    await taking.read()
    assert place.rig.events("console_opened") == [
        ("the console of spv-3 on h1 is open for writing", "operator/alice"),
        ("the console of spv-3 on h1 is open, taken over, for writing", "operator/alice"),
    ]
    for call in (reading, writing, taking):
        call.cancel()


async def test_a_viewer_reads_and_nothing_typed_gets_through(place: Place) -> None:
    call = await place.open(VIEWER, read_only=True, data=b"rm -rf /\n", take_over=True)
    await call.read()
    exchange = await place.exchange()
    later = wire.ConsoleInput(data=b"reboot\n", rows=50, columns=132, take_over=True)
    later.vm.CopyFrom(wire.VmAddress(fleet_uid=place.uid, index=4))
    await call.write(later)
    await place.heard(lambda: len(exchange.inputs) == 2)
    opening, resized = exchange.inputs
    assert (opening.read_only, opening.take_over, opening.data) == (True, False, b"")
    assert resized == wire.ConsoleInput(rows=50, columns=132)
    call.cancel()


async def test_who_may_open_a_console(place: Place) -> None:
    denied = (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    writing = await place.open(VIEWER)
    assert (await refusal(writing.read()))[:2] == denied
    agent = place.rig.stub(identity(Role.AGENT, "h1")).Console()
    assert (await refusal(agent.read()))[:2] == denied
    logs = await place.open(VIEWER, log_only=True)
    assert await logs.read() == HELLO
    logs.cancel()
    assert len(place.questions.asked) == 1


async def test_the_agents_end_is_the_operators(place: Place) -> None:
    call = await place.open(log_only=True)
    await call.read()
    (await place.exchange()).end()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_refusal_of_the_agent_is_the_operators(place: Place) -> None:
    place.questions.replies["Console"] = Declined("x", TAKEN)
    said = (TAKEN.code, TAKEN.reason, TAKEN.message)
    assert await refusal((await place.open()).read()) == said
    assert not place.rig.events("console_opened")


@pytest.mark.parametrize("how", ["cancels", "closes the connection"])
async def test_an_operator_that_goes_is_gone_at_the_agent(place: Place, how: str) -> None:
    call = await place.open()
    await call.read()
    exchange = await place.exchange()
    if how == "cancels":
        call.cancel()
    else:
        await place.rig.close_callers()
    await place.heard(lambda: exchange.gone)
    await until(lambda: not any("_type" in repr(task) for task in asyncio.all_tasks()), SECONDS)


async def test_an_operator_that_types_no_more_goes_on_reading(place: Place) -> None:
    call = await place.open()
    await call.read()
    await call.done_writing()
    exchange = await place.exchange()
    await place.heard(lambda: exchange.no_more_inputs)
    exchange.say(wire.ConsoleOutput(data=b"bye"))
    assert (await call.read()).data == b"bye"
    exchange.end()
    assert await call.read() is grpc.aio.EOF


async def test_a_host_that_goes_ends_the_console(place: Place) -> None:
    call = await place.open()
    await call.read()
    await place.rig.servers["h1"].stop(0)
    code, reason, said = await refusal(call.read())
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "HOST_UNREACHABLE")
    assert said.startswith("host h1 cannot be reached")


async def test_nothing_is_typed_once_the_lease_may_be_gone(place: Place) -> None:
    call = await place.open()
    await call.read()
    exchange = await place.exchange()
    place.rig.leading.relay._lease.end("in this test")
    await call.write(wire.ConsoleInput(data=b"x"))
    assert (await refusal(call.read()))[1] == "NOT_LEADER"
    assert len(exchange.inputs) == 1


async def test_too_much_typed_at_once_is_a_mistake(place: Place) -> None:
    call = await place.open()
    await call.read()
    await call.write(wire.ConsoleInput(data=bytes(relay_console.MOST_TYPED_BYTES + 1)))
    code, reason, _ = await refusal(call.read())
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_QUERY")


async def test_vms_that_are_nowhere_are_told_with_the_reason(place: Place) -> None:
    code, reason, said = await refusal((await place.open(index=11)).read())
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NO_SUCH_VM")
    assert said.startswith("spv-11 is on no host: ") and len(said) > len("spv-11 is on no host: ")
    code, reason, said = await refusal((await place.open(index=12)).read())
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NO_SUCH_VM")
    place.uid = "gone"
    assert (await refusal((await place.open()).read()))[1] == "NO_SUCH_VM"


async def test_whoever_never_says_which_console_is_not_waited_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_console, "FIRST_INPUT_SECONDS", 0.2)
    call = place.rig.stub().Console()
    assert (await refusal(call.read()))[1] == "BAD_QUERY"
    empty = place.rig.stub().Console()
    await empty.done_writing()
    assert (await refusal(empty.read()))[1] == "BAD_QUERY"
