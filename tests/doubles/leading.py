"""A controller replica that leads, in virtual time: memory for a store, scripted agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, Future
from contextlib import asynccontextmanager
from itertools import count
from random import Random
from typing import Any

from fleet.transport import Peer
from fleet_controller.agents.port import AgentDialer
from fleet_controller.election.election import Election
from fleet_controller.events import EventLog
from fleet_controller.leader.environment import (
    JoiningEnvironment,
    LeaderEnvironment,
    LeaderSettings,
)
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.replica import NotLeading, Replica
from fleet_controller.standbys import AtHand, Standbys
from fleet_controller.store.port import Store

LEASE_SECONDS = 6


class InlineExecutor(Executor):
    """Does its work where it is submitted: virtual time passes for no thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


QUICK = LeaderSettings(settle=5.0, recover_after=0.0)


def replica_over(
    store: Store,
    dialer: AgentDialer,
    name: str = "controller-1",
    seed: int = 1,
    settings: LeaderSettings = QUICK,
    standbys: Standbys | None = None,
    address: str = "",
    holder: Peer | None = None,
    joining: JoiningEnvironment | None = None,
    wall: Callable[[], float] | None = None,
) -> Replica:
    """Not running yet; at `<name>:1` unless told otherwise. Uids of its fleets are
    00000000-0000-0000-<seed>-<n>. `wall`: its time of day, where that is not the loop's."""
    clock = asyncio.get_running_loop().time
    numbers = count(1)
    around = LeaderEnvironment(
        store=store,
        dialer=dialer,
        standbys=standbys or AtHand(),
        clock=clock,
        random=Random(seed),
        executor=InlineExecutor(),
        events=EventLog(wall or clock),
        settings=settings,
        holder=holder,
        joining=joining or JoiningEnvironment(),
    )
    election = Election(store, name, address or f"{name}:1", clock, LEASE_SECONDS)
    return Replica(
        name, election, around, lambda: f"00000000-0000-0000-{seed:04x}-{next(numbers):012x}"
    )


def leading_or_none(replica: Replica) -> Leader | None:
    try:
        return replica.leader()
    except NotLeading:
        return None


async def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Wait, in the loop's time, until it holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, "not within the time"
        await asyncio.sleep(0.05)


@asynccontextmanager
async def leading(
    store: Store,
    dialer: AgentDialer,
    settings: LeaderSettings = QUICK,
    standbys: Standbys | None = None,
    joining: JoiningEnvironment | None = None,
    wall: Callable[[], float] | None = None,
) -> AsyncIterator[Leader]:
    """The replica runs and leads; whatever goes wrong inside it is raised at the end."""
    replica = replica_over(
        store, dialer, settings=settings, standbys=standbys, joining=joining, wall=wall
    )
    async with asyncio.TaskGroup() as group:
        running = group.create_task(replica.run())
        await until(lambda: leading_or_none(replica) is not None)
        yield replica.leader()
        running.cancel()


@asynccontextmanager
async def another_change(leader: Leader) -> AsyncIterator[None]:
    """Somebody else decides a change meanwhile, and every other one waits for it."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def once() -> None:
        begun.set()
        await over.wait()

    deciding = asyncio.create_task(leader.writer.decide(once, while_frozen=True))
    await begun.wait()
    try:
        yield
    finally:
        over.set()
        await deciding
