"""A host that is removed while something is asked about it: who asked is told so, in words."""

from __future__ import annotations

import asyncio

import pytest

from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import hosts as host_queries
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from tests.doubles.leading import another_change
from tests.in_process.six_hosts import ME, Stage, play, told
from tests.in_process.test_host_claims import join


def test_a_reset_that_waited_for_a_removal_finds_no_host_and_writes_nothing() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await join(leader, stage, "empty", 1)
        async with another_change(leader):
            removal = asyncio.create_task(leader.hosts.remove("empty", False, ME))
            await asyncio.sleep(0)
            reset = asyncio.create_task(leader.host_reset.reset("empty", ME))
            await asyncio.sleep(0)
        await removal
        with pytest.raises(Refused, match="no host 'empty'"):
            await reset
        assert keys.assignment("empty") not in {
            entry.key for entry in (await stage.store.read()).entries
        }

    play(scene)


def test_an_answer_about_a_host_that_was_removed_before_it_was_made_is_a_refusal() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await join(leader, stage, "empty", 1)
        await leader.hosts.remove("empty", False, ME)
        with pytest.raises(Refused) as refusal:
            host_queries.host_summary(leader.memory, leader.planning, "empty")
        assert refusal.value.reason is Reason.NO_SUCH_HOST

    play(scene)


def test_a_host_that_never_answers_a_reset_keeps_nobody_elses_change_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        asked, answers = asyncio.Event(), asyncio.Event()

        async def ask(host_id: str, address: str) -> None:
            asked.set()
            await answers.wait()

        monkeypatch.setattr(leader.host_reset, "_ask", ask)
        reset = asyncio.create_task(leader.host_reset.reset("h0", ME))
        await asked.wait()
        async with asyncio.timeout(1.0):
            await leader.fleets.scale("spv", 20, ME)
        answers.set()
        await reset
        assert told(leader, host="h0")[-1][0] == "reset_host"

    play(scene)
