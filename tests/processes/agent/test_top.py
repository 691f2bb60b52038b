"""Top over real gRPC: samples of a hollow host, and who may ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from fleet.transport import Role
from fleet.v1 import agent_pb2 as wire
from tests.certificates import identity
from tests.doubles.assignments import SPV
from tests.processes.agent.agent_caller import DEADLINE
from tests.processes.agent.served_agent import TEN, Served, refusal, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as made:
        async with made.caller() as caller:
            await caller.assign(TEN, 10)
            await caller.until_converged(10)
        yield made


async def test_one_sample(served: Served) -> None:
    async with served.caller() as caller:
        request = wire.TopRequest(samples=1, limit=3, order=wire.TOP_ORDER_NAME)
        samples = [one async for one in caller.stub.Top(request, timeout=DEADLINE)]
    (one,) = samples
    assert [row.name for row in one.domains] == ["spv-0", "spv-1", "spv-2"]
    assert one.domains[1].vm == wire.VmAddress(fleet_uid=SPV.uid, index=1)
    assert (one.host.vms, one.fleets[0].fleet, one.fleets[0].vms) == (10, "spv", 10)
    assert one.window_seconds >= 1.0
    assert one.host.usage.cpu_percent == pytest.approx(one.fleets[0].usage.cpu_percent)
    assert 0 < one.host.usage.cpu_percent < 1000


async def test_samples_until_the_caller_leaves(served: Served) -> None:
    async with served.caller() as caller:
        call = caller.stub.Top(wire.TopRequest(fleet_uid="another"))
        async with asyncio.timeout(DEADLINE):
            for _ in range(2):
                one = await call.read()
                assert isinstance(one, wire.TopSample)
                assert (len(one.domains), one.host.vms, one.host.cpus) == (0, 0, 16)
        call.cancel()


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER, Role.AGENT])
async def test_only_controllers_may_ask(served: Served, role: Role) -> None:
    async with served.caller(identity(role, "somebody")) as caller:
        denied = (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        assert await refusal(caller.stub.Top(wire.TopRequest()).read()) == denied
