"""One command in many VMs, passed on: hosts that lie, fall silent, are too old or away; who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.transport import Refusal, Role
from fleet.v1 import commands_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire, to_wire
from fleet_controller.agents.port import Declined
from fleet_controller.relay import asked_vms, commands
from tests.certificates import identity
from tests.doubles.leading import until
from tests.doubles.obedient_agents import ObedientAgent
from tests.processes.relay.relay_rig import SECONDS, RelayRig, refusal, relay_rig

COMMAND = wire.GuestCommand(line="uname -r", timeout_ms=10_000, output_bytes=100)
KERNEL = Answer.ended(0, b"6.12.117\n", 100)
SILENT = wire.COMMAND_OUTCOME_HOST_SILENT
ENDS = None  # as of Exchange: the host has said all


def group(number: int, ranges: str, answer: Answer | None = KERNEL) -> wire.OutcomeGroup:
    start, stop = map(int, ranges.split("-"))
    told = answer.message() if answer else None
    return wire.OutcomeGroup(
        number=number, indices=[types.IndexRange(start=start, stop=stop)], text=told
    )


def said(*groups: wire.OutcomeGroup) -> wire.RunInVmsAnswer:
    return wire.RunInVmsAnswer(groups=groups)


def asked_of(agent: ObedientAgent) -> list[wire.RunInVmsRequest]:
    return [one for one in agent.questions.asked if isinstance(one, wire.RunInVmsRequest)]


def says(rig: RelayRig, host: str, *answers: wire.RunInVmsAnswer | None) -> None:
    rig.agents[host].questions.replies["RunInVms"] = list(answers)


def shares(rig: RelayRig, uid: str) -> dict[str, IndexSet]:
    """Which VMs each host has."""
    observed = rig.leading.memory.observed
    return {
        host: IndexSet.union_of(
            shard.ranges for shard in observed.host(host).assignment.shards if shard.fleet == uid
        )
        for host in rig.agents
    }


def all_of(share: IndexSet, answer: Answer = KERNEL) -> wire.RunInVmsAnswer:
    return said(wire.OutcomeGroup(number=1, indices=to_wire(share), text=answer.message()))


def request(**fields: Any) -> wire.RunInFleetRequest:
    return wire.RunInFleetRequest(**{"fleet": "spv", "command": COMMAND, **fields})


def call(stub: Any, asked: wire.RunInFleetRequest | None = None) -> Any:
    async def requests() -> AsyncIterator[wire.RunInFleetRequest]:
        yield asked or request()

    return stub.RunInFleet(requests(), timeout=SECONDS)


async def answered(
    rig: RelayRig, asked: wire.RunInFleetRequest | None = None
) -> tuple[dict[Answer, IndexSet], list[wire.RunInFleetAnswer]]:
    """VMs by their answers, each once; and all that was told."""
    texts: dict[int, Answer] = {}
    found: dict[Answer, IndexSet] = {}
    messages = []
    async for message in call(rig.stub(), asked):
        messages.append(message)
        for one in message.groups:
            if one.HasField("text"):
                text = one.text
                texts[one.number] = Answer(
                    text.outcome, text.exit_code, text.output, text.output_total, text.digest,
                    text.reason, text.others,
                )  # fmt: skip
            indices = from_wire(one.indices)
            assert all(indices.isdisjoint(other) for other in found.values())
            answer = texts[one.number]
            found[answer] = found.get(answer, IndexSet()) | indices
    return found, messages


async def test_equal_answers_of_all_hosts_are_one() -> None:
    async with relay_rig(3) as rig:
        uid = await rig.scale(30)
        for host, share in shares(rig, uid).items():
            says(rig, host, all_of(share), ENDS)
        found, messages = await answered(rig)
        assert found == {KERNEL: IndexSet.span(0, 30)}
        assert sum(one.HasField("text") for told in messages for one in told.groups) == 1
        last = messages[-1]
        assert (last.vms, last.vms_done, last.hosts, last.hosts_done) == (30, 30, 3, 3)
        for agent in rig.agents.values():
            (asked,) = asked_of(agent)
            assert asked.command == COMMAND and asked.actor == "operator/alice"
            assert asked.fleet_uid == uid and asked.term.revision


async def test_who_ran_what_where_is_in_the_audit_without_the_output() -> None:
    async with relay_rig(1) as rig:
        uid = await rig.scale(3)
        says(rig, "h1", all_of(shares(rig, uid)["h1"]), ENDS)
        await answered(rig)
        lines, _ = rig.leading.memory.state.audit.page("spv", "", 0, 10)
        (line,) = (one for one in lines if one.action == "vms_run")
        assert (line.actor, line.fleet) == ("operator/alice", "spv")
        assert line.after == "3 VMs on 1 host: uname -r" and "6.12" not in repr(line)
        assert [actor for _, actor in rig.events("vms_run")] == ["operator/alice"]


@pytest.mark.parametrize(
    "lie",
    [
        said(group(1, "0-0")),  # an empty range
        said(group(7, "0-5", None)),  # an answer that it has not told
        said(group(1, "0-5", Answer(SILENT))),
        said(group(1, "0-5", Answer(wire.COMMAND_OUTCOME_UNPLACED))),
        said(group(1, "0-5", Answer.ended(300, b"", 9))),
        said(group(1, "0-5", Answer.ended(0, b"x" * 200, 200))),
        said(),  # it ends without a word of its VMs
    ],
)
async def test_a_host_that_lies_loses_its_own_turn_and_nobody_elses(
    lie: wire.RunInVmsAnswer,
) -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        says(rig, "h1", lie, ENDS)
        says(rig, "h2", all_of(mine["h2"]), ENDS)
        found, messages = await answered(rig)
        assert found == {Answer(SILENT): mine["h1"], KERNEL: mine["h2"]}
        (named,) = (text for one in messages for text in one.silent_hosts)
        assert "h1" in named and len(rig.events("host_misbehaves")) == 1


async def test_a_host_answers_for_its_own_vms_alone_and_once_for_each() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine, evil = shares(rig, uid), Answer.ended(0, b"evil\n", 100)
        everything = group(2, "0-1000", evil)
        says(rig, "h1", all_of(mine["h1"]), said(everything), ENDS)
        says(rig, "h2", said(everything), all_of(mine["h2"]), ENDS)
        found, _ = await answered(rig)
        assert found == {KERNEL: mine["h1"], evil: mine["h2"]}


async def test_a_host_that_claims_the_digest_of_others_changes_no_answer_of_theirs() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        forged = Answer(KERNEL.outcome, 0, b"666\n", KERNEL.total, KERNEL.digest)
        says(rig, "h1", all_of(mine["h1"], forged), ENDS)
        says(rig, "h2", all_of(mine["h2"]), ENDS)
        assert (await answered(rig))[0] == {forged: mine["h1"], KERNEL: mine["h2"]}


async def test_hosts_that_are_silent_or_away_are_named_and_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asked_vms, "SILENCE_SECONDS", 0.5)
    async with relay_rig(3) as rig:
        uid = await rig.scale(30)
        mine = shares(rig, uid)
        says(rig, "h1", all_of(mine["h1"]), ENDS)
        says(rig, "h2")  # the call goes on, and nothing is said
        await rig.lose("h3")
        found, messages = await answered(rig)
        assert found == {KERNEL: mine["h1"], Answer(SILENT): mine["h2"] | mine["h3"]}
        named = sorted(text for one in messages for text in one.silent_hosts)
        assert len(named) == 2 and "h2" in named[0] and "h3" in named[1]


async def test_a_host_that_only_says_that_it_goes_on_is_left_out_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commands.CommandRun, "longest", lambda call, share: 0.5)
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        says(rig, "h1", *[said()] * 1_000)
        says(rig, "h2", all_of(mine["h2"]), ENDS)
        found, messages = await answered(rig)
        assert found == {Answer(SILENT): mine["h1"], KERNEL: mine["h2"]}
        (named,) = (text for one in messages for text in one.silent_hosts)
        assert "h1 did not answer in time" in named


async def test_an_agent_that_is_too_old_or_refuses_is_told_with_the_reason() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        busy = Refusal(grpc.StatusCode.UNAVAILABLE, "LEDGER_FAILED", "h2 cannot write")
        rig.agents["h2"].questions.replies["RunInVms"] = Declined("x", busy)
        found, _ = await answered(rig)
        reasons = {answer.reason: vms for answer, vms in found.items()}
        assert reasons["its host cannot write"] == mine["h2"]
        (old,) = (text for text, vms in reasons.items() if vms == mine["h1"])
        assert "does not offer commands in VMs" in old and "h1" not in old


async def test_whoever_leaves_ends_it_on_the_hosts_too() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        says(rig, "h1", said())
        asking = call(rig.stub())
        await asking.read()
        questions = rig.agents["h1"].questions
        await until(lambda: bool(questions.exchanges), SECONDS)
        asking.cancel()
        await until(lambda: questions.exchanges[0].gone, SECONDS)


async def test_the_end_of_the_leadership_ends_it_with_a_sentence() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        says(rig, "h1", said())
        ending = asyncio.create_task(refusal(_all(call(rig.stub()))))
        await until(lambda: bool(rig.agents["h1"].questions.exchanges), SECONDS)
        await rig.depose()
        _, reason, message = await ending
        assert reason == "NOT_LEADER" and message


async def _all(asking: Any) -> None:
    async for _ in asking:
        pass


async def test_only_those_that_were_chosen_are_asked() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        for host, share in mine.items():
            says(rig, host, all_of(share), ENDS)
        found, _ = await answered(rig, request(host="h2"))
        assert found == {KERNEL: mine["h2"]}
        some = IndexSet.span(0, 15)
        found, _ = await answered(rig, request(indices=to_wire(some)))
        assert found == {KERNEL: some}
        found, messages = await answered(rig, request(host_selector={"rack": "none"}))
        assert found == {} and messages[-1].vms == 0


async def test_vms_that_are_on_no_host_are_told_as_that() -> None:
    async with relay_rig(1) as rig:
        uid = await rig.scale(25)  # ten fit
        mine = shares(rig, uid)["h1"]
        says(rig, "h1", all_of(mine), ENDS)
        found, _ = await answered(rig)
        assert found[Answer(wire.COMMAND_OUTCOME_UNPLACED)] == IndexSet.span(0, 25) - mine


async def test_viewers_may_not_and_what_cannot_be_asked_is_refused_before_anybody_is() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        eve = rig.stub(identity(Role.VIEWER, "eve"))
        code, reason, _ = await refusal(_all(call(eve)))
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        wrong = [
            request(fleet="nope"),
            request(host="nope"),
            request(indices=[types.IndexRange(start=2, stop=4)]),
            request(indices=[types.IndexRange(start=2, stop=2)]),
            request(command=wire.GuestCommand()),
        ]
        for one in wrong:
            assert await refusal(_all(call(rig.stub(), one)))
        assert not asked_of(rig.agents["h1"])
