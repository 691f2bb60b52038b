"""Either store, each test under a prefix of its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest

from fleet_controller.store.etcd.store import EtcdStore
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Store
from tests.processes.etcd_process import EtcdProcess


@pytest.fixture(params=["memory", "etcd"])
async def store(request: pytest.FixtureRequest, etcd_prefix: str) -> AsyncIterator[Store]:
    made: Store
    if request.param == "memory":
        made = MemoryStore(time.monotonic)
    else:
        server: EtcdProcess = request.getfixturevalue("etcd")
        made = await EtcdStore.connect([server.endpoint], prefix=etcd_prefix)
    yield made
    await made.close()
