"""What the Standbys port promises, asked of standbys that call over gRPC and of those that tests
put in their place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field

import grpc
import pytest

from fleet.transport import Role
from fleet.v1.cluster_pb2_grpc import add_ClusterServiceServicer_to_server
from fleet_controller.agents.grpc_agents import GrpcDialer
from fleet_controller.agents.port import StaleTerm
from fleet_controller.api.service import ClusterApi
from fleet_controller.replica import standby_session
from fleet_controller.replica.forwarding import LeaderChannel
from fleet_controller.replica.host_probe import HostProbe
from fleet_controller.replica.standby_session import StandbySession
from fleet_controller.standbys import AtHand, Place, Standby
from fleet_controller.store.memory import MemoryStore
from tests.certificates import identity
from tests.doubles.leading import leading_or_none, replica_over, until
from tests.doubles.scripted_agents import FakeDialer, ScriptedAgent, serve
from tests.doubles.standing_by import standby
from tests.processes.etcd_process import free_ports

SECONDS = 20.0
HOSTS = ("h1", "h2")


@dataclass
class Rig:
    """The leader's standbys; agents h1 and h2, reached at their places."""

    at_hand: AtHand
    stack: AsyncExitStack
    agents: dict[str, ScriptedAgent] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    nowhere: str = ""  # an address at which nobody is

    async def stands_by(self, name: str) -> None:
        raise NotImplementedError

    def joined(self) -> list[Standby]:
        """Those at hand: a new one for each call."""
        return list(self.at_hand._standbys)

    async def leaves(self) -> None:
        """All standbys end."""
        await self.stack.aclose()
        await until(lambda: not self.at_hand.names, SECONDS)

    async def reach(self, *hosts: str, seconds: float = SECONDS) -> dict[str, str]:
        return await self.at_hand.reach([self.places[host] for host in hosts], seconds)


@dataclass
class Beside(Rig):
    """Standbys without gRPC."""

    dialer: FakeDialer = field(default_factory=FakeDialer)

    async def stands_by(self, name: str) -> None:
        await self.stack.enter_async_context(standby(self.at_hand, name, self.dialer))


@dataclass
class OverGrpc(Rig):
    store: MemoryStore = field(default_factory=lambda: MemoryStore(time.monotonic))

    async def stands_by(self, name: str) -> None:
        own = identity(Role.CONTROLLER, name)
        dialer = GrpcDialer(own)
        replica = replica_over(self.store, dialer, name)
        channel = LeaderChannel(own)
        running = [
            asyncio.create_task(replica.run()),
            asyncio.create_task(StandbySession(replica, channel, HostProbe(dialer)).run()),
        ]

        async def end() -> None:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await channel.close()

        self.stack.push_async_callback(end)
        await until(lambda: name in self.at_hand.names, SECONDS)


@asynccontextmanager
async def leader(rig: OverGrpc) -> AsyncIterator[None]:
    """It serves and leads."""
    own = identity(Role.CONTROLLER, "controller-1")
    server = grpc.aio.server()
    address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', own.for_server())}"
    replica = replica_over(rig.store, FakeDialer(), address=address)
    add_ClusterServiceServicer_to_server(ClusterApi(replica, rig.at_hand), server)
    await server.start()
    running = asyncio.create_task(replica.run())
    try:
        await until(lambda: leading_or_none(replica) is not None, SECONDS)
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        rig.at_hand.close()
        await server.stop(0)


@asynccontextmanager
async def over_grpc() -> AsyncIterator[OverGrpc]:
    async with AsyncExitStack() as outer, AsyncExitStack() as stack:
        made = OverGrpc(AtHand(), stack, nowhere=f"127.0.0.1:{free_ports(1)[0]}")
        for name in HOSTS:
            agent = made.agents[name] = ScriptedAgent(name)
            server, address = await serve(agent, identity(Role.AGENT, name))
            outer.push_async_callback(server.stop, 0)
            made.places[name] = Place(name, address)
        await outer.enter_async_context(leader(made))
        yield made


@asynccontextmanager
async def beside() -> AsyncIterator[Beside]:
    async with AsyncExitStack() as stack:
        made = Beside(AtHand(), stack, nowhere="10.0.0.9:1")
        for number, name in enumerate(HOSTS, start=1):
            made.places[name] = Place(name, f"10.0.0.{number}:1")
            made.agents[name] = ScriptedAgent(name)
            made.dialer.agents[made.places[name].address] = made.agents[name]
        yield made


@pytest.fixture(params=[beside, over_grpc], ids=["beside", "grpc"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    async with request.param() as made:
        yield made


async def test_hosts_that_answer_are_reached_and_others_are_not(rig: Rig) -> None:
    await rig.stands_by("controller-2")
    rig.places["h3"] = Place("h3", rig.nowhere)
    assert await rig.reach("h1", "h2", "h3") == {"h1": "controller-2", "h2": "controller-2"}
    assert await rig.reach("h2") == {"h2": "controller-2"}


async def test_without_standbys_nobody_is_reached_and_nothing_waited_for(rig: Rig) -> None:
    assert await rig.reach("h1") == {}
    await rig.stands_by("controller-2")
    await rig.leaves()
    assert await rig.reach("h1") == {}


async def test_somebody_else_at_the_hosts_address_is_not_the_host(rig: Rig) -> None:
    await rig.stands_by("controller-2")
    rig.places["h3"] = Place("h3", rig.places["h1"].address)
    assert await rig.reach("h3") == {}
    assert rig.agents["h1"].described == 0


async def test_an_agent_that_declines_is_there(rig: Rig) -> None:
    """As agents do that have heard a term: the question carries none."""
    await rig.stands_by("controller-2")
    rig.agents["h1"].describe_refusals = [StaleTerm("it has heard a leader of term (1, 7)")]
    assert await rig.reach("h1") == {"h1": "controller-2"}


async def test_who_does_not_answer_in_time_is_not_waited_for(rig: Rig) -> None:
    await rig.stands_by("controller-2")
    rig.agents["h1"].answers = False
    began = asyncio.get_running_loop().time()
    assert await rig.reach("h1", seconds=0.3) == {}
    assert asyncio.get_running_loop().time() - began < 2.0
    rig.agents["h1"].answers = True
    assert await rig.reach("h1", "h2") == {"h1": "controller-2", "h2": "controller-2"}


async def test_an_agent_that_swallows_the_question_is_not_reached(rig: Rig) -> None:
    await rig.stands_by("controller-2")
    rig.agents["h1"].answers = False
    assert await rig.reach("h1", "h2") == {"h2": "controller-2"}


async def test_any_of_several_standbys_is_enough(rig: Rig) -> None:
    await rig.stands_by("controller-2")
    await rig.stands_by("controller-3")
    assert (await rig.reach("h1"))["h1"] in ("controller-2", "controller-3")


async def test_many_questions_at_once_are_each_answered(rig: Rig) -> None:
    await rig.stands_by("controller-2")
    answers = await asyncio.gather(*(rig.reach(f"h{1 + n % 2}") for n in range(20)))
    assert answers == [{f"h{1 + n % 2}": "controller-2"} for n in range(20)]


async def test_nothing_is_watched_or_told_by_a_question(rig: Rig) -> None:
    await rig.stands_by("controller-2")
    await rig.reach("h1")
    agent = rig.agents["h1"]
    assert (agent.described, agent.watches, agent.assigned) == (1, [], [])


# How a standby stays at hand


async def test_a_call_that_ends_is_begun_again() -> None:
    async with over_grpc() as rig:
        await rig.stands_by("controller-2")
        before = rig.joined()
        rig.at_hand.close()
        await until(lambda: rig.joined() not in ([], before), SECONDS)
        assert await rig.reach("h1") == {"h1": "controller-2"}


async def test_a_leader_that_has_fallen_silent_is_called_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(standby_session, "SILENCE_SECONDS", 0.2)
    async with over_grpc() as rig:
        await rig.stands_by("controller-2")
        before = rig.joined()
        await until(lambda: rig.joined() not in ([], before), SECONDS)


async def test_a_leader_with_nothing_to_ask_gives_a_sign_of_life() -> None:
    with AtHand().joined("controller-2") as one:
        question = await one.next_question(0.01)
    assert question is not None and question.places == ()
