"""What is declared of hosts by time: lost, back again, in quarantine; and the breaker of the first.

Once a second everything is judged again from links, reports and the store (core/host_loss).
Standbys are asked about hosts that would be lost before that is written. A verdict is a field of
the host's record, or the breaker's record; placement follows from those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.host_loss.loss import Judgement
from fleet_controller.core.model import BreakerRecord
from fleet_controller.events import EventLog
from fleet_controller.host_loss.absences import Absences
from fleet_controller.host_loss.failing_hosts import FailingHosts
from fleet_controller.host_loss.standby_poll import MORE_SECONDS, StandbyPoll
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.planner import Planner
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter, beside_their_lines
from fleet_controller.mirror.committer import Outdated
from fleet_controller.mirror.records import Write, put_breaker, put_host
from fleet_controller.store.port import StoreError


class Judge:
    """One leadership's."""

    def __init__(
        self,
        memory: LeaderMemory,
        writer: ChangeWriter,
        planner: Planner,
        trust: StoreTrust,
        wake: PlannerWake,
        poll: StandbyPoll,
        absences: Absences,
        failing: FailingHosts,
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._planner = planner
        self._trust = trust
        self._wake = wake
        self._poll = poll
        self._absences = absences
        self._failing = failing

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._memory.settings.judge_interval)
            if not self._planner.plans_freely:
                continue
            self._absences.begin()
            self._poll.forget_settled()
            if not self._anything_amiss():
                continue
            await self._ask_standbys()
            try:
                await self._writer.decide(self._judge_once, while_frozen=True, attempts=1)
            except (Outdated, StoreError):
                continue  # the same is found again; the planner says what troubles the store

    def _anything_amiss(self) -> bool:
        state = self._memory.state
        return bool(
            not self._memory.links.all_live
            or state.lost
            or state.breaker.scopes
            or self._memory.observed.troubled
            or self._failing
        )

    async def _ask_standbys(self) -> None:
        """Ask standbys, for at most MORE_SECONDS and one answer. Nothing else waits for them."""
        began = self._memory.clock()
        while about := self._poll.about(self._absences.judged().unconfirmed):
            await self._poll.ask(about)
            if self._memory.clock() - began >= MORE_SECONDS:
                return

    async def _judge_once(self) -> None:
        if not self._planner.plans_freely:
            return
        back, judged, failing = self._returned(), self._absences.judged(), self._failing.due()
        before = self._memory.state.breaker
        writes, lines = self._verdicts(back, judged.lost, failing)
        if set(judged.scopes) != set(before.scopes):
            writes.append(put_breaker(self._breaker(judged)))
            lines.append(self._audited("breaker", after=judged.reason or "closed"))
        self._absences.declaring(judged.lost)
        await self._writer.write(beside_their_lines(writes, lines))
        self._absences.declared(judged, back)
        self._add_events(back, judged, failing, before)
        if back or judged.lost or failing:
            self._wake.urge()

    def _verdicts(
        self, back: Iterable[str], lost: Iterable[str], failing: Mapping[str, str]
    ) -> tuple[list[Write], list[Write]]:
        """Records as they are to be, and for each its line of the audit trail."""
        writes, lines = [], []
        for host in back:
            writes.append(self._put_host_with(host, lost=False))
            lines.append(self._audited("host_returned", host))
        for host in lost:
            writes.append(self._put_host_with(host, lost=True))
            lines.append(self._audited("declare_lost", host, self._silent))
        for host, why in failing.items():
            writes.append(self._put_host_with(host, quarantine=why))
            lines.append(self._audited("quarantine", host, why))
        return writes, lines

    def _put_host_with(self, host: str, **changes: object) -> Write:
        return put_host(msgspec.structs.replace(self._memory.state.hosts[host], **changes))

    def _audited(self, action: str, host: str = "", after: str = "") -> Write:
        return self._writer.audited(action, BY_LEADER, host=host, after=after)

    def _add_events(
        self,
        back: Sequence[str],
        judged: Judgement,
        failing: Mapping[str, str],
        before: BreakerRecord,
    ) -> None:
        events = self._memory.events
        add_verdicts(events, "host_lost", judged.lost, "lost", self._silent)
        add_verdicts(events, "host_returned", back, "returned", "it has its assignment")
        for host, why in failing.items():
            events.add("host_quarantined", f"{host} is in quarantine: {why}", host=host)
        if set(judged.scopes) - set(before.scopes):
            events.add("breaker_opened", f"lost hosts are not replaced: {judged.reason}")
        elif before.scopes and not judged.scopes:
            events.add("breaker_closed", "lost hosts are replaced again")

    @property
    def _silent(self) -> str:
        """Why a host is lost by time."""
        return f"no word for {self._memory.settings.loss.lost_after:,.0f} s"

    def _returned(self) -> list[str]:
        """Lost hosts that are there and have taken their assignment, tombstones and all."""
        links, state = self._memory.links, self._memory.state
        return [
            host
            for host in sorted(state.lost)
            if (link := links.get(host)) is not None
            and link.live
            and link.acknowledged >= state.assignment_epoch(host)
            and not self._trust.is_of_earlier_store(host)
        ]

    def _breaker(self, judged: Judgement) -> BreakerRecord:
        before = self._memory.state.breaker
        since = before.since if before.scopes else self._memory.events.now()
        return BreakerRecord(
            judged.scopes,
            judged.reason,
            since if judged.scopes else 0.0,
            before.released_until,
        )


def add_verdicts(
    events: EventLog, kind: str, hosts: Sequence[str], verdict: str, why: str, actor: str = ""
) -> None:
    """The same verdict on these hosts, as events."""
    messages = {host: f"{host} is {verdict}: {why}" for host in hosts}
    among = f", {hosts[0]} among them" if hosts else ""
    summary = f"{len(hosts):,} hosts are {verdict}{among}: {why}"
    events.add_for_hosts(kind, messages, summary, actor=actor)
