"""A leader with an issuing key, and machines that join under it, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fleet.v1 import joining_pb2 as joining
from fleet_controller.core.refusals import Refused
from fleet_controller.leader.environment import JoiningEnvironment, LeaderSettings
from fleet_controller.replica.leader import Leader
from fleet_controller.store.memory import MemoryStore
from tests.doubles.faulty_store import FaultyStore
from tests.doubles.joining_hosts import issuer_in, join_request
from tests.doubles.leading import QUICK, leading
from tests.doubles.obedient_agents import Network
from tests.virtual_loop import run_virtual

FROM = "10.0.0.7"
Scene = Callable[[Leader], Awaitable[None]]


def scenes(folder: Path, *played: Scene, settings: LeaderSettings = QUICK) -> None:
    """Each under a leader of its own, on one store."""

    async def whole() -> None:
        store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))
        around = JoiningEnvironment(
            issuer_in(folder), controllers=lambda: ["c1:7440"], settings="guests = 40"
        )
        for scene in played:
            async with leading(store, Network(), settings, joining=around) as leader:
                await scene(leader)

    run_virtual(whole())


async def joins(
    leader: Leader, host: str, key: bytes = b"", address: str = FROM, **of: Any
) -> joining.JoinResponse:
    request = join_request(host, leader.memory.events.now(), key=key, **of)
    return await leader.joins.join(request, address)


async def outcome(leader: Leader, host: str, key: bytes = b"", address: str = FROM) -> str:
    """Empty when it has joined, else why not."""
    try:
        await joins(leader, host, key, address)
    except Refused as refused:
        return refused.reason
    return ""
