"""Links to scripted agents, in virtual time, under a leader that notes what it hears."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.link import Link
from fleet_controller.agents.link_table import LinkTable
from fleet_controller.agents.links import Links, LinkSettings
from fleet_controller.agents.port import NO_GUIDANCE, Guidance
from fleet_controller.core.model import Health
from tests.doubles.scripted_agents import FakeDialer, ScriptedAgent
from tests.virtual_loop import run_virtual

HEARTBEAT = 5.0
SEAL = b"of an epoch"
SETTINGS = LinkSettings(parallel_dials=16)


class Leader:
    """The listener of the links: it notes what it hears."""

    def __init__(self) -> None:
        self.term = types.Term(store_generation=1, revision=7)
        self.acts = True
        self.assignments: dict[str, int] = {}  # host -> revision of its assignment
        self.heard: list[tuple[str, wire.Report]] = []
        self.lost: list[str] = []
        self.changes: list[tuple[str, Health]] = []
        self.why: list[str] = []
        self.understands = True
        self.error: Exception = ValueError("an empty range")
        self.most_bytes = 10_000
        self.accused: list[tuple[str, str]] = []

    def guidance(self) -> Guidance:
        return NO_GUIDANCE

    def may_act(self) -> bool:
        return self.acts

    def assignment_for(self, host_id: str) -> wire.AssignRequest | None:
        if host_id not in self.assignments:
            return None
        epoch = types.Epoch(store_generation=1, revision=self.assignments[host_id])
        epoch.seal = SEAL
        return wire.AssignRequest(term=self.term, epoch=epoch, host_id=host_id)

    def most_report_bytes(self, host_id: str) -> int:
        return self.most_bytes

    def misbehaved(self, host_id: str, why: str) -> None:
        self.accused.append((host_id, why))

    def reported(self, host_id: str, report: wire.Report) -> None:
        if not self.understands:
            raise self.error
        self.heard.append((host_id, report))

    def lost_sight(self, host_id: str) -> None:
        self.lost.append(host_id)

    def health_changed(self, host_id: str, before: Health, after: Health, why: str) -> None:
        assert before is not after
        self.changes.append((host_id, after))

    def outranked(self, host_id: str, term: types.Term, why: str) -> None:
        self.why.append(why)


class Rig:
    """Links over scripted agents, each at the address `<host>:1`."""

    def __init__(self, settings: LinkSettings, dial_seconds: float) -> None:
        self.leader = Leader()
        self.dialer = FakeDialer(dial_seconds)
        clock = asyncio.get_running_loop().time
        self.table = LinkTable(clock)
        self.links = Links(self.table, self.leader, self.dialer, clock, Random(1), settings)

    def add(self, host: str, *, known: bool = True) -> ScriptedAgent:
        """An agent, and `known`: a host record of it."""
        agent = self.dialer.agents[f"{host}:1"] = ScriptedAgent(host)
        agent.epoch_seal = SEAL
        if known:
            self.links.add(host, f"{host}:1")
        return agent

    def link(self, host: str) -> Link:
        link = self.table.get(host)
        assert link is not None
        return link

    def health(self, host: str) -> Health:
        return self.link(host).health

    def counts(self) -> dict[Health, int]:
        return {health: n for health, n in self.table.by_health.items() if n}

    async def until(self, condition: Callable[[], bool], seconds: float = 600.0) -> float:
        """Seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not condition():
            assert loop.time() < began + seconds, "not within the time"
            await asyncio.sleep(0.01)
        return loop.time() - began

    async def speak(self) -> None:
        """Each agent sends its heartbeats, for ever."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            for agent in self.dialer.agents.values():
                if agent.streams and agent.speaks:
                    agent.send()


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[None]:
    """The links run, the agents speak; nothing is left of either afterwards."""
    tasks = [asyncio.create_task(rig.links.run()), asyncio.create_task(rig.speak())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "no orphan tasks"
    assert rig.dialer.open == 0, "no connection is left open"
    assert all(task.cancelled() for task in tasks), "nothing went wrong inside"


Scenario = Callable[[Rig], Coroutine[Any, Any, None]]


def play(scenario: Scenario, settings: LinkSettings = SETTINGS, dial_seconds: float = 0.01) -> None:
    async def whole() -> None:
        await scenario(Rig(settings, dial_seconds))

    run_virtual(whole())
