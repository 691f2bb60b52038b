"""What every adapter of the agents port promises, asked of gRPC and of the fake alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from fleet.transport import Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.grpc_agents import GrpcDialer
from fleet_controller.agents.port import (
    AgentConnection,
    AgentDialer,
    AheadOfStore,
    Declined,
    LinkError,
    Misbehaved,
    StaleTerm,
    Unreachable,
)
from fleet_controller.observed.report_bounds import MOST_REPORT_BYTES
from tests.certificates import identity
from tests.doubles.scripted_agents import FakeDialer, ScriptedAgent, serve
from tests.processes.etcd_process import free_ports

FIRST = wire.WatchRequest(
    term=types.Term(store_generation=1, revision=7), pace=wire.Pace(heartbeat_ms=5000)
)
SECONDS = 20.0


@dataclass
class Rig:
    """A dialer, and one agent called h1 that it reaches at `address`."""

    dialer: AgentDialer
    agent: ScriptedAgent
    address: str

    def connect(self, host_id: str = "h1", address: str = "") -> AgentConnection:
        return self.dialer.connect(host_id, address or self.address)


@pytest.fixture(params=["fake", "grpc"])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    agent = ScriptedAgent("h1")
    if request.param == "fake":
        fake = FakeDialer()
        fake.agents["10.0.0.1:1"] = agent
        yield Rig(fake, agent, "10.0.0.1:1")
        return
    server, address = await serve(agent, identity(Role.AGENT, "h1"))
    yield Rig(GrpcDialer(identity(Role.CONTROLLER, "controller-1")), agent, address)
    await server.stop(0)


async def test_the_first_read_tells_the_term_and_brings_the_first_report(rig: Rig) -> None:
    connection = rig.connect()
    reports = connection.watch(FIRST)
    report = await reports.read()
    assert (report.sequence, report.full) == (1, True)
    assert rig.agent.watches == [FIRST]
    rig.agent.send(converged=True)
    assert (await reports.read()).converged
    await connection.close()


async def test_another_pace_reaches_the_agent(rig: Rig) -> None:
    connection = rig.connect()
    reports = connection.watch(FIRST)
    await reports.read()
    await reports.repace(wire.Pace(heartbeat_ms=9000))
    await rig.agent.until(lambda: bool(rig.agent.paces))
    assert rig.agent.paces == [wire.Pace(heartbeat_ms=9000)]
    await connection.close()


async def test_a_report_larger_than_any_host_can_have_is_not_read_and_misbehaviour(
    rig: Rig,
) -> None:
    connection = rig.connect()
    reports = connection.watch(FIRST)
    await reports.read()
    rig.agent.send(released=[2**60] * (MOST_REPORT_BYTES // 8))
    with pytest.raises(Misbehaved, match="more at once than a host can have to say"):
        await reports.read()
    await connection.close()


async def test_reports_that_the_agent_ends_are_unreachable(rig: Rig) -> None:
    connection = rig.connect()
    reports = connection.watch(FIRST)
    await reports.read()
    rig.agent.end()
    with pytest.raises(Unreachable):
        await reports.read()
    await connection.close()


async def test_a_cancelled_call_ends_its_reader_and_never_the_readers_task(rig: Rig) -> None:
    connection = rig.connect()
    reports = connection.watch(FIRST)
    await reports.read()
    pending = asyncio.ensure_future(reports.read())
    await asyncio.sleep(0)
    reports.cancel()
    with pytest.raises(Unreachable):
        await pending
    with pytest.raises(Unreachable):
        await reports.read()
    with pytest.raises(Unreachable):
        await reports.repace(wire.Pace())
    await connection.close()


async def test_a_cancelled_reader_is_cancelled(rig: Rig) -> None:
    connection = rig.connect()
    reports = connection.watch(FIRST)
    await reports.read()
    pending = asyncio.ensure_future(reports.read())
    await asyncio.sleep(0)
    pending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pending
    await connection.close()


async def test_a_closed_connection_ends_what_waits_on_it(rig: Rig) -> None:
    connection = rig.connect()
    reports = connection.watch(FIRST)
    await reports.read()
    rig.agent.answers = False
    reading = asyncio.ensure_future(reports.read())
    assigning = asyncio.ensure_future(connection.assign(wire.AssignRequest(), SECONDS))
    await rig.agent.until(lambda: bool(rig.agent.assigned))
    await connection.close()
    for pending in (reading, assigning):
        with pytest.raises(Unreachable):
            await pending


async def test_an_assignment_is_carried_whole_and_answered(rig: Rig) -> None:
    connection = rig.connect()
    request = wire.AssignRequest(
        host_id="h1",
        term=FIRST.term,
        epoch=types.Epoch(store_generation=1, revision=9),
        assignment=types.Assignment(shards=[types.Shard(fleet_uid="u", birth=3)]),
    )
    assert (await connection.assign(request, SECONDS)).epoch == request.epoch
    assert rig.agent.assigned == [request]
    await connection.close()


async def test_an_assignment_without_an_answer_ends_in_time(rig: Rig) -> None:
    connection = rig.connect()
    rig.agent.answers = False
    with pytest.raises(Unreachable):
        await connection.assign(wire.AssignRequest(), 0.2)
    await connection.close()


@pytest.mark.parametrize("kind", [StaleTerm, AheadOfStore, Declined])
async def test_refusals_come_as_what_they_are(rig: Rig, kind: type[LinkError]) -> None:
    connection = rig.connect()
    rig.agent.assign_refusals = [kind("the sentence of the agent")]
    rig.agent.watch_refusals = [kind("the sentence of the agent")]
    with pytest.raises(kind, match="the sentence of the agent"):
        await connection.assign(wire.AssignRequest(), SECONDS)
    with pytest.raises(kind, match="the sentence of the agent"):
        await connection.watch(FIRST).read()
    await connection.close()


async def test_nobody_there_and_somebody_else_there_are_unreachable(rig: Rig) -> None:
    nobody = rig.connect(address=f"127.0.0.1:{free_ports(1)[0]}")
    other = rig.connect(host_id="h2")
    for connection in (nobody, other):
        with pytest.raises(Unreachable, match=r"^h[12] at "):
            await connection.watch(FIRST).read()
        with pytest.raises(Unreachable):
            await connection.assign(wire.AssignRequest(), SECONDS)
        await connection.close()
    assert not rig.agent.watches and not rig.agent.assigned


async def test_a_dialer_holds_no_more_connections_than_it_may() -> None:
    dialer = GrpcDialer(identity(Role.CONTROLLER, "controller-1"), most=1)
    first = dialer.connect("h1", "127.0.0.1:1")
    with pytest.raises(Unreachable, match="h2: this controller may open too few files"):
        dialer.connect("h2", "127.0.0.1:1")
    await first.close()
    await dialer.connect("h2", "127.0.0.1:1").close()


async def test_an_agent_says_that_it_is_there_to_whoever_leads_or_not(rig: Rig) -> None:
    connection = rig.connect()
    await connection.describe(SECONDS)
    rig.agent.describe_refusals = [StaleTerm("the sentence of the agent")]
    with pytest.raises(StaleTerm, match="the sentence of the agent"):
        await connection.describe(SECONDS)
    rig.agent.answers = False
    with pytest.raises(Unreachable):
        await connection.describe(0.2)
    await connection.close()
