"""Agents are upgraded in waves under the real leader: who is told when, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.v1 import upgrade_pb2 as upgrade
from fleet_controller.agents.port import Declined, Unreachable
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.upgrades.record import UpgradeRecord, UpgradeState
from fleet_controller.queries.upgrades import open_upgrade, upgrade_status
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.port import Put
from tests.doubles.leading import until
from tests.doubles.scripted_questions import ScriptedQuestions
from tests.in_process.six_hosts import HOSTS, ME, PER_HOST, Stage, kinds, play

OLD, NEW = "0.1.0", "0.2.0"
AWAY = 5.0
ASKED = UpgradeRecord(NEW, width=2, seconds=60)


def facts(number: int, version: str, upgrades: bool = True) -> types.HostFacts:
    return types.HostFacts(
        incarnation="i",
        labels={"rack": f"r{number % 3}"},
        capacity=types.Capacity(guests=PER_HOST),
        agent_version=version,
        upgrades=upgrades,
    )


class Restarting(ScriptedQuestions):
    """Told to upgrade, its agent is away for a while, and back with the release: unless it stays
    away, or declines."""

    def __init__(self, stage: Stage, leader: Callable[[], Leader], number: int) -> None:
        super().__init__(lambda: None)
        self.told: list[str] = []
        self.stays_away = False
        self.declines: Declined | None = None
        self.becomes = ""
        self._stage, self._leader, self._number = stage, leader, number

    def take(self, method: str, request: Any) -> Any:
        if method != "UpgradeAgent":
            return super().take(method, request)
        assert isinstance(request, wire.UpgradeAgentRequest)
        assert request.host_id == f"h{self._number}"
        self.told.append(request.version)
        if self.declines:
            raise self.declines
        loop = asyncio.get_running_loop()
        loop.call_soon(self._stage.network.cut, f"h{self._number}:1")
        if not self.stays_away:
            loop.call_later(AWAY, lambda: asyncio.ensure_future(self.come_back(request.version)))
        raise Unreachable("it is gone")

    async def come_back(self, version: str) -> None:
        network, address = self._stage.network, f"h{self._number}:1"
        network.agents[address] = network._away.pop(address)
        said = facts(self._number, self.becomes or version)
        await self._leader().announcements.announce(f"h{self._number}", address, said)


async def ready(leader: Leader, stage: Stage, **older: bool) -> list[Restarting]:
    """All six say that they can be upgraded, unless told otherwise."""
    leaders[:] = [leader]
    made = []
    for number in range(HOSTS):
        agent = stage.agent(f"h{number}")
        agent.questions = Restarting(stage, lambda: leaders[0], number)
        made.append(agent.questions)
        said = facts(number, OLD, not older.get(f"h{number}", False))
        await leader.announcements.announce(f"h{number}", f"h{number}:1", said)
    await until(lambda: all(one.agent_version == OLD for one in leader.memory.state.hosts.values()))
    return made


leaders: list[Leader] = []


def state(leader: Leader) -> UpgradeState | None:
    record = leader.memory.state.upgrade
    return record.state if record else None


def versions(leader: Leader) -> list[str]:
    return [one.agent_version for _, one in sorted(leader.memory.state.hosts.items())]


def test_all_hosts_are_upgraded_a_rack_at_a_time_and_no_vm_is_touched() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agents = await ready(leader, stage)
        before = dict(stage.world.hosts)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, HOSTS - len(stage.network.agents))
                away = {f"r{n % 3}" for n in range(HOSTS) if f"h{n}:1" not in stage.network.agents}
                assert len(away) <= 1, f"agents of {away} are away at once"
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch())
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: state(leader) is UpgradeState.DONE)
        watching.cancel()
        assert most == 2
        assert versions(leader) == [NEW] * HOSTS
        assert [one.told for one in agents] == [[NEW]] * HOSTS
        assert stage.world.hosts == before
        # h0 alone, its rack's other, then two racks of two.
        assert kinds(leader)["upgrade_wave"] == 4
        assert kinds(leader)["upgrade_done"] == 1

    play(scene)


def test_it_is_halted_when_a_host_does_not_come_back_and_goes_on_when_it_is_resumed() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agents = await ready(leader, stage)
        agents[1].stays_away = True
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: state(leader) is UpgradeState.HALTED)
        record = leader.memory.state.upgrade
        assert record is not None and "h1" in record.reason and "60 s" in record.reason
        told = [len(one.told) for one in agents]
        assert told[2] == told[5] == 0, "hosts of later waves were told"
        status = upgrade_status(leader.memory, record)
        assert [one.host for one in status.under_way] == ["h1"]
        await leader.upgrades.resume(("h1",), ME)
        await until(lambda: state(leader) is UpgradeState.DONE)
        assert [one for one in versions(leader) if one == OLD] == [OLD]

    play(scene)


def test_it_is_halted_by_what_a_host_says_of_why_it_failed() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agents = await ready(leader, stage)
        why = "apt-get ended with 100: E: Version '0.2.0' was not found\x1b[2J"
        answer = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "UPGRADE_FAILED", why)
        agents[0].declines = Declined(why, answer)
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: state(leader) is UpgradeState.HALTED)
        record = leader.memory.state.upgrade
        assert record is not None and "was not found" in record.reason
        assert "\x1b" not in record.reason
        assert [len(one.told) for one in agents] == [1, 0, 0, 0, 0, 0]
        agents[0].declines = None
        await leader.upgrades.resume((), ME)
        await until(lambda: state(leader) is UpgradeState.DONE)
        assert versions(leader) == [NEW] * HOSTS

    play(scene)


def test_a_host_that_comes_back_as_it_was_is_told_again_and_halts_it_in_the_end() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agents = await ready(leader, stage)
        agents[0].becomes = OLD
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: state(leader) is UpgradeState.HALTED)
        assert len(agents[0].told) > 1
        assert not any(one.told for one in agents[1:])

    play(scene)


def test_the_next_leader_goes_on_with_it() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        agents = await ready(leader, stage)
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: any(one.told for one in agents))

    async def second(leader: Leader, stage: Stage) -> None:
        leaders[:] = [leader]
        await until(lambda: state(leader) is UpgradeState.DONE, 300.0)
        assert versions(leader) == [NEW] * HOSTS

    play(first, second)


def test_halted_by_an_operator_no_further_wave_begins_and_cancelled_it_is_over() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agents = await ready(leader, stage)
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: bool(agents[0].told))
        await leader.upgrades.halt(ME)
        await asyncio.sleep(30.0)
        assert sum(len(one.told) for one in agents) == 1
        brief = open_upgrade(leader.memory)
        assert brief is not None and brief.state == upgrade.UpgradeStatus.STATE_HALTED
        await leader.upgrades.cancel(ME)
        assert open_upgrade(leader.memory) is None
        with pytest.raises(Refused) as refused:
            await leader.upgrades.resume((), ME)
        assert refused.value.reason is Reason.UPGRADE_STATE

    play(scene)


def test_one_at_a_time_and_the_same_again_changes_nothing() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await ready(leader, stage)
        first = await leader.upgrades.begin(ASKED, ME)
        again = await leader.upgrades.begin(ASKED, ME)
        assert again.began == first.began
        with pytest.raises(Refused) as refused:
            await leader.upgrades.begin(UpgradeRecord("0.3.0"), ME)
        assert refused.value.reason is Reason.UPGRADE_STATE

    play(scene)


def test_older_agents_are_named_and_left_as_they_are() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agents = await ready(leader, stage, h3=True)
        planned = upgrade_status(leader.memory, ASKED, planned=True)
        assert [one.host for one in planned.left] == ["h3"] and planned.to_go == HOSTS - 1
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: state(leader) is UpgradeState.DONE)
        record = leader.memory.state.upgrade
        assert record is not None and "h3 among them" in record.reason
        assert not agents[3].told

    play(scene)


def test_a_record_that_does_not_read_stops_the_upgrade_and_nothing_else() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agents = await ready(leader, stage)
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: bool(agents[0].told))
        broken = Put(keys.UPGRADE, b'{"version": "0.2.0; reboot", "width": 100000}')
        await stage.store.txn([], [broken])
        await until(lambda: leader.memory.state.upgrade is None)
        await asyncio.sleep(20.0)
        assert sum(len(one.told) for one in agents) == 1
        assert keys.UPGRADE in leader.memory.state.broken
        await leader.fleets.scale("spv", 20, ME)
        await leader.upgrades.begin(ASKED, ME)
        await until(lambda: state(leader) is UpgradeState.DONE)

    play(scene)
