"""What operators ask of upgrades: one is begun, halted, resumed, cancelled."""

from __future__ import annotations

import msgspec

from fleet_controller.core.names import counted, some_of
from fleet_controller.core.refusals import Reason, Refused, known_host
from fleet_controller.core.upgrades.record import (
    MAX_SKIPPED,
    UpgradeRecord,
    UpgradeState,
    check_asked,
)
from fleet_controller.core.upgrades.waves import plan
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import put_upgrade
from fleet_controller.queries.upgrades import agents_seen


class UpgradeChanges:
    """Of one leadership. All raise Refused and StoreError."""

    def __init__(self, memory: LeaderMemory, writer: ChangeWriter) -> None:
        self._memory = memory
        self._writer = writer

    def check(self, asked: UpgradeRecord) -> None:
        """Raises Refused for what cannot be begun, whatever is under way."""
        check_asked(asked)
        for host in asked.hosts:
            known_host(self._memory.state.hosts, host)

    async def begin(self, asked: UpgradeRecord, actor: str) -> UpgradeRecord:
        """Its first wave is begun soon after. The same again, while it is under way, changes
        nothing."""
        self.check(asked)
        memory = self._memory

        async def once() -> UpgradeRecord:
            now = memory.events.now()
            have = memory.state.upgrade
            if have is not None and have.is_open:
                if _asks_the_same(have, asked):
                    return have
                raise Refused(
                    Reason.UPGRADE_STATE,
                    f"an upgrade to {have.version} is {have.state}: it has to end first, as by "
                    "'fleetctl upgrade cancel'",
                )
            planned = plan(asked, agents_seen(memory, asked))
            hosts = sum(map(len, planned.waves))
            if not hosts:
                raise Refused(Reason.NOTHING_TO_CHANGE, _nothing(asked, len(planned.left)))
            made = msgspec.structs.replace(asked, actor=actor, began=now)
            words = f"{asked.version} on {counted(hosts, 'host')}"
            line = self._writer.audited("upgrade", actor, after=words)
            await self._writer.write_one([put_upgrade(made), line])
            memory.events.add("upgrade_begun", f"upgrading agents to {words}", actor=actor)
            return made

        return await self._writer.decide(once)

    async def halt(self, actor: str) -> UpgradeRecord:
        """No further wave is begun; hosts that were told go on."""
        return await self._turn(UpgradeState.HALTED, actor, f"halted by {actor}")

    async def cancel(self, actor: str) -> UpgradeRecord:
        return await self._turn(UpgradeState.CANCELLED, actor, f"cancelled by {actor}")

    async def resume(self, skip: tuple[str, ...], actor: str) -> UpgradeRecord:
        """From where it stands, hosts that have failed once more. `skip`: left as they are."""
        for host in skip:
            known_host(self._memory.state.hosts, host)
        return await self._turn(UpgradeState.RUNNING, actor, "", skip)

    async def _turn(
        self, state: UpgradeState, actor: str, reason: str, skip: tuple[str, ...] = ()
    ) -> UpgradeRecord:
        memory = self._memory

        async def once() -> UpgradeRecord:
            now, have = memory.events.now(), memory.state.upgrade
            if have is None:
                raise Refused(Reason.UPGRADE_STATE, "there was no upgrade yet")
            skipped = tuple(dict.fromkeys((*have.skipped, *skip)))
            if have.state is state and skipped == have.skipped:
                return have
            if not have.is_open:
                raise Refused(
                    Reason.UPGRADE_STATE, f"the upgrade to {have.version} is {have.state} already"
                )
            if len(skipped) > MAX_SKIPPED:
                raise Refused(Reason.BAD_QUERY, f"at most {MAX_SKIPPED:,} hosts can be skipped")
            made = msgspec.structs.replace(have, state=state, reason=reason, skipped=skipped)
            if state is UpgradeState.RUNNING:
                made = msgspec.structs.replace(made, under_way={}, failed={})
            elif state is UpgradeState.CANCELLED:
                made = msgspec.structs.replace(made, under_way={}, ended=now)
            words = f"{state}{f', without {some_of(skip)}' if skip else ''}"
            line = self._writer.audited("upgrade", actor, before=have.state, after=words)
            await self._writer.write_one([put_upgrade(made), line])
            text = f"the upgrade to {have.version} is {words}"
            memory.events.add("upgrade_turned", text, actor=actor)
            return made

        return await self._writer.decide(once)


def _asks_the_same(have: UpgradeRecord, asked: UpgradeRecord) -> bool:
    def of(one: UpgradeRecord) -> tuple[object, ...]:
        return (
            one.version, one.wave_label, one.width, one.seconds, dict(one.selector),
            sorted(one.hosts),
        )  # fmt: skip

    return of(have) == of(asked)


def _nothing(asked: UpgradeRecord, left: int) -> str:
    if not left:
        return f"all hosts meant have {asked.version} already"
    return (
        f"no host can be upgraded to {asked.version}; 'fleetctl upgrade --plan' names the "
        f"{counted(left, 'host')} that would be, and why not"
    )
