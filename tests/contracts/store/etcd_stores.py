"""Stores in etcd, for as long as a test goes on, and waiting for what nothing announces."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fleet.transport import Identity
from fleet_controller.store.etcd.store import EtcdStore
from fleet_controller.store.port import (
    Put,
    StoreError,
    Unavailable,
)
from tests.contracts.store.store_watching import PATIENCE_SECONDS

# What a busy machine may add to any time stated here.
BUSY_SECONDS = 5.0


@asynccontextmanager
async def connected(
    *endpoints: str, prefix: str = "/test/", identity: Identity | None = None, deadline: float = 5.0
) -> AsyncIterator[EtcdStore]:
    store = await EtcdStore.connect(endpoints, prefix=prefix, identity=identity, deadline=deadline)
    try:
        yield store
    finally:
        await store.close()


async def put(store: EtcdStore, *keys: str) -> int:
    return (await store.txn([], [Put(key, key.encode()) for key in keys])).revision


async def until_available(store: EtcdStore) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            try:
                await store.read()
                return
            except Unavailable:
                await asyncio.sleep(0.05)


async def eventually(condition: Callable[[], bool]) -> None:
    """For what tells nobody when it changes."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


async def error_of(call: Awaitable[object]) -> StoreError | None:
    try:
        await call
    except StoreError as error:
        return error
    return None
