"""A controller of which each answer is set, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.transport import Role
from megafleet.client import (
    ClusterContext,
    SyncClient,
)
from tests.certificates import issue
from tests.processes.controller_double import ControllerDouble


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        yield double


@pytest.fixture
def context(tmp_path: Path, controller: ControllerDouble) -> ClusterContext:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return ClusterContext.with_identity([controller.endpoint], alice)


@pytest.fixture
def client(context: ClusterContext) -> Iterator[SyncClient]:
    with SyncClient.connect(context) as connected:
        yield connected
