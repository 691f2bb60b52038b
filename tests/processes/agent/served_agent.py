"""One hollow agent behind real gRPC with mTLS, in this process."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from fleet.transport import Identity, Role, detail_of
from fleet.v1 import types_pb2 as types
from fleet_agent.api.service import AgentApi
from fleet_agent.api.shared_samples import Sampling
from fleet_agent.daemon.server import AgentServer, SharedServices
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.consoles import HollowConsoles
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.sampler import HollowSampler
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import LedgerFull, LedgerRecord, MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from tests.certificates import identity
from tests.doubles.assignments import assignment, shard
from tests.processes.agent.agent_caller import Caller

HOST = "dom0-1"
TEN = assignment(shard("0-9", 10))


class Ledger(MemoryLedger):
    full = False

    async def save(self, record: LedgerRecord) -> None:
        if self.full:
            raise LedgerFull("no space left on device")
        await super().save(record)


@dataclass
class Served:
    address: str
    ledger: Ledger
    hypervisor: HollowHypervisor
    watched: list[bool]

    def caller(self, by: Identity | None = None, host: str = HOST) -> Caller:
        return Caller(host, self.address, by)


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    behaviour, ledger = Behaviour.of(), Ledger()
    watched: list[bool] = []
    hypervisor = HollowHypervisor(behaviour)
    agent = Agent(
        HOST,
        types.HostFacts(machine_id="m", boot_id="b"),
        HollowStorage(behaviour),
        hypervisor,
        ledger,
        clock=time.monotonic,
        wall_clock=time.time,
        jitter=random.Random(1).random,
        settings=LoopSettings(),
        incarnation="i",
        on_watched=watched.append,
    )
    await agent.open()
    services = SharedServices()
    credentials = identity(Role.AGENT, HOST).for_server()
    api = AgentApi(
        agent,
        consoles=HollowConsoles(hypervisor),
        sampling=Sampling(HollowSampler(hypervisor, behaviour), time.monotonic),
    )
    server = AgentServer(api, services, credentials)
    port = server.listen("127.0.0.1:0")
    task = asyncio.create_task(agent.run())
    await server.start()
    await services.serving()
    try:
        yield Served(f"127.0.0.1:{port}", ledger, hypervisor, watched)
    finally:
        await server.stop()
        task.cancel()
        await asyncio.wait([task])


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), detail_of(caught.value).reason
