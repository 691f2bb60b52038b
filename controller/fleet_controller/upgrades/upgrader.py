"""Goes on with the upgrade in the store, from wherever the last leader was.

Once a second what is under way is judged (core/upgrades). A wave is written before any of it is
asked, so the next leader knows whom to ask again; agents join what is under way with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.names import counted, some_of
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.upgrades.record import UpgradeRecord, UpgradeState
from fleet_controller.core.upgrades.waves import (
    AgentSeen,
    judged,
    wave_is_back,
    with_next_wave,
)
from fleet_controller.election.election import LeadershipLost
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.committer import Outdated
from fleet_controller.mirror.records import put_upgrade
from fleet_controller.queries.upgrades import agent_seen, agents_seen
from fleet_controller.relay.relay import Relay
from fleet_controller.store.port import StoreError

LOOK_SECONDS = 1.0
# Until a host that went away while it was asked is asked again.
AGAIN_SECONDS = 3.0
_WHY = 200


class Upgrader:
    """Of one leadership."""

    def __init__(self, memory: LeaderMemory, writer: ChangeWriter, relay: Relay) -> None:
        self._memory = memory
        self._writer = writer
        self._relay = relay
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._done: set[str] = set()  # that say that their command has ended well
        self._failures: dict[str, str] = {}
        self._of: tuple[str, float, float] | None = None  # the wave that those are of

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                record = self._memory.state.upgrade
                if record is None or record.state is not UpgradeState.RUNNING:
                    self._forget()
                    continue
                if self._memory.settling:
                    continue
                await self._look(record)
        finally:
            self._forget()

    async def _look(self, record: UpgradeRecord) -> None:
        self._begin_anew_with(record)
        seen = self._under_way(record)
        if wave_is_back(record, seen) or judged(record, seen, self._failures, *self._times()):
            try:
                await self._writer.decide(self._decide_once, attempts=1)
            except (Outdated, StoreError, Refused):
                return  # the same is found again
            record = self._memory.state.upgrade or record
            self._begin_anew_with(record)
            seen = self._under_way(record)
        if record.state is UpgradeState.RUNNING:
            self._ask(record, seen)

    async def _decide_once(self) -> None:
        record = self._memory.state.upgrade
        if record is None or record.state is not UpgradeState.RUNNING:
            return
        seen, (now, led_for) = self._under_way(record), self._times()
        made = judged(record, seen, self._failures, now, led_for)
        if made is None and wave_is_back(record, seen):
            made = with_next_wave(record, agents_seen(self._memory, record), now)
        if made is None:
            return
        kind, text = _news(made)
        line = self._writer.audited("upgrade", BY_LEADER, after=text)
        await self._writer.write_one([put_upgrade(made), line])
        self._memory.events.add(kind, text)

    def _times(self) -> tuple[float, float]:
        """The time of day, and for how long this leader has been able to judge hosts."""
        memory = self._memory
        return memory.events.now(), memory.clock() - memory.began

    def _under_way(self, record: UpgradeRecord) -> Mapping[str, AgentSeen]:
        found = ((host, agent_seen(self._memory, record, host)) for host in record.under_way)
        return {host: seen for host, seen in found if seen is not None}

    def _begin_anew_with(self, record: UpgradeRecord) -> None:
        """What was heard of one wave says nothing of the next."""
        wave = (record.version, record.began, max(record.under_way.values(), default=0.0))
        if wave != self._of:
            self._forget()
            self._of = wave

    def _forget(self) -> None:
        for task in self._asking.values():
            task.cancel()
        self._asking.clear()
        self._done.clear()
        self._failures.clear()
        self._of = None

    def _ask(self, record: UpgradeRecord, seen: Mapping[str, AgentSeen]) -> None:
        for host, task in list(self._asking.items()):
            if task.done():
                del self._asking[host]
        for host, one in seen.items():
            waits = host in self._asking or host in self._done or host in self._failures
            if one.live and one.version != record.version and not waits:
                self._asking[host] = asyncio.create_task(self._ask_one(host, record))

    async def _ask_one(self, host: str, record: UpgradeRecord) -> None:
        request = wire.UpgradeAgentRequest(
            term=self._relay.term, host_id=host, version=record.version
        )
        try:
            with self._relay.answering(host, "upgrading itself"):
                await self._relay.questions(host).upgrade_agent(request, record.seconds)
            self._done.add(host)
        except Refusal as error:
            self._failures[host] = "".join(filter(str.isprintable, error.message))[:_WHY]
        except Refused as error:
            if error.reason is Reason.UNIMPLEMENTED:
                self._failures[host] = str(error)[:_WHY]
            else:  # it is gone, as it should be: its facts tell what has become of it
                await asyncio.sleep(AGAIN_SECONDS)
        except LeadershipLost:
            return


def _news(made: UpgradeRecord) -> tuple[str, str]:
    """The kind of event, and its sentence."""
    match made.state:
        case UpgradeState.HALTED:
            return "upgrade_halted", f"the upgrade to {made.version} is halted: {made.reason}"
        case UpgradeState.DONE:
            left = f"; {made.reason}" if made.reason else ""
            return "upgrade_done", f"the upgrade to {made.version} is done{left}"
        case _:
            hosts = sorted(made.under_way)
            return "upgrade_wave", (
                f"{counted(len(hosts), 'host')} told to upgrade to {made.version}: {some_of(hosts)}"
            )
