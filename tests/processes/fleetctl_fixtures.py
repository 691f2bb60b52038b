"""fleetctl of an operator, and the scripted controller that answers it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.transport import Role
from tests.certificates import issue
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl_process import Fleetctl


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        yield double


@pytest.fixture
def fleetctl(tmp_path: Path, controller: ControllerDouble) -> Fleetctl:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return Fleetctl(tmp_path, (controller.endpoint,), alice)
