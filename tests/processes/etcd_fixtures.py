"""etcd for tests: one a test process, shared under prefixes of their own, and private ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.etcd_process import EtcdProcess


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    """Shared: never kill it, and write only under `etcd_prefix`."""
    process = EtcdProcess(tmp_path_factory.mktemp("etcd")).start()
    yield process
    process.kill()


@pytest.fixture
def etcd_prefix() -> str:
    return f"/test-{uuid.uuid4().hex}/"


@pytest.fixture
def own_etcd(tmp_path: Path) -> Iterator[EtcdProcess]:
    """The test's own, to be killed, stopped and filled."""
    process = EtcdProcess(tmp_path / "etcd").start()
    yield process
    process.kill()
