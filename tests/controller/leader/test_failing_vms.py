"""Failing VMs as events: begun, grown tenfold, over; by fleet and kind, and never a flood."""

from __future__ import annotations

import asyncio

from fleet.v1 import agent_pb2 as wire
from fleet_controller.core.events.failure_news import (
    BEGUN_AFTER,
    MOST,
    OVER_AFTER,
    Failing,
    FailureKind,
    FailureNews,
    Phase,
)
from fleet_controller.events import KEPT_OF_KIND, EventLog
from fleet_controller.replica.leader import Leader
from tests.controller.leader.asked_leader import Agents, fleet_of, play, scale

WHAT = FailureKind("u1", "no_memory")
STEP = 5.0


class Followed:
    """One kind of failure of one fleet, looked at every five seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.news = FailureNews()

    def told(self, *vms: int) -> list[Phase]:
        """What is told while so many VMs fail, look by look."""
        return [one for count in vms for one in self._look(count)]

    def _look(self, vms: int) -> list[Phase]:
        self.now += STEP
        failing = {WHAT: Failing(vms, 1, "h1: none left")} if vms else {}
        return [one.phase for one in self.news.look(self.now, failing)]


def looks(seconds: float) -> int:
    return int(seconds / STEP) + 1


def test_it_has_begun_has_grown_tenfold_and_is_over() -> None:
    followed = Followed()
    assert followed.told(*[3] * looks(BEGUN_AFTER)) == [Phase.BEGUN]
    assert followed.told(29, 3, 29) == []
    assert followed.told(30, 299, 30, 299) == [Phase.GROWN]
    assert followed.told(300, 300) == [Phase.GROWN]
    assert followed.told(*[0] * looks(OVER_AFTER)) == [Phase.OVER]
    assert followed.told(*[0] * 50) == []


def test_what_ends_at_once_is_not_told() -> None:
    followed = Followed()
    assert followed.told(*[5, 0] * 100) == []


def test_what_comes_and_goes_is_told_once() -> None:
    followed = Followed()
    followed.told(*[5] * looks(BEGUN_AFTER))
    assert followed.told(*[0, 0, 5] * 100) == []
    assert followed.told(*[0] * looks(OVER_AFTER)) == [Phase.OVER]


def test_kinds_that_hosts_make_up_are_bounded_and_those_of_most_hosts_are_followed() -> None:
    news = FailureNews()
    made_up = {FailureKind("u1", f"k{n}"): Failing(9, 1, "") for n in range(5 * MOST)}
    failing = made_up | {WHAT: Failing(2, 40, "")}
    news.look(0.0, failing)
    told = news.look(BEGUN_AFTER, failing)
    assert len(told) == MOST and WHAT in {one.what for one in told}


def test_a_leader_tells_of_failures_that_hosts_report_by_fleet_and_kind() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        uid = fleet_of(leader).uid
        failing = wire.Problem(
            kind="no_memory", fleet_uid=uid, count=1, example_message="none left"
        )
        for seconds, problems in ((BEGUN_AFTER, [failing]), (OVER_AFTER, [])):
            for _ in range(looks(seconds) + 2):
                for name in ("h0", "h1"):
                    agents[name].send(problems=problems, problems_set=True)
                await asyncio.sleep(STEP)
        events, _ = leader.memory.events.after(0, 1000, "spv", "")
        told = [(one.kind, one.message) for one in events if one.kind.startswith("vms_failing")]
        assert told == [
            ("vms_failing", "no_memory: 2 VMs of spv failed on 2 hosts: h0: none left"),
            (
                "vms_failing_over",
                "no_memory: no VM of spv fails so any more; at most 2 did at once",
            ),
        ]

    play(scenario)


def test_consoles_that_are_opened_in_a_loop_push_nothing_out() -> None:
    now = 0.0
    events = EventLog(lambda: now)
    events.add("fleet_scaled", "what matters", actor="operator/me")
    most = KEPT_OF_KIND["console_opened"]
    for opened in range(20_000):
        now += 1.0
        name = f"spv-{opened % (2 * most)}"
        events.add("console_opened", name, host="h1", actor="operator/me", alike=name, counted=True)
    kept, _ = events.after(0, 20_000, "", "")
    assert kept[0].message == "what matters"
    assert len(kept) == 1 + most
