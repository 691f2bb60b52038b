"""What an agent may do while it hears no controller."""

from __future__ import annotations

import asyncio

import pytest

from fleet.keys import Term
from fleet.ranges import EMPTY
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment, parse_assignment
from fleet_agent.core.model import Phase, StepKind
from fleet_agent.core.plan.isolation import Contact, start_permit
from fleet_agent.reporting.report_stream import Pace
from tests.agent.agent_host import Host, converged, give, settled, until
from tests.doubles.assignments import assignment, indices, kin, shard, spec
from tests.virtual_loop import virtual

GRACE = 300.0
ISOLATED_AFTER = 600


def template(
    on_loss: types.OnLoss.ValueType = types.ON_LOSS_REPLACE, stop: int = 0
) -> types.FleetSpec:
    made = spec()
    made.on_loss, made.on_isolation_stop_after_seconds = on_loss, stop
    return made


WAITING = assignment(shard("0-9", 10), template=template(types.ON_LOSS_WAIT))
REPLACED = assignment(shard("0-9", 10), template=template())
STOPPED = assignment(shard("0-9", 10), template=template(stop=ISOLATED_AFTER))


@pytest.mark.parametrize(
    ("wanted", "contact", "held", "isolated", "changes_in"),
    [
        (REPLACED, Contact(False, 0, None), False, False, None),
        (REPLACED, Contact(True, 9_999, None), True, False, None),
        (REPLACED, Contact(False, 9_999, 9_999), False, False, None),
        (WAITING, Contact(True, 299, None), True, False, 1),
        (WAITING, Contact(True, 300, None), False, False, None),
        (STOPPED, Contact(False, 9_999, 0), False, False, 600),
        (STOPPED, Contact(False, 9_999, 599), False, False, 1),
        (STOPPED, Contact(False, 9_999, 600), True, True, None),
        (STOPPED, Contact(False, 9_999, 0, was_isolated=True), True, False, 600),
        (REPLACED, Contact(False, 9_999, 0, was_isolated=True), False, False, None),
        (STOPPED, Contact(False, 599, None), True, False, 1),
        (STOPPED, Contact(False, 600, None), True, True, None),
    ],
)  # fmt: skip
def test_start_permit(
    wanted: types.Assignment, contact: Contact, held: bool, isolated: bool, changes_in: float | None
) -> None:
    given = start_permit(parse_assignment(wanted), contact, GRACE)
    assert given.held == ({kin(10)} if held else set())
    assert given.isolated == ({kin(10)} if isolated else set())
    assert given.changes_in == changes_in


def test_nothing_assigned_needs_no_permit() -> None:
    given = start_permit(Assignment(), Contact(True, 0, None), GRACE)
    assert not given.held and not given.isolated and given.changes_in is None


async def ready(host: Host) -> object:
    return (await host.snapshot()).phase(kin(10), Phase.READY)


@virtual
async def test_a_dom0_that_reboots_cut_off_starts_what_waits_for_it_after_a_grace() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, WAITING, 10)
    await host.lose_all()
    host.reboot()
    async with host.running() as agent:
        await asyncio.sleep(GRACE - 5)
        assert await ready(host) == EMPTY
        await asyncio.sleep(10)
        assert await ready(host) == indices("0-9")
        assert agent.board.awaits_assign, "it still wants to be told"


@virtual
async def test_a_dom0_that_reboots_cut_off_starts_nothing_that_others_may_run() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, REPLACED, 10)
    await host.lose_all()
    host.reboot()
    async with host.running() as agent:
        await asyncio.sleep(100_000)
        assert await ready(host) == EMPTY
        await settled(agent, REPLACED, 10)
        assert await ready(host) == indices("0-9")


@virtual
async def test_losing_every_controller_stops_no_vm_of_a_fleet_that_did_not_ask_for_it() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, REPLACED, 10)
        host.steps.clear()
        await asyncio.sleep(100_000)
        assert await ready(host) == indices("0-9")
        assert host.steps == []


@virtual
async def test_an_isolated_host_stops_what_asks_for_it_until_it_is_assigned_it_again() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, STOPPED, 10)
        await asyncio.sleep(ISOLATED_AFTER - 5)
        assert await ready(host) == indices("0-9")
        host.steps.clear()
        await asyncio.sleep(10)
        assert await ready(host) == EMPTY
        (step,) = host.steps
        assert (step.kind, step.reason) == (StepKind.STOP, "no controller was heard")
        await asyncio.sleep(10_000)
        assert await ready(host) == EMPTY
        await agent.heard(Term(1, 1).message())
        await asyncio.sleep(5)
        assert await ready(host) == EMPTY, "others may run them by now"
        assert agent.board.awaits_assign, "it says what it waits for"
        await give(agent, STOPPED, 10)
        await converged(agent, 10)
        assert await ready(host) == indices("0-9")
        assert not agent.board.awaits_assign


@virtual
async def test_what_moved_while_a_host_was_isolated_is_not_started_there_again() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, STOPPED, 10)
        await asyncio.sleep(ISOLATED_AFTER + 5)
        host.steps.clear()
        stream = agent.open_reports(Term(1, 1), Pace())
        await agent.heard(Term(1, 1).message())
        await asyncio.sleep(5)
        await give(agent, assignment(shard("5-9", 10), template=template(stop=ISOLATED_AFTER)), 11)
        await converged(agent, 11)
        assert await ready(host) == indices("5-9")
        started = [step.indices for step in host.steps if step.kind is StepKind.START]
        assert started == [indices("5-9")]
        agent.close_reports(stream)


@pytest.mark.parametrize("watched_first", [False, True])
@virtual
async def test_a_host_isolated_in_the_midst_of_slow_starts_stops_them_in_time(
    watched_first: bool,
) -> None:
    slow = spec(per_second=0.005)
    slow.on_isolation_stop_after_seconds = ISOLATED_AFTER
    host = Host()
    async with host.running() as agent:
        stream = agent.open_reports(Term(1, 1), Pace()) if watched_first else None
        await give(agent, assignment(shard("0-9", 10), template=slow), 10)
        await asyncio.sleep(300)
        if stream is not None:
            agent.close_reports(stream)
            await asyncio.sleep(300)
        assert await ready(host) != EMPTY
        await asyncio.sleep(310)
        assert await ready(host) == EMPTY
        await asyncio.sleep(5_000)
        assert await ready(host) == EMPTY


@pytest.mark.parametrize("observes", [False, True], ids=["commands", "observes"])
@virtual
async def test_a_host_that_somebody_watches_is_not_isolated(observes: bool) -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, STOPPED, 10)
        if observes:
            stream = agent.open_observation(Pace())
        else:
            stream = agent.open_reports(Term(1, 1), Pace())
        await asyncio.sleep(10 * ISOLATED_AFTER)
        assert await ready(host) == indices("0-9")
        agent.close_reports(stream)
        await asyncio.sleep(ISOLATED_AFTER - 5)
        assert await ready(host) == indices("0-9")
        await asyncio.sleep(10)
        assert await ready(host) == EMPTY


@virtual
async def test_an_agent_restarted_in_isolation_starts_nothing_that_it_had_stopped() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, STOPPED, 10)
        await asyncio.sleep(ISOLATED_AFTER + 5)
        assert await ready(host) == EMPTY
    async with host.running() as agent:
        await asyncio.sleep(ISOLATED_AFTER - 5)
        assert await ready(host) == EMPTY
        await agent.heard(Term(1, 1).message())
        await asyncio.sleep(5)
        assert await ready(host) == EMPTY
        await give(agent, STOPPED, 10)
        await converged(agent, 10)
        assert await ready(host) == indices("0-9")


@virtual
async def test_an_agent_restarted_in_isolation_stops_what_runs_after_the_time() -> None:
    host = Host()
    async with host.running() as agent:
        await settled(agent, STOPPED, 10)
    async with host.running() as agent:
        await until(lambda: bool(agent.board.kins))
        await asyncio.sleep(ISOLATED_AFTER - 10)
        assert await ready(host) == indices("0-9")
        await asyncio.sleep(20)
        assert await ready(host) == EMPTY
