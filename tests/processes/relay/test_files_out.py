"""Files out of many VMs, passed on part by part: hosts that lie, callers that are slow, who may."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from fleet.guest_commands.answers import Answer
from fleet.guest_commands.copies import PART_BYTES
from fleet.guest_commands.files_out import MOST_OPEN, Leaving
from fleet.ranges import IndexSet
from fleet.transport import Role
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as wire
from fleet.wire_ranges import from_wire, to_wire
from fleet_controller.agents.port import NoAnswer
from fleet_controller.relay import files_out as relay_files
from fleet_controller.relay.files_out import Within
from tests.certificates import identity
from tests.doubles.leading import until
from tests.processes.relay.relay_rig import SECONDS, RelayRig, refusal, relay_rig
from tests.processes.relay.test_guest_commands import ENDS, shares

SILENT = commands.COMMAND_OUTCOME_HOST_SILENT
MOST = 200_000
FULL = b"x" * PART_BYTES


def request(**fields: Any) -> wire.CopyFromFleetRequest:
    file = wire.WantedFile(path="/var/log/app.log", most_bytes=MOST, timeout_ms=1000)
    return wire.CopyFromFleetRequest(**{"fleet": "spv", "file": file, **fields})


def call(stub: Any, first: wire.CopyFromFleetRequest) -> Any:
    async def requests() -> AsyncIterator[wire.CopyFromFleetRequest]:
        yield first

    return stub.CopyFromFleet(requests(), timeout=SECONDS)


def part(index: int, data: bytes = b"", **fields: Any) -> wire.CopyFromVmsAnswer:
    return wire.CopyFromVmsAnswer(part=wire.FilePart(index=index, data=data, **fields))


def ended(index: int, data: bytes, **fields: Any) -> wire.CopyFromVmsAnswer:
    end = {"size": len(data), "digest": hashlib.sha256(data).digest(), **fields}
    return part(index, data, end=wire.FileEnd(**end))


def whole(index: int, content: bytes) -> list[wire.CopyFromVmsAnswer]:
    leaving = Leaving(index)
    parts = [*leaving.add(content), leaving.last()]
    return [wire.CopyFromVmsAnswer(part=one) for one in parts]


def without(indices: IndexSet, answer: Answer) -> wire.CopyFromVmsAnswer:
    group = commands.OutcomeGroup(number=1, indices=to_wire(indices), text=answer.message())
    return wire.CopyFromVmsAnswer(groups=[group])


def says(rig: RelayRig, host: str, *answers: wire.CopyFromVmsAnswer | None) -> None:
    rig.agents[host].questions.replies["CopyFromVms"] = list(answers)


async def told(call: Any) -> tuple[dict[int, bytes], dict[int, IndexSet], Any]:
    """Files that ended, VMs without one by outcome, and what was said last."""
    coming: dict[int, bytes] = {}
    files: dict[int, bytes] = {}
    outcomes: dict[int, IndexSet] = {}
    texts: dict[int, int] = {}
    last = commands.RunInFleetAnswer()
    async for message in call:
        if message.HasField("part"):
            index = message.part.index
            coming[index] = coming.get(index, b"") + message.part.data
            if message.part.HasField("end"):
                files[index] = coming[index]
        if message.HasField("said"):
            last = message.said
            for group in last.groups:
                outcome = texts.setdefault(group.number, group.text.outcome)
                indices = from_wire(group.indices)
                outcomes[outcome] = outcomes.get(outcome, IndexSet()) | indices
    return files, outcomes, last


async def test_each_vms_file_comes_and_those_without_are_told() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        content = {index: bytes([index]) * (PART_BYTES + index) for index in mine["h1"]}
        says(rig, "h1", *(one for index in content for one in whole(index, content[index])), ENDS)
        no_agent = Answer(commands.COMMAND_OUTCOME_NO_AGENT)
        says(rig, "h2", without(mine["h2"], no_agent), ENDS)
        files, outcomes, last = await told(call(rig.stub(), request()))
        assert files == content and outcomes == {no_agent.outcome: mine["h2"]}
        assert (last.vms, last.vms_done, last.hosts, last.hosts_done) == (20, 20, 2, 2)
        (exchange,) = rig.agents["h1"].questions.exchanges
        (asked,) = exchange.inputs
        assert asked.file == request().file and asked.fleet_uid == uid and asked.term.revision
        assert from_wire(asked.indices) == mine["h1"]


async def test_who_copied_what_from_where_is_in_the_audit_without_the_content() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        says(rig, "h1", *(ended(index, b"secret") for index in range(3)), ENDS)
        files, _, _ = await told(call(rig.stub(), request()))
        assert files == dict.fromkeys(range(3), b"secret")
        lines, _ = rig.leading.memory.state.audit.page("spv", "", 0, 10)
        (line,) = (one for one in lines if one.action == "vms_copy_out")
        assert (line.actor, line.fleet) == ("operator/alice", "spv")
        assert line.after == (
            "3 VMs on 1 host (0-2): /var/log/app.log, at most 200,000 bytes of each"
        )
        assert [actor for _, actor in rig.events("vms_copy_out")] == ["operator/alice"]


@pytest.mark.parametrize(
    "lies",
    [
        [part(99, FULL)],  # not asked for
        [part(0, b"short")],
        [part(0, b"")],
        [part(0, FULL + b"x")],
        [part(0, FULL)] * 4,  # more than asked for
        [part(0, FULL), ended(0, FULL, size=PART_BYTES)],
        [ended(0, b"x", digest=b"x")],
        [ended(0, b"x", digest=b"x" * 33)],
        [ended(0, b"x"), ended(0, b"x")],
        [part(0, FULL), part(0, given_up=True), part(0, FULL)],
        [without(IndexSet.span(0, 1), Answer(commands.COMMAND_OUTCOME_COPIED))],
        [without(IndexSet.span(0, 1), Answer.failed("it has none")), ended(0, b"x")],
    ],
)
async def test_a_host_that_sends_what_cannot_be_loses_its_own_turn_alone(
    lies: list[wire.CopyFromVmsAnswer],
) -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        liar, other = ("h1", "h2") if 0 in mine["h1"] else ("h2", "h1")
        says(rig, liar, *lies, ENDS)
        says(rig, other, *(ended(index, b"x") for index in mine[other]), ENDS)
        files, outcomes, _ = await told(call(rig.stub(), request()))
        assert files.keys() - {0} == set(mine[other])
        assert outcomes[SILENT] | IndexSet.of((0,)) == mine[liar]
        assert len(rig.events("host_misbehaves")) == 1


async def test_a_host_that_begins_more_files_than_it_may_misbehaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_files, "MOST_OPEN", 2)
    async with relay_rig(1) as rig:
        await rig.scale(3)
        says(rig, "h1", *(part(index, FULL) for index in range(3)), ENDS)
        assert (await told(call(rig.stub(), request())))[1] == {SILENT: IndexSet.span(0, 3)}
        assert len(rig.events("host_misbehaves")) == 1
    assert MOST_OPEN > 2


class Endless:
    """A host that goes on, and says no more: at once, or a little later each time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.read_times = 0

    async def read(self) -> wire.CopyFromVmsAnswer:
        self.read_times += 1
        await asyncio.sleep(self._seconds)
        return wire.CopyFromVmsAnswer()

    def cancel(self) -> None:
        pass


@pytest.mark.parametrize(("pause", "most"), [(0.0, 12), (0.5, 5)])
async def test_a_host_without_an_end_uses_up_its_time(pause: float, most: int) -> None:
    endless = Endless(pause)
    answers = Within(endless, 2.0)
    with pytest.raises(NoAnswer, match="has not ended"):
        while True:
            await answers.read()
    assert endless.read_times <= most


async def test_what_its_reader_takes_is_not_of_its_time() -> None:
    answers = Within(Endless(0.0), 0.2)
    for _ in range(4):
        await asyncio.sleep(0.26)
        await answers.read()


async def test_a_caller_that_takes_nothing_is_let_go_and_the_host_hears_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_files, "NOT_TAKEN_SECONDS", 0.3)
    async with relay_rig(1) as rig:
        await rig.scale(3)
        file = wire.WantedFile(path="/x", most_bytes=1 << 30, timeout_ms=60_000)
        says(rig, "h1", *([part(0, FULL)] * 800))  # 50 MiB, more than connections hold
        asking = call(rig.stub(), request(file=file))
        await asking.read()  # and nothing more
        questions = rig.agents["h1"].questions
        await until(lambda: bool(questions.exchanges) and questions.exchanges[0].gone, SECONDS)
        # It was not taken off the host: what is held on the way is bounded.
        assert questions.exchanges[0].outbox.qsize() > 200

        # What was on its way comes still, and then the call is over.
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            while await asking.read() is not grpc.aio.EOF:
                pass
        assert "nothing of the files was taken" in (ended.value.details() or "")


async def test_an_agent_that_is_too_old_is_told_and_others_files_come() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        says(rig, "h2", *(ended(index, b"x") for index in mine["h2"]), ENDS)
        files, outcomes, _ = await told(call(rig.stub(), request()))
        assert files.keys() == set(mine["h2"])
        assert outcomes == {commands.COMMAND_OUTCOME_FAILED: mine["h1"]}


async def test_whoever_leaves_ends_it_on_the_hosts_too() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        says(rig, "h1", part(0, FULL))
        copying = call(rig.stub(), request())
        questions = rig.agents["h1"].questions
        await until(lambda: bool(questions.exchanges), SECONDS)
        copying.cancel()
        await until(lambda: questions.exchanges[0].gone, SECONDS)


async def test_viewers_may_not_and_what_cannot_be_is_refused_before_anybody_is_asked() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        eve = rig.stub(identity(Role.VIEWER, "eve"))
        code, reason, _ = await refusal(told(call(eve, request())))
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        for wrong in (
            request(fleet="nope"),
            request(host="nope"),
            request(file=wire.WantedFile(path="motd")),
        ):
            assert await refusal(told(call(rig.stub(), wrong)))
        assert not rig.agents["h1"].questions.exchanges


async def test_no_more_are_under_way_at_once_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_files, "MOST_AT_ONCE", 1)
    async with relay_rig(1) as rig:
        await rig.scale(3)
        says(rig, "h1", wire.CopyFromVmsAnswer())
        first = call(rig.stub(), request())
        await until(lambda: bool(rig.agents["h1"].questions.exchanges), SECONDS)
        code, _, message = await refusal(told(call(rig.stub(), request())))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "try again later" in message
        first.cancel()
