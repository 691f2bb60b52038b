"""Hosts whose ledger cannot be written: they answer, and are neither silent nor replaced."""

from __future__ import annotations

import asyncio

from fleet_controller.agents.port import Declined
from fleet_controller.core.model import Health
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.host_loss.racks_of_five import LOST_AFTER, Cluster, play

FULL = "ledger /var/lib/megafleet/ledger cannot be written: No space left on device"


def test_a_host_whose_ledger_is_full_is_named_gets_nothing_and_is_never_lost() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        it.agent(3).orders_refused = FULL
        await until(lambda: answers.status(it.leader).hosts.orders_refused == 1)
        await it.leader.fleets.scale("spv", 140, "operator/me")
        await asyncio.sleep(LOST_AFTER * 3)
        assert not it.lost() and not it.world.twice
        assert it.leader.memory.links.by_health[Health.LIVE] == 20
        assert it.held("h03") == 5, "it gets nothing, and loses nothing"
        assert answers.host_summary(it.leader, "h03").orders_refused == FULL
        (problem,) = [one for one in it.status().problems if one.kind == "orders_refused"]
        assert problem.example == f"h03 cannot take orders: {FULL}"
        assert (problem.hosts, problem.count) == (1, 5)

        it.agent(3).orders_refused = ""
        await until(lambda: not answers.status(it.leader).hosts.orders_refused)
        assert it.status().converged

    play(scenario)


def test_a_host_that_answers_each_watch_with_a_refusal_is_not_lost_by_time() -> None:
    async def scenario(it: Cluster) -> None:
        await it.scale(100)
        refusals = it.agent(3).watch_refusals
        refusals += [Declined(f"h03: {FULL}") for _ in range(1000)]
        it.cut(3)
        it.network.mend()
        await asyncio.sleep(LOST_AFTER * 3)
        assert len(refusals) < 1000 and not it.lost() and not it.world.twice
        assert FULL in answers.host_summary(it.leader, "h03").link_error

    play(scenario)
