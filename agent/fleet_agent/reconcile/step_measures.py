"""Who counts what drivers were asked to do, and how long that took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fleet_agent.core.model import StepFailure, StepKind


class StepMeasures(Protocol):
    """Of one agent, or of several in one process."""

    def called(self, kind: StepKind, done: int, seconds: float) -> None:
        """A call of a driver has ended; `done`: VMs that it was done for."""

    def failed(self, kind: StepKind, failures: Sequence[StepFailure]) -> None: ...

    def booted(self, vms: int, seconds: float) -> None:
        """So many VMs are ready, so long after their start was called."""
