"""What operators declare of hosts: lost or not, out of quarantine, the breaker released. At once,
whatever budget and breaker say."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleet_controller.core.model import BreakerRecord, HostRecord
from fleet_controller.core.names import some_of
from fleet_controller.core.refusals import Reason, Refused, expelled
from fleet_controller.host_loss.absences import Absences
from fleet_controller.host_loss.failing_hosts import FailingHosts
from fleet_controller.host_loss.judge import add_verdicts
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.wake import PlannerWake
from fleet_controller.leader.writer import ChangeWriter, beside_their_lines
from fleet_controller.mirror.records import put_breaker, put_host

LONGEST_RELEASE = 7 * 86_400.0


class OperatorVerdicts:
    """One leadership's. All raise Refused, StoreError."""

    def __init__(
        self,
        memory: LeaderMemory,
        writer: ChangeWriter,
        wake: PlannerWake,
        absences: Absences,
        failing: FailingHosts,
    ) -> None:
        self._memory = memory
        self._writer = writer
        self._wake = wake
        self._absences = absences
        self._failing = failing

    async def declare_lost(self, hosts: Sequence[str], lost: bool, actor: str) -> None:
        """The verdict given or taken back, of all or none."""

        async def once() -> list[str]:
            records = [self._memory.host(host) for host in dict.fromkeys(hosts)]
            for one in records:
                if self._memory.is_expelled(one.id):
                    raise expelled(one.id)
            if lost:
                _check_none_live([one.id for one in records if self._memory.is_live(one.id)])
            changed = [one for one in records if one.lost != lost]
            action = "declare_lost" if lost else "declare_lost_undo"
            writes = [put_host(msgspec.structs.replace(one, lost=lost)) for one in changed]
            lines = [self._writer.audited(action, actor, host=one.id) for one in changed]
            await self._writer.write(beside_their_lines(writes, lines))
            return [one.id for one in changed]

        changed = await self._writer.decide(once)
        self._absences.declared_by_operator(hosts)
        kind, verdict = ("host_lost", "lost") if lost else ("host_lost_undone", "not lost any more")
        add_verdicts(self._memory.events, kind, changed, verdict, "an operator", actor)
        self._wake.urge()

    async def release_quarantine(self, host_id: str, actor: str) -> None:
        """The host gets VMs again."""

        async def once() -> HostRecord:
            record = self._memory.host(host_id)
            if record.quarantine:
                line = self._writer.audited(
                    "release_quarantine", actor, host=host_id, before=record.quarantine
                )
                released = msgspec.structs.replace(record, quarantine="")
                await self._writer.write_one([put_host(released), line])
            return record

        if (await self._writer.decide(once)).quarantine:
            self._failing.forget(host_id)
            text = f"{host_id} is out of quarantine"
            self._memory.events.add("host_released", text, host=host_id, actor=actor)
            self._wake.urge()

    async def release_breaker(self, seconds: float, actor: str) -> float:
        """For `seconds`, hosts are declared lost by time however many are gone. Returns when
        that ends, in seconds since 1970."""
        if not 0 <= seconds <= LONGEST_RELEASE:
            raise Refused(
                Reason.BAD_QUERY, f"the breaker is released for 0 to {LONGEST_RELEASE:,.0f} s"
            )
        seconds = seconds or self._memory.settings.loss.release
        until = self._memory.events.now() + seconds

        async def once() -> None:
            line = self._writer.audited(
                "release_breaker", actor, before=self._memory.state.breaker.reason,
                after=f"for {seconds:,.0f} s",
            )  # fmt: skip
            await self._writer.write_one([put_breaker(BreakerRecord(released_until=until)), line])

        await self._writer.decide(once)
        text = f"the breaker is released for {seconds:,.0f} s"
        self._memory.events.add("breaker_released", text, actor=actor)
        return until


def _check_none_live(hosts: Sequence[str]) -> None:
    if hosts:
        raise Refused(
            Reason.HOST_LIVE,
            f"{some_of(hosts)} {'is' if len(hosts) == 1 else 'are'} live and cannot be lost; "
            "cordon or drain such a host",
        )
