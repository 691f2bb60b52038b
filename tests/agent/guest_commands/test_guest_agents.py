"""qemu-guest-agent: what it is asked, hostile replies, and guests that have none."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.guest_commands.answers import Answer
from fleet.v1 import commands_pb2 as wire
from fleet_agent.core.guest_commands.agent_messages import (
    BadReply,
    answer_of_status,
    pid_of,
    run_request,
)
from fleet_agent.drivers.libvirt.guests.guest_agents import LibvirtGuestAgents
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.guest_commands import GuestCommand
from tests.contracts.hypervisor.hypervisor_hosts import FLEET
from tests.doubles.agent_guests import AgentGuest, AgentLink, ask, libvirt_error

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


async def of_one(guest: AgentGuest, say: Any = ask, index: int = 0) -> Answer | None:
    driver = LibvirtGuestAgents(AgentLink({0: guest}), say)  # type: ignore[arg-type]
    try:
        return await driver.run(FLEET.uid, index, COMMAND)
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
        loop.call_soon_threadsafe(begun.set)
        return replied(pid=4711, exited=False)

    asking = asyncio.create_task(of_one(AgentGuest(tmp_path, 0), slow))
    async with asyncio.timeout(20):
        await begun.wait()
    asking.cancel()
    await asyncio.wait([asking])
    assert "kill -KILL -4711" in asked[-1]["arguments"]["arg"][1]
