"""Clones as ZFS volumes: <parent>/<fleet name>-<index> from <parent>/<image>@<snapshot>.

Clones are made through libzfs_core in parallel (measured four times faster than one after
another: each waits for the pool's transaction group), and destroyed many at once by a program in
the kernel, whose destroys share a transaction group. The marks are user properties, given in
the clone call itself, so that no clone is ever without them. A clone counts as done when its
own device node opens and is that volume's; nothing waits for udev, for it as a whole least of all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, nullcontext
from dataclasses import replace
from functools import partial

from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.domain.disks import Disk
from fleet_agent.core.model import Batch, CloneRun, StepFailure, StepResult
from fleet_agent.drivers.lanes import Act, Lanes
from fleet_agent.drivers.ports.storage import StorageFacts
from fleet_agent.drivers.zfs.calls import BUSY_WAITS, HostZfs, ZfsCalls
from fleet_agent.drivers.zfs.clones import Clones
from fleet_agent.drivers.zfs.nodes import NODE_PACE, NODE_SECONDS, NODES
from fleet_agent.drivers.zfs.program import PART
from fleet_agent.drivers.zfs.udev_queue import UdevQueue

LOOKING_THREADS = 2


class ZfsStorage:
    """The Storage port over one dataset, which holds golden images and clones alike."""

    def __init__(
        self,
        parent: str,
        *,
        calls: ZfsCalls | None = None,
        threads: int = 16,
        node_seconds: float = NODE_SECONDS,
        udev: UdevQueue | None = None,
        on_listing: Callable[[], None] = lambda: None,
    ) -> None:
        """`parent`: a pool or a dataset of it, without a slash at its end. `udev`: whose queue
        is held while many are cloned. `on_listing` hears of each listing as it begins. Raises
        DriverError when the host's libzfs_core is missing or not the host's."""
        self._clones = Clones(calls or HostZfs(), parent)
        self._node_seconds = node_seconds
        self._udev = udev
        self._on_listing = on_listing
        self._lanes = Lanes()
        self._acting = ThreadPoolExecutor(threads, "zfs")
        self._looking = ThreadPoolExecutor(LOOKING_THREADS, "zfs-look")

    async def facts(self) -> StorageFacts:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._looking, self._clones.facts)

    async def listing(self) -> tuple[CloneRun, ...]:
        self._on_listing()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._looking, self._clones.listing)

    async def clone(self, batch: Batch) -> AsyncIterator[StepResult]:
        loop = asyncio.get_running_loop()
        fault = await loop.run_in_executor(self._looking, self._clones.image_fault, batch)
        if fault is not None:
            yield StepResult(EMPTY, tuple(map(fault.failure, batch.indices)))
            return
        held = self._udev.held(len(batch.indices)) if self._udev else nullcontext()
        async with held, aclosing(self._clone_all(batch)) as results:
            async for result in results:
                yield result

    async def _clone_all(self, batch: Batch) -> AsyncGenerator[StepResult, None]:
        loop = asyncio.get_running_loop()
        act = partial(self._clones.clone, batch, self._clones.listed_volumes())
        waiting = EMPTY
        looked = loop.time()
        async with aclosing(self._each(batch, act)) as cloning:
            async for result in cloning:
                if result.failures:
                    yield StepResult(EMPTY, result.failures)
                waiting = waiting | result.done
                if loop.time() < looked + NODE_PACE:
                    continue  # a look at all of them after each of them would cost their square
                opened = await self._opened(batch, waiting)
                waiting, looked = waiting - opened, loop.time()
                if opened:
                    yield StepResult(opened)
        async with aclosing(self._await_nodes(batch, waiting)) as opening:
            async for result in opening:
                yield result

    async def destroy(self, batch: Batch) -> AsyncIterator[StepResult]:
        act = partial(self._clones.destroy, batch, self._clones.listed_volumes())
        left = batch
        for wait in (*BUSY_WAITS, None):
            busy: list[StepFailure] = []
            parts = left.indices.batches(PART)
            name_of = batch.fleet.domain_name
            destroying = self._lanes.run_parts(self._acting, name_of, parts, act)
            async with aclosing(destroying) as results:
                async for result in results:
                    again = [one for one in result.failures if one.kind == "busy"]
                    given_up = tuple(one for one in result.failures if one.kind != "busy")
                    busy += again
                    if result.done or given_up:
                        yield StepResult(result.done, given_up)
            if not busy:
                return
            if wait is None:
                yield StepResult(EMPTY, tuple(busy))
                return
            await asyncio.sleep(wait)  # whoever holds a volume open tells nobody when he lets go
            left = replace(batch, indices=IndexSet.of(one.index for one in busy))

    def disk(self, batch: Batch, index: int) -> Disk:
        return Disk(str(NODES / self._clones.dataset(batch.fleet, index)))

    async def close(self) -> None:
        """Wait for the acts that threads have begun."""
        await self._lanes.idle()
        for pool in (self._acting, self._looking):
            pool.shutdown(wait=False)

    async def _opened(self, batch: Batch, indices: IndexSet) -> IndexSet:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._looking, self._clones.opened, batch, indices)

    async def _await_nodes(
        self, batch: Batch, waiting: IndexSet
    ) -> AsyncGenerator[StepResult, None]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._node_seconds
        while waiting:
            opened = await self._opened(batch, waiting)
            waiting = waiting - opened
            if opened:
                yield StepResult(opened)
            if waiting and loop.time() < deadline:
                # Paces looks at nodes that the kernel makes; nothing could be awaited instead.
                await asyncio.sleep(NODE_PACE)
            elif waiting:
                yield StepResult(
                    EMPTY, tuple(self._node_missing(batch, index) for index in waiting)
                )
                return

    def _node_missing(self, batch: Batch, index: int) -> StepFailure:
        node = self.disk(batch, index).path
        message = f"{node} did not become that volume's node within {self._node_seconds:g} s"
        return StepFailure(index, "node_missing", message)

    def _each(self, batch: Batch, act: Act) -> AsyncGenerator[StepResult, None]:
        return self._lanes.run(self._acting, batch.fleet.domain_name, batch.indices, act)
