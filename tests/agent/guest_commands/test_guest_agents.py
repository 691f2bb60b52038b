"""qemu-guest-agent: what it is asked, hostile replies, and guests that have none."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet_agent.api.console_commands import ConsoleCommands
from fleet_agent.api.console_sessions import Desk
from fleet_agent.core.guest_commands.agent_messages import (
    BadReply,
    answer_of_status,
    pid_of,
    run_request,
    status_request,
)
from fleet_agent.drivers.libvirt.guests.guest_agents import (
    MAY_HAVE_BEGUN,
    NOT_BEGUN,
    LibvirtGuestAgents,
)
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.guest_commands import GuestCommand
from tests.contracts.hypervisor.hypervisor_hosts import FLEET
from tests.doubles.agent_guests import (
    PROGRAM,
    UNRESPONSIVE,
    AgentGuest,
    AgentLink,
    ask,
    libvirt_error,
)
from tests.doubles.shell_consoles import ShellConsoles

COMMAND_TIMEOUT = 112  # of libvirt
ALONE = IndexSet.span(0, 1)
COMMAND = GuestCommand("uname -r", "", 20.0, 100)


def replied(**returned: Any) -> str:
    return json.dumps({"return": returned})


def test_what_has_ended_is_told_with_code_and_output() -> None:
    data = base64.b64encode(b"6.12.117\n").decode()
    reply = replied(exited=True, exitcode=3, **{"out-data": data})
    assert answer_of_status(reply, 100) == Answer.ended(3, b"6.12.117\n", 100)
    assert answer_of_status(replied(exited=False), 100) is None


def test_what_a_signal_has_ended_has_the_code_that_shells_tell() -> None:
    answer = answer_of_status(replied(exited=True, signal=9), 100)
    assert answer is not None and answer.exit_code == 137


@pytest.mark.parametrize(
    "reply",
    ["", "{", "[]", "7", "null", '{"return": 7}', '{"error": {}}', "[" * 100_000, "\0", '{"a": 1}'],
)
@pytest.mark.parametrize("read", [pid_of, lambda reply: answer_of_status(reply, 100)])
def test_what_is_no_reply_is_a_bad_one(reply: str, read: Callable[[str], object]) -> None:
    with pytest.raises(BadReply):
        read(reply)


@pytest.mark.parametrize("pid", [0, 1, -1, 1 << 31, 1.5, "7", None, True, [7]])
def test_a_process_that_cannot_be_is_never_ended(pid: object) -> None:
    with pytest.raises(BadReply):
        pid_of(replied(pid=pid))


@pytest.mark.parametrize(
    "told",
    [{}, {"exitcode": "0"}, {"exitcode": 0, "out-data": 7}, {"exitcode": 0, "out-data": "%"}],
)
def test_an_end_that_makes_no_sense_is_a_bad_reply(told: dict[str, Any]) -> None:
    with pytest.raises(BadReply):
        answer_of_status(replied(exited=True, **told), 100)


def test_line_and_user_are_words_of_their_own_and_no_code() -> None:
    line = "echo '\"$(reboot)\"' ; x\n"
    asked = json.loads(run_request(line, "joe"))
    assert asked["arguments"]["arg"][2:] == [line, "joe"]
    assert "reboot" not in asked["arguments"]["arg"][1]


async def of_one(
    guest: AgentGuest, say: Any = ask, index: int = 0, command: GuestCommand = COMMAND
) -> Answer | None:
    driver = LibvirtGuestAgents(AgentLink({0: guest}), say)  # type: ignore[arg-type]
    try:
        return await driver.run(FLEET.uid, index, command)
    finally:
        await driver.close()


async def test_without_a_channel_an_agent_or_a_domain_the_console_is_left(tmp_path: Path) -> None:
    without = AgentGuest(tmp_path, 0, channel=False)
    assert await of_one(without) is None and not without.asked
    assert await of_one(AgentGuest(tmp_path, 0)) is None  # nothing is connected
    assert await of_one(AgentGuest(tmp_path, 0), index=7) is None


async def test_without_libvirts_binding_for_it_the_console_is_left(tmp_path: Path) -> None:
    def missing(*_: object) -> str:
        raise ImportError("libvirt_qemu")

    assert await of_one(AgentGuest(tmp_path, 0), missing) is None


async def test_an_agent_that_lies_fails_its_own_guest(tmp_path: Path) -> None:
    answer = await of_one(AgentGuest(tmp_path, 0), lambda *_: '{"return": {"pid": "x"}}')
    assert answer is not None and answer.outcome == wire.COMMAND_OUTCOME_FAILED


async def test_what_libvirt_says_is_told(tmp_path: Path) -> None:
    def broken(*_: object) -> str:
        raise libvirt_error(38, "the socket is gone")

    with pytest.raises(DriverError, match="the socket is gone"):
        await of_one(AgentGuest(tmp_path, 0), broken)


async def test_whoever_leaves_while_it_begins_has_it_ended(tmp_path: Path) -> None:
    asked: list[dict[str, Any]] = []
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def slow(_: object, request: str, seconds: int) -> str:
        asked.append(json.loads(request))
        if asked[-1]["execute"] == "guest-exec":
            loop.call_soon_threadsafe(begun.set)
        return replied(pid=4711, exited=False)

    asking = asyncio.create_task(of_one(AgentGuest(tmp_path, 0), slow))
    async with asyncio.timeout(20):
        await begun.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert "kill -KILL -4711" in asked[-1]["arguments"]["arg"][1]


def executes(request: str) -> str:
    return str(json.loads(request)["execute"])


@pytest.mark.skipif(PROGRAM is None, reason="qemu-guest-agent is not installed")
@pytest.mark.parametrize("code", [UNRESPONSIVE, COMMAND_TIMEOUT])
async def test_what_an_agent_may_have_begun_is_not_typed_at_the_console(
    tmp_path: Path, code: int
) -> None:
    """The guest begins it, and its agent says so too late for libvirt."""
    begun = tmp_path / "begun"

    def late(domain: AgentGuest, request: str, seconds: int) -> str:
        reply = domain.ask(request)
        if executes(request) == "guest-exec":
            while answer_of_status(domain.ask(status_request(pid_of(reply))), 100) is None:
                pass
            raise libvirt_error(code, "Guest agent is not responding")
        return reply

    guest, consoles = AgentGuest(tmp_path, 0), ShellConsoles(FLEET.uid, 0)
    driver = LibvirtGuestAgents(AgentLink({0: guest}), late)  # type: ignore[arg-type]
    command = GuestCommand(f"echo x >> {begun}", "", 20.0, 100)
    try:
        guest.start()
        consoles.guests[0].start()
        await consoles.guests[0].has_printed(b"/ # ")
        commands = ConsoleCommands(Desk(consoles), driver)
        found = [answer async for _, answer in commands.run(FLEET.uid, ALONE, command)]
    finally:
        await driver.close()
        guest.end()
        await consoles.close()
    assert found == [Answer(wire.COMMAND_OUTCOME_NO_ANSWER, reason=MAY_HAVE_BEGUN)]
    assert begun.read_text() == "x\n"


async def test_an_agent_that_does_not_answer_is_told_to_begin_nothing(tmp_path: Path) -> None:
    asked: list[str] = []

    def silent(_: object, request: str, seconds: int) -> str:
        asked.append(executes(request))
        raise libvirt_error(UNRESPONSIVE, "Guest agent is not responding")

    assert await of_one(AgentGuest(tmp_path, 0), silent) is None
    assert asked == ["guest-ping"]


@pytest.mark.parametrize(
    ("hangs", "reason"), [("guest-ping", NOT_BEGUN), ("guest-exec", MAY_HAVE_BEGUN)]
)
async def test_when_its_time_is_over_it_says_whether_it_may_have_begun(
    tmp_path: Path, hangs: str, reason: str
) -> None:
    """Libvirt waits for the agent for longer than the command has."""
    over, asked, loop = threading.Event(), asyncio.Event(), asyncio.get_running_loop()

    def hanging(_: object, request: str, seconds: int) -> str:
        if executes(request) == hangs:
            loop.call_soon_threadsafe(asked.set)
            assert over.wait(20)
            raise libvirt_error(UNRESPONSIVE, "Guest agent is not responding")
        return replied()

    command = GuestCommand("x", "", 1.0, 100)
    asking = asyncio.create_task(of_one(AgentGuest(tmp_path, 0), hanging, command=command))
    async with asyncio.timeout(20):
        await asked.wait()
        loop.call_later(1.1, over.set)  # its own time ends before, whatever else takes how long
        answer = await asking
    assert answer == Answer(wire.COMMAND_OUTCOME_NO_ANSWER, reason=reason)
