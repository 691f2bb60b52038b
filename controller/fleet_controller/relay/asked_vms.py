"""VMs of a fleet asked by way of their hosts, side by side, equal answers merged.

What is held of answers is bounded, and so is how long a host may be silent. A host tells of VMs
that it was asked about, once each; whatever else it says is its misbehaviour, and costs it its
turn alone.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fleet.guest_commands.answers import (
    LONGEST_REASON,
    Answer,
    BadAnswer,
    answer_of,
)
from fleet.guest_commands.groups import (
    MORE_WITHOUT_OUTPUT,
    MOST_BYTES_IN_LEADER,
    MOST_IN_LEADER,
    MOST_ON_HOST,
    OutcomeGroups,
    most_on_each,
)
from fleet.ranges import EMPTY, IndexSet
from fleet.transport import Refusal
from fleet.v1 import commands_pb2 as wire
from fleet.v1 import copies_pb2 as copies
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_controller.agents.port import Answers, Misbehaved, NoAnswer
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.names import counted, one_line
from fleet_controller.core.refusals import Reason, Refused, named_fleet
from fleet_controller.core.rollouts_and_drains.control import check_indices
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.relay.paced import Paced, ReadPace
from fleet_controller.relay.relay import NOT_ANSWERED, Relay

# Seconds between two words to the caller.
TELL_SECONDS = 0.5
# Hosts at once: a call costs some 20 kB for as long as it lasts.
HOSTS_AT_ONCE = 512
# Agents say every half a second that they go on; one that does not for so long is left out.
SILENCE_SECONDS = 15.0
# Seconds that a host has for each VM beside the VM's own: for its turn to begin, and to be tidied.
GRACE_SECONDS = 30.0
# Of a host, answers a second: every half a second one, and parts of a long one.
PACE = ReadPace(20, 4 << 20)
_MOST_NAMED = 100

HostSaid = wire.RunInVmsAnswer | copies.CopyFromVmsAnswer
Send = Callable[[wire.RunInFleetAnswer], Awaitable[None]]


class Chosen(Protocol):
    """How a request says which VMs of a fleet are meant; of requests of the wire."""

    @property
    def fleet(self) -> str: ...
    @property
    def indices(self) -> Any: ...
    @property
    def state(self) -> types.VmState.ValueType: ...
    @property
    def host(self) -> str: ...
    @property
    def host_selector(self) -> Any: ...


class AskedVms(ABC):
    """VMs of one fleet, asked for one operator. `what`: in words, as an agent would offer it."""

    what = ""
    allowed: frozenset[int] = frozenset()
    most_output = 0
    hosts_at_once = HOSTS_AT_ONCE
    pace = PACE

    def __init__(
        self, relay: Relay, memory: LeaderMemory, writer: ChangeWriter, request: Chosen, actor: str
    ) -> None:
        """Raises Refused."""
        self._relay = relay
        self._memory = memory
        self._writer = writer
        self._actor = actor
        self._fleet = named_fleet(memory.state.fleets, request.fleet)
        try:
            chosen = _chosen(memory, self._fleet, request)
        except ValueError as error:
            raise Refused(Reason.BAD_QUERY, str(error)) from error
        self._shares, unplaced = _shares(memory, self._fleet, request, chosen)
        self._groups = OutcomeGroups(MOST_IN_LEADER, MOST_BYTES_IN_LEADER)
        self._groups.add(unplaced, Answer(wire.COMMAND_OUTCOME_UNPLACED))
        self._vms = len(unplaced) + sum(map(len, self._shares.values()))
        self._turns = asyncio.Lock()
        self._hosts_done = 0
        self._silent: list[str] = []
        self._named = 0  # hosts that were

    @property
    def where(self) -> str:
        return f"{counted(self._vms, 'VM')} on {counted(len(self._shares), 'host')}"

    @property
    def which(self) -> str:
        """By their indices."""
        return str(IndexSet.union_of(self._shares.values())) or "none"

    def answers_of(self, share: IndexSet) -> HostAnswers:
        """What one host says of these."""
        return HostAnswers(share, self)

    @abstractmethod
    def asked(self, host_id: str, share: IndexSet, most: int) -> Answers[HostSaid]:
        """The call of one host; `most` different answers. Raises Refused."""

    @abstractmethod
    def longest(self, share: IndexSet) -> float | None:
        """Seconds that a host has for all of these VMs: one that only says that it goes on does not
        keep whoever asked for ever. None: `asked` sees to it."""

    @abstractmethod
    def check(self, answer: Answer) -> None:
        """What a host says of a VM. Raises BadAnswer."""

    async def audited(self, action: str, text: str, told: str) -> None:
        """In the audit trail, before anything is asked. Raises Refused, StoreError."""

        async def once() -> None:
            line = self._writer.audited(action, self._actor, fleet=self._fleet.name, after=text)
            await self._writer.write_one([line])

        await self._writer.decide(once)
        self._memory.events.add(action, told, fleet=self._fleet.name, actor=self._actor)

    async def run(self, send: Send) -> None:
        """Until every VM has answered, or its host cannot. Raises LeadershipLost."""
        waiting = iter(self._shares.items())
        asking: set[asyncio.Task[None]] = set()
        try:
            await self._tell(send)
            told = asyncio.get_running_loop().time()
            while True:
                while (
                    len(asking) < self.hosts_at_once and (share := next(waiting, None)) is not None
                ):
                    asking.add(asyncio.create_task(self._ask(*share)))
                if not asking:
                    break
                left = told + TELL_SECONDS - asyncio.get_running_loop().time()
                done, asking = await asyncio.wait(
                    asking, timeout=max(0.0, left), return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                if asyncio.get_running_loop().time() >= told + TELL_SECONDS:
                    await self._tell(send)
                    told = asyncio.get_running_loop().time()
            await self._tell(send)
        finally:
            for task in asking:
                task.cancel()
            if asking:
                await asyncio.wait(asking)

    async def _tell(self, send: Send) -> None:
        self._relay.raise_if_over()
        for part in [*self._groups.take(), []]:
            silent, self._silent = self._silent, []
            await send(
                wire.RunInFleetAnswer(
                    groups=part,
                    vms=self._vms,
                    vms_done=self._groups.vms,
                    hosts=len(self._shares),
                    hosts_done=self._hosts_done,
                    silent_hosts=silent,
                    fleet_uid=self._fleet.uid,
                )
            )

    async def _ask(self, host_id: str, share: IndexSet) -> None:
        """One host. All of its VMs are answered for afterwards. Raises LeadershipLost."""
        heard = self.answers_of(share)
        left = Answer(wire.COMMAND_OUTCOME_HOST_SILENT)
        try:
            with self._relay.answering(host_id, self.what):
                await self._follow(host_id, heard)
        except NOT_ANSWERED as error:
            if isinstance(error, Refusal) or error.reason is Reason.UNIMPLEMENTED:
                # Without its name, so that many of them are one answer.
                text = one_line(str(error).replace(host_id, "its host"), LONGEST_REASON)
                left = Answer.failed(text)
            elif self._named < _MOST_NAMED:
                self._named += 1
                self._silent.append(one_line(str(error), LONGEST_REASON))
        self._groups.add(heard.left, left)
        self._hosts_done += 1

    async def hear(self, answer: HostSaid, heard: HostAnswers) -> None:
        """One answer of a host. Raises Misbehaved."""
        # Hundreds of hosts may answer in one turn of the loop: each takes its own.
        async with self._turns:
            for told, said in heard.of(answer):
                self._groups.add(told, said)

    async def _follow(self, host_id: str, heard: HostAnswers) -> None:
        asked = self.asked(host_id, heard.left, most_on_each(len(self._shares)))
        answers = Paced(asked, self.pace)
        seconds = self.longest(heard.left)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                while (answer := await _next(answers)) is not None:
                    await self.hear(answer, heard)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise NoAnswer(f"it has not ended after {seconds:,.0f} s") from error
        finally:
            answers.cancel()
        if heard.left:
            raise Misbehaved(f"{host_id} ended without a word of {counted(len(heard.left), 'VM')}")


def in_turns(share: IndexSet, seconds: float, at_once: int) -> float:
    """How long a host may take at most that asks so many VMs at once, each of them so long."""
    return SILENCE_SECONDS + (seconds + GRACE_SECONDS) * (len(share) / at_once + 1)


async def _next(answers: Paced[HostSaid]) -> HostSaid | None:
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return await answers.read()
    except TimeoutError as error:
        raise NoAnswer(f"silent for {SILENCE_SECONDS:g} s") from error


class HostAnswers:
    """What one host says, checked. `left`: VMs that it has not told of."""

    def __init__(self, share: IndexSet, call: AskedVms) -> None:
        self.left = share
        self._call = call
        self._answers: dict[int, Answer] = {}

    def of(self, said: HostSaid) -> list[tuple[IndexSet, Answer]]:
        """Those that are told of for the first time, and what they answered. Raises Misbehaved."""
        try:
            told = [(from_wire(group.indices), self._answer(group)) for group in said.groups]
        except ValueError as error:
            raise Misbehaved(f"it answers for VMs that cannot be: {error}") from error
        everything = IndexSet.union_of(indices for indices, _ in told)
        left, self.left = self.left, self.left - everything
        if len(everything) == sum(len(one) for one, _ in told) and everything.issubset(left):
            return told
        anew = []
        for indices, answer in told:
            anew.append((indices & left, answer))
            left = left - indices
        return anew

    def _answer(self, group: wire.OutcomeGroup) -> Answer:
        if not group.HasField("text"):
            known = self._answers.get(group.number)
            if known is None:
                raise Misbehaved(f"it names answer {group.number}, and has said none such")
            return known
        if len(self._answers) >= MOST_ON_HOST + MORE_WITHOUT_OUTPUT:
            raise Misbehaved("it says more different answers than a host keeps")
        try:
            answer = answer_of(group.text, self._call.most_output, self._call.allowed)
            self._call.check(answer)
        except BadAnswer as error:
            raise Misbehaved(str(error)) from error
        self._answers[group.number] = answer
        return answer


def _chosen(memory: LeaderMemory, fleet: FleetRecord, request: Chosen) -> IndexSet:
    """By index and state. Raises Refused, ValueError."""
    chosen = from_wire(request.indices) if request.indices else fleet.wanted
    check_indices(fleet, chosen)
    if request.state:
        chosen = chosen & memory.observed.vectors[fleet.uid].having(request.state)
    return chosen


def _shares(
    memory: LeaderMemory,
    fleet: FleetRecord,
    request: Chosen,
    chosen: IndexSet,
) -> tuple[dict[str, IndexSet], IndexSet]:
    """By host; and those that are on none, where hosts do not matter. Raises Refused."""
    vector, observed = memory.observed.vectors[fleet.uid], memory.observed
    records = [memory.host(request.host)] if request.host else memory.state.hosts.values()
    labels = request.host_selector.items()
    shares: dict[str, IndexSet] = {}
    for record in records:
        if any(record.labels.get(key) != value for key, value in labels):
            continue
        seen = observed.host(record.id)
        within = IndexSet.union_of(
            shard.ranges & chosen for shard in seen.assignment.shards if shard.fleet == fleet.uid
        )
        # Of VMs on the move, the host that holds them.
        if share := vector.held(seen.number, within):
            shares[record.id] = share
    if request.host or labels:
        return shares, EMPTY
    return shares, chosen - IndexSet.union_of(shares.values())
