"""Failing VMs as events, by fleet and kind: gathered from what hosts report, every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleet_controller.core.events.failure_news import Failing, FailureKind, FailureNews, News, Phase
from fleet_controller.events import EventLog
from fleet_controller.observed.reports import Observed

# Between two looks.
_SECONDS = 5.0
# Hosts looked at without letting others run: one to two milliseconds.
_HOSTS_A_SLICE = 500
_MOST_VMS = 2**32 - 1


class FailingVms:
    """Of one leadership. `settling`: whether hosts are still to be heard; `fleet_name`: of a uid,
    empty where the fleet is gone."""

    def __init__(
        self,
        observed: Observed,
        events: EventLog,
        clock: Callable[[], float],
        settling: Callable[[], bool],
        fleet_name: Callable[[str], str],
    ) -> None:
        self._observed = observed
        self._events = events
        self._clock = clock
        self._settling = settling
        self._fleet_name = fleet_name
        self._news = FailureNews()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Once. What a new leader has not heard yet says nothing of growth."""
        if self._settling():
            return
        failing = await self._gathered()
        for news in self._news.look(self._clock(), failing):
            self._tell(news)

    async def _gathered(self) -> dict[FailureKind, Failing]:
        """By the reports of all hosts: of those that are not heard, by their last."""
        observed = self._observed
        found: dict[FailureKind, Failing] = {}
        for position, host_id in enumerate(sorted(observed.troubled), 1):
            for problem in observed.host(host_id).problems:
                if problem.fleet_uid and problem.count:
                    what = FailureKind(problem.fleet_uid, problem.kind)
                    example = f"{host_id}: {problem.example_message}"
                    have = found.get(what, Failing(0, 0, example))
                    vms = min(have.vms + problem.count, _MOST_VMS)
                    found[what] = Failing(vms, have.hosts + 1, have.example)
            if position % _HOSTS_A_SLICE == 0:
                await asyncio.sleep(0)
        return found

    def _tell(self, news: News) -> None:
        fleet = self._fleet_name(news.what.fleet)
        if fleet:  # else it is gone, and so is what failed of it
            text = _text(fleet, news)
            self._events.add(news.phase.value, text, fleet=fleet, alike=news.what.kind)


def _text(fleet: str, news: News) -> str:
    kind, seen = news.what.kind, news.failing
    if news.phase is Phase.OVER:
        return f"{kind}: no VM of {fleet} fails so any more; at most {news.most:,} did at once"
    hosts = f"{seen.hosts:,} host{'' if seen.hosts == 1 else 's'}"
    vms = f"{seen.vms:,} VM{'' if seen.vms == 1 else 's'}"
    more = " by now" if news.phase is Phase.GROWN else ""
    return f"{kind}: {vms} of {fleet} failed on {hosts}{more}: {seen.example}"
