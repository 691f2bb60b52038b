"""What the GuestCommands port promises, of each adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet_agent.drivers.ports.guest_commands import GuestCommand, GuestCommands
from tests.contracts.guest_commands.command_hosts import HOSTS, OFF, RUNNING, UID
from tests.doubles.agent_guests import PROGRAM

DEADLINE = 20.0


_NO_AGENT = pytest.mark.skipif(PROGRAM is None, reason="qemu-guest-agent is not installed")


@pytest.fixture(
    params=[
        "hollow",
        "consoles",
        pytest.param("agents", marks=_NO_AGENT),
    ]
)
async def commands(request: pytest.FixtureRequest) -> AsyncIterator[GuestCommands]:
    async with HOSTS[request.param]() as made:
        yield made


def command(line: str, seconds: float = DEADLINE, most: int = 4096, user: str = "") -> GuestCommand:
    return GuestCommand(line, user, seconds, most)


async def answers(
    commands: GuestCommands, indices: IndexSet, asked: GuestCommand, uid: str = UID
) -> dict[int, Answer]:
    """By index; each is told once."""
    found: dict[int, Answer] = {}
    async with aclosing(commands.run(uid, indices, asked)) as answered:
        async for some, answer in answered:
            assert not found.keys() & set(some)
            found |= dict.fromkeys(some, answer)
    return found


async def test_each_guest_answers_with_output_and_exit_code(commands: GuestCommands) -> None:
    found = await answers(commands, RUNNING, command("echo two words"))
    assert found == dict.fromkeys(RUNNING, Answer.ended(0, b"two words\n", 4096))
    found = await answers(commands, RUNNING, command("exit 7"))
    assert found == dict.fromkeys(RUNNING, Answer.ended(7, b"", 4096))


async def test_a_second_command_is_answered_as_the_first(commands: GuestCommands) -> None:
    for word in ("one", "two"):
        found = await answers(commands, RUNNING, command(f"echo {word}"))
        assert found == dict.fromkeys(RUNNING, Answer.ended(0, f"{word}\n".encode(), 4096))


async def test_a_command_that_is_not_there_has_the_shells_code(commands: GuestCommands) -> None:
    (answer,) = (await answers(commands, IndexSet.span(0, 1), command("no-such-program"))).values()
    assert answer.exit_code == 127 and b"not found" in answer.output


async def test_of_a_long_output_the_beginning_is_kept(commands: GuestCommands) -> None:
    said = "x" * 100
    (answer,) = (
        await answers(commands, IndexSet.span(0, 1), command(f"echo {said}", most=10))
    ).values()
    assert (answer.output, answer.total, answer.is_cut) == (b"x" * 10, 101, True)
    assert answer.digest == Answer.ended(0, said.encode() + b"\n", 1).digest


async def test_whoever_does_not_end_in_time_is_told_and_interrupted(
    commands: GuestCommands,
) -> None:
    found = await answers(commands, RUNNING, command("sleep 60", seconds=0.5))
    assert found == dict.fromkeys(RUNNING, Answer(wire.COMMAND_OUTCOME_NO_ANSWER))
    # Nothing of it goes on: the same guests answer at once.
    found = await answers(commands, RUNNING, command("echo here"))
    assert {one.output for one in found.values()} == {b"here\n"}, found


async def test_a_guest_that_does_not_run_or_is_not_there_is_told_with_the_reason(
    commands: GuestCommands,
) -> None:
    found = await answers(commands, RUNNING | OFF | IndexSet.span(9, 11), command("true"))
    assert set(found) == {0, 1, 2, 3, 4, 9, 10}
    assert "does not run" in found[4].reason and "no such VM" in found[9].reason
    assert found[9] == found[10] and found[4].outcome == wire.COMMAND_OUTCOME_FAILED
    assert set(await answers(commands, RUNNING, command("true"), uid="another")) == set(RUNNING)


async def test_left_early_it_ends_at_once_and_the_guests_are_free(commands: GuestCommands) -> None:
    async def ask() -> None:
        await answers(commands, RUNNING, command("sleep 60"))

    asking = asyncio.create_task(ask())
    await asyncio.sleep(0)
    asking.cancel()
    async with asyncio.timeout(DEADLINE):
        await asyncio.wait([asking])
    found = await answers(commands, RUNNING, command("echo here"))
    assert {one.output for one in found.values()} == {b"here\n"}, found
