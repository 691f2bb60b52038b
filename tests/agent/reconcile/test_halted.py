"""VMs that are active and do not run: halted after an error, or suspended by somebody."""

from __future__ import annotations

import asyncio

import pytest

from fleet.ranges import EMPTY
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.model import Phase, StepKind, VmState
from fleet_agent.reconcile.agent import Agent
from tests.agent.agent_host import Host, in_state, settled, until
from tests.doubles.assignments import assignment, indices, kin, shard
from tests.virtual_loop import virtual

WHY = "I/O error: the file system is full"


def halt(host: Host, which: str) -> None:
    host.hollow.stall(kin(10).fleet_uid, indices(which), Phase.HALTED, WHY)


def problem(agent: Agent) -> wire.Problem:
    (only,) = agent.board.problems
    return only


@virtual
async def test_what_is_halted_is_failed_with_its_reason_and_soon_goes_on() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        halt(host, "3-4")
        await until(lambda: in_state(agent, kin(10), VmState.FAILED) == indices("3-4"), 1)
        told = problem(agent)
        assert (told.kind, told.count, told.example_message) == ("paused", 2, WHY)
        await until(lambda: in_state(agent, kin(10), VmState.RUNNING) == indices("0-9"), 2)
        assert not agent.board.problems


@virtual
async def test_what_halts_again_at_once_is_tried_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0", 10)), 10)
        host.steps.clear()

        # The disk is full still: whatever goes on is halted in the same moment.
        monkeypatch.setattr(host.hollow, "_go_on", lambda *_: None)
        halt(host, "0")
        await asyncio.sleep(120)
        starts = sum(step.kind is StepKind.START for step in host.steps)
        assert 4 <= starts <= 9, "after 1, 2, 4, ... seconds"
        assert in_state(agent, kin(10), VmState.FAILED) == indices("0")
        assert problem(agent).kind == "paused" and problem(agent).example_message == WHY
        monkeypatch.undo()
        await until(lambda: in_state(agent, kin(10), VmState.RUNNING) == indices("0"), 130)


@virtual
async def test_an_agent_that_begins_lets_go_on_what_it_finds_halted() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
    halt(host, "0-9")
    host.steps.clear()
    async with host.running() as agent:
        await until(lambda: in_state(agent, kin(10), VmState.RUNNING) == indices("0-9"), 5)
        assert not [step for step in host.steps if step.kind is StepKind.STOP]


@virtual
async def test_what_somebody_suspends_is_told_left_alone_and_runs_once_it_is_let_go_on() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, assignment(shard("0-9", 10)), 10)
        host.steps.clear()
        uid = kin(10).fleet_uid
        host.hollow.stall(uid, indices("2"), Phase.SUSPENDED, "by somebody")
        await until(lambda: in_state(agent, kin(10), VmState.FAILED) == indices("2"), 1)
        told = problem(agent)
        assert (told.kind, told.lasting, told.example_message) == ("suspended", True, "by somebody")
        await asyncio.sleep(1000)
        assert not host.steps and agent.board.converged
        host.hollow.go_on(uid, indices("2"))
        await until(lambda: in_state(agent, kin(10), VmState.FAILED) == EMPTY, 2)
        assert in_state(agent, kin(10), VmState.RUNNING) == indices("0-9")
        assert not host.steps and not agent.board.problems
