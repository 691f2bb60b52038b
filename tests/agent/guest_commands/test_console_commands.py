"""Commands through consoles, beyond what every adapter promises: who else is there, and what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet_agent.api import console_commands
from fleet_agent.api.console_commands import ConsoleCommands
from fleet_agent.api.console_sessions import ConsoleRequest, Desk
from fleet_agent.drivers.ports.guest_commands import GuestCommand
from tests.doubles.shell_consoles import ShellConsoles

UID = "u"


@pytest.fixture
async def consoles() -> AsyncIterator[ShellConsoles]:
    made = ShellConsoles(UID, 0, 1)
    yield made
    await made.close()


async def one(desk: Desk, line: str, seconds: float = 20.0, user: str = "") -> Answer:
    asked = GuestCommand(line, user, seconds, 4096, "operator/ann")
    async with aclosing(ConsoleCommands(desk).run(UID, IndexSet.span(0, 1), asked)) as answered:
        async for _, answer in answered:
            return answer
    raise AssertionError("no answer")


async def test_both_outputs_are_told_in_their_order(consoles: ShellConsoles) -> None:
    consoles.guests[0].start()
    answer = await one(Desk(consoles), "echo a; echo b >&2; echo c")
    assert answer.output == b"a\nb\nc\n"


@pytest.mark.parametrize(
    "line", ["echo 'it is'", 'echo "it is"', "echo $(echo it is)", "echo 'it  is' | tr -s ' '"]
)
async def test_the_line_reaches_the_guests_shell_as_it_is(
    consoles: ShellConsoles, line: str
) -> None:
    consoles.guests[0].start()
    assert (await one(Desk(consoles), line)).output == b"it is\n"


async def test_a_command_that_reads_gets_nothing_of_what_is_typed(consoles: ShellConsoles) -> None:
    consoles.guests[0].start()
    assert (await one(Desk(consoles), "cat; echo end")).output == b"end\n"


async def test_what_somebody_has_begun_to_type_is_not_run(consoles: ShellConsoles) -> None:
    consoles.guests[0].start()
    await consoles.guests[0].type(b"echo begun; ")
    assert (await one(Desk(consoles), "echo it")).output == b"it\n"
    assert b"begun\r\n" not in consoles.guests[0].printed


async def test_root_on_the_console_runs_it_where_no_user_is_known(consoles: ShellConsoles) -> None:
    consoles.guests[0].start()
    answer = await one(Desk(consoles), 'echo "it\'s $USER"', user="root")
    assert (answer.exit_code, answer.output[:4]) == (0, b"it's")


async def test_at_a_login_prompt_nothing_is_typed(consoles: ShellConsoles) -> None:
    guest = consoles.guests[0]
    guest.start("/bin/cat")
    guest.show(b"Debian GNU/Linux 12 spv-0 ttyS0\r\n\r\nspv-0 login: ")
    answer = await one(Desk(consoles), "uname")
    assert answer.outcome == wire.COMMAND_OUTCOME_NO_SHELL and "login" in answer.reason
    assert not guest.typed


async def test_a_prompt_for_a_password_ends_it_at_once(consoles: ShellConsoles) -> None:
    guest = consoles.guests[0]
    guest.start("/bin/sh", "-c", "read name; printf 'Password: '; read password")
    answer = await one(Desk(consoles), "uname", seconds=60)
    assert answer.outcome == wire.COMMAND_OUTCOME_NO_SHELL


async def test_a_console_without_a_shell_is_told_as_that(consoles: ShellConsoles) -> None:
    consoles.guests[0].start("/bin/cat")  # it echoes all that is typed, twice
    answer = await one(Desk(consoles), "uname", seconds=0.5)
    assert answer == Answer(wire.COMMAND_OUTCOME_NO_SHELL)


async def test_who_types_there_is_named_and_not_disturbed(consoles: ShellConsoles) -> None:
    guest, desk = consoles.guests[0], Desk(consoles)
    guest.start()
    typing = await desk.open_session(UID, 0, ConsoleRequest(actor="operator/bob"))
    answer = await one(desk, "uname")
    assert answer.outcome == wire.COMMAND_OUTCOME_CONSOLE_TAKEN
    assert answer.reason == "operator/bob types at its console" and not guest.typed
    typing.close()
    assert (await one(desk, "echo it")).output == b"it\n"


async def test_whoever_takes_the_console_over_has_it(consoles: ShellConsoles) -> None:
    guest, desk = consoles.guests[0], Desk(consoles)
    guest.start()
    asking = asyncio.create_task(one(desk, "echo begun; sleep 60", seconds=60))
    await guest.has_printed(b"\nbegun\r\n")
    bob = await desk.open_session(UID, 0, ConsoleRequest(take_over=True, actor="operator/bob"))
    await bob.hand(b"\x03")
    answer = await asking
    assert answer.outcome == wire.COMMAND_OUTCOME_CONSOLE_TAKEN
    bob.close()


async def test_a_console_that_another_types_at_says_who(consoles: ShellConsoles) -> None:
    desk = Desk(consoles)
    consoles.guests[0].start()
    first = await desk.open_session(UID, 0, ConsoleRequest(actor="operator/ann"))
    second = await desk.open_session(UID, 0, ConsoleRequest())
    piece = await second.next()
    assert piece is not None and piece.notice.startswith("operator/ann types to spv-0")
    first.close()
    second.close()


async def test_no_more_consoles_are_open_than_the_width(
    consoles: ShellConsoles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_commands, "WIDTH", 1)
    desk, most = Desk(consoles), 0
    for guest in consoles.guests.values():
        guest.start()
    asked = GuestCommand("echo it", "", 20.0, 4096)
    async with aclosing(ConsoleCommands(desk).run(UID, IndexSet.span(0, 2), asked)) as answered:
        async for _ in answered:
            most = max(most, sum(len(guest.feeds) for guest in consoles.guests.values()))
    assert most <= 1
