"""One console, passed on: what is typed to the agent, what is printed from it, at once and both
at the same time. Whichever side ends, ends the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.port import ConsoleTalk, LinkError
from fleet_controller.core.refusals import Reason, Refused, check_vm
from fleet_controller.election.election import LeadershipLost
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planning import Planning
from fleet_controller.relay.paced import Paced, ReadPace
from fleet_controller.relay.relay import Relay

# Seconds for the first input, which says whose console it is.
FIRST_INPUT_SECONDS = 20.0
# More than a terminal hands over at once, pasted text too.
MOST_TYPED_BYTES = 64 * 1024
# What a guest prints, and the log of what it has printed.
_PACE = ReadPace(2_000, 8 << 20)

Print = Callable[[wire.ConsoleOutput], Awaitable[None]]


async def first_input(inputs: AsyncIterator[wire.ConsoleInput]) -> wire.ConsoleInput:
    """The one that opens a console. Raises Refused."""
    try:
        async with asyncio.timeout(FIRST_INPUT_SECONDS):
            return await anext(inputs)
    except (TimeoutError, StopAsyncIteration) as error:
        raise Refused(Reason.BAD_QUERY, "the first message names a VM; there was none") from error


def writes(first: wire.ConsoleInput) -> bool:
    """Whether what is typed is to reach the guest."""
    return not first.read_only and not first.log_only


class ConsoleRelay:
    """One console, for one operator."""

    def __init__(
        self,
        relay: Relay,
        memory: LeaderMemory,
        planning: Planning,
        first: wire.ConsoleInput,
        actor: str,
    ) -> None:
        """Raises Refused when the VM is on no host, or its host cannot be reached."""
        self._relay = relay
        self._first = first
        self._actor = actor
        self._noted = not writes(first)
        self._ended: Refused | LeadershipLost | None = None  # by what was typed, or when
        self._fleet, self._name, self._host = _place(memory, planning, first.vm)
        self._talk: ConsoleTalk = relay.questions(self._host).console()

    async def run(self, inputs: AsyncIterator[wire.ConsoleInput], show: Print) -> None:
        """Until either side ends it."""
        talking = asyncio.create_task(self._type(inputs))
        try:
            with self._relay.answering(self._host, "consoles"):
                printed = Paced(self._talk, _PACE)
                while (output := await printed.read()) is not None:
                    self._note(output.writing)
                    await show(output)
        except (Refused, LeadershipLost) as error:
            raise self._ended or error from None
        finally:
            self._talk.cancel()
            talking.cancel()
            await asyncio.wait([talking])

    async def _type(self, inputs: AsyncIterator[wire.ConsoleInput]) -> None:
        """What goes wrong with the call, its reader finds as well."""
        try:
            await self._talk.write(self._opening())
            async for typed in inputs:
                self._relay.raise_if_over()
                await self._talk.write(self._passed(typed))
            await self._talk.done_writing()
        except LinkError:
            return
        except (Refused, LeadershipLost) as error:
            self._ended = error
            self._talk.cancel()

    def _opening(self) -> wire.ConsoleInput:
        first = wire.ConsoleInput()
        first.CopyFrom(self._first)
        first.term.CopyFrom(self._relay.term)
        first.actor = self._actor
        first.take_over = first.take_over and writes(first)
        first.data = self._typed(first)
        return first

    def _passed(self, typed: wire.ConsoleInput) -> wire.ConsoleInput:
        """Nothing but what may change: a reader does not become a writer on the way."""
        return wire.ConsoleInput(data=self._typed(typed), rows=typed.rows, columns=typed.columns)

    def _typed(self, message: wire.ConsoleInput) -> bytes:
        if not writes(self._first):
            return b""
        if len(message.data) > MOST_TYPED_BYTES:
            raise Refused(
                Reason.BAD_QUERY, f"more than {MOST_TYPED_BYTES:,} bytes were typed at once"
            )
        return message.data

    def _note(self, writing: bool) -> None:
        """Who may type to a guest is written down once, when the agent lets them."""
        if writing and not self._noted:
            self._noted = True
            how = ", taken over," if self._first.take_over else ""
            message = f"the console of {self._name} on {self._host} is open{how} for writing"
            self._relay.console_opened(message, self._host, self._actor, self._fleet)


def _place(memory: LeaderMemory, planning: Planning, vm: wire.VmAddress) -> tuple[str, str, str]:
    """Names of the VM's fleet, itself and its host. Raises Refused."""
    fleet = memory.state.fleet_by_uid(vm.fleet_uid)
    if fleet is None:
        raise Refused(
            Reason.NO_SUCH_VM, f"there is no fleet with the uid {vm.fleet_uid[:60]!r} any more"
        )
    check_vm(fleet, vm.index)
    holder = memory.holder_of(fleet.uid, vm.index)
    name = fleet.identity.domain_name(vm.index)
    if holder is None:
        why = planning.why_unplaced(fleet.name, vm.index) or "it is to be placed yet"
        raise Refused(Reason.NO_SUCH_VM, f"{name} is on no host: {why}")
    return fleet.name, name, holder[0]
