"""One file into many VMs, passed on: once to each host, and hosts that lie, are too old or away."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet
from fleet.transport import Role
from fleet.v1 import commands_pb2 as wire
from fleet.v1 import copies_pb2 as copies
from fleet.wire_ranges import from_wire
from fleet_controller.relay import copies as relay_copies
from tests.certificates import identity
from tests.doubles.leading import until
from tests.processes.relay.relay_rig import SECONDS, RelayRig, refusal, relay_rig
from tests.processes.relay.test_guest_commands import ENDS, all_of, shares

CONTENT = bytes(range(256)) * 600
DIGEST = hashlib.sha256(CONTENT).digest()
COPIED = Answer(wire.COMMAND_OUTCOME_COPIED, digest=DIGEST)
SILENT = Answer(wire.COMMAND_OUTCOME_HOST_SILENT)
PART = 64 * 1024


def request(**fields: Any) -> copies.CopyIntoFleetRequest:
    file = copies.CopiedFile(
        path="/etc/motd", mode=0o644, size=len(CONTENT), digest=DIGEST, timeout_ms=1000
    )
    return copies.CopyIntoFleetRequest(**{"fleet": "spv", "file": file, **fields})


def call(stub: Any, first: copies.CopyIntoFleetRequest, content: bytes = CONTENT) -> Any:
    async def requests() -> AsyncIterator[copies.CopyIntoFleetRequest]:
        yield first
        for start in range(0, len(content), PART):
            yield copies.CopyIntoFleetRequest(data=content[start : start + PART])

    return stub.CopyIntoFleet(requests(), timeout=SECONDS)


async def outcomes(rig: RelayRig, **fields: Any) -> dict[int, IndexSet]:
    """VMs by what became of the file in them."""
    told: dict[int, int] = {}
    found: dict[int, IndexSet] = {}
    async for message in call(rig.stub(), request(**fields)):
        for one in message.groups:
            outcome = told.setdefault(one.number, one.text.outcome)
            found[outcome] = found.get(outcome, IndexSet()) | from_wire(one.indices)
    return found


def says(rig: RelayRig, host: str, *answers: wire.RunInVmsAnswer | None) -> None:
    rig.agents[host].questions.replies["CopyIntoVms"] = list(answers)


async def test_the_content_goes_to_each_host_once_whatever_its_vms() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        for host in mine:
            says(rig, host, wire.RunInVmsAnswer())  # it is taken
        copying = call(rig.stub(), request())
        questions = {host: rig.agents[host].questions for host in mine}
        for host, one in questions.items():
            await until(lambda one=one: any(e.no_more_inputs for e in one.exchanges), SECONDS)  # type: ignore[misc]
            (exchange,) = one.exchanges
            first, *parts = exchange.inputs
            assert b"".join(part.data for part in parts) == CONTENT
            assert from_wire(first.indices) == mine[host] and first.fleet_uid == uid
            assert first.term.revision and first.file.digest == DIGEST
            exchange.say(all_of(mine[host], COPIED), ENDS)
        last = [one async for one in copying][-1]
        assert (last.vms, last.vms_done, last.hosts_done) == (20, 20, 2)


async def test_who_copied_what_where_is_in_the_audit_without_the_content() -> None:
    async with relay_rig(1) as rig:
        uid = await rig.scale(3)
        says(rig, "h1", all_of(shares(rig, uid)["h1"], COPIED), ENDS)
        assert await outcomes(rig) == {wire.COMMAND_OUTCOME_COPIED: IndexSet.span(0, 3)}
        lines, _ = rig.leading.memory.state.audit.page("spv", "", 0, 10)
        (line,) = (one for one in lines if one.action == "vms_copy")
        assert (line.actor, line.fleet) == ("operator/alice", "spv")
        where = "3 VMs on 1 host: /etc/motd, 153,600 bytes"
        assert line.after == f"{where}, SHA-256 {DIGEST.hex()}"
        assert [actor for _, actor in rig.events("vms_copy")] == ["operator/alice"]


@pytest.mark.parametrize(
    "lie",
    [
        Answer(wire.COMMAND_OUTCOME_COPIED, digest=b"x" * 32),
        Answer(wire.COMMAND_OUTCOME_COPIED),
        Answer(wire.COMMAND_OUTCOME_ENDED),
        Answer(wire.COMMAND_OUTCOME_COPIED, output=b"x", total=1, digest=DIGEST),
    ],
)
async def test_a_host_that_claims_what_cannot_be_loses_its_own_turn_alone(lie: Answer) -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        says(rig, "h1", all_of(mine["h1"], lie), ENDS)
        says(rig, "h2", all_of(mine["h2"], COPIED), ENDS)
        assert await outcomes(rig) == {SILENT.outcome: mine["h1"], COPIED.outcome: mine["h2"]}
        assert len(rig.events("host_misbehaves")) == 1


async def test_an_agent_that_is_too_old_is_told_and_others_have_the_file() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(20)
        mine = shares(rig, uid)
        says(rig, "h2", all_of(mine["h2"], COPIED), ENDS)
        found = await outcomes(rig)
        assert found == {wire.COMMAND_OUTCOME_FAILED: mine["h1"], COPIED.outcome: mine["h2"]}


async def test_whoever_leaves_ends_it_on_the_hosts_too() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        says(rig, "h1", wire.RunInVmsAnswer())
        copying = call(rig.stub(), request())
        questions = rig.agents["h1"].questions
        await until(lambda: bool(questions.exchanges), SECONDS)
        copying.cancel()
        await until(lambda: questions.exchanges[0].gone, SECONDS)


async def _all(asking: Any) -> None:
    async for _ in asking:
        pass


async def test_a_file_that_does_not_come_whole_touches_no_vm() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        for content in (CONTENT[:-1], CONTENT[:-1] + b"x"):
            _, _, message = await refusal(_all(call(rig.stub(), request(), content)))
            assert "no VM was touched" in message
        assert not rig.agents["h1"].questions.exchanges
        assert not rig.events("vms_copy")


async def test_viewers_may_not_and_what_cannot_be_is_refused_before_anybody_is_asked() -> None:
    async with relay_rig(1) as rig:
        await rig.scale(3)
        eve = rig.stub(identity(Role.VIEWER, "eve"))
        code, reason, _ = await refusal(_all(call(eve, request(), b"")))
        assert (code, reason) == (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        for wrong in (
            request(fleet="nope"),
            request(host="nope"),
            request(file=copies.CopiedFile(path="motd")),
        ):
            assert await refusal(_all(call(rig.stub(), wrong, b"")))
        assert not rig.agents["h1"].questions.exchanges


async def test_no_more_files_are_held_at_once_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_copies, "MOST_AT_ONCE", 1)
    async with relay_rig(1) as rig:
        await rig.scale(3)
        says(rig, "h1", wire.RunInVmsAnswer())
        first = call(rig.stub(), request())
        await until(lambda: bool(rig.agents["h1"].questions.exchanges), SECONDS)
        code, _, message = await refusal(_all(call(rig.stub(), request(), b"")))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "try again later" in message
        first.cancel()
