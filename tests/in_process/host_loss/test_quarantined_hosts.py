"""Hosts on which many VMs fail: the real leader on a virtual clock."""

from __future__ import annotations

import asyncio

from fleet.v1 import agent_pb2 as wire
from fleet_controller.queries import hosts as host_queries
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.host_loss.racks_of_five import HOSTS, ME, Cluster, play


def test_a_host_on_which_many_vms_fail_gets_no_more() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.agent(3).problems = [_failing(it, 5, "no_memory")]
        it.agent(3).beat()
        await asyncio.sleep(50)
        assert not it.leader.memory.state.quarantined, "not for a moment's trouble"
        await until(lambda: it.leader.memory.state.quarantined == {"h03"}, 20)
        summary = answers.host_summary(it.leader, "h03")
        assert summary.quarantine == "5 of 5 VMs fail, most with no_memory: why"
        assert host_queries.host_counts(it.leader.memory).quarantined == 1
        await it.scale(190)
        assert it.held("h03") == 5, "what it has stays"
        it.agent(3).problems = []
        it.agent(3).beat()
        await asyncio.sleep(100)
        assert it.leader.memory.state.quarantined == {"h03"}, "until somebody lets it out"
        await it.leader.verdicts.release_quarantine("h03", ME)
        await it.scale(195)
        assert it.held("h03") == 10
        assert it.kinds()["host_quarantined"] == it.kinds()["host_released"] == 1

    play(scenario)


def test_what_fails_everywhere_puts_no_host_in_quarantine() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        for number in range(HOSTS):
            it.agent(number).problems = [_failing(it, 5, "image_missing")]
            it.agent(number).beat()
        await asyncio.sleep(300)
        assert not it.leader.memory.state.quarantined

    play(scenario)


def _failing(it: Cluster, count: int, kind: str) -> wire.Problem:
    uid = it.status().uid
    return wire.Problem(kind=kind, fleet_uid=uid, count=count, example_message="why")
