"""Where a plan's progress goes: on the board, in the log, and among the VMs that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import structlog

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import StepFailure, StepKind, VmState
from fleet_agent.core.plan.plan import Step
from fleet_agent.reconcile.failures import VmFailures
from fleet_agent.reporting.board import Board

log = structlog.get_logger()


class RunProgress:
    """The RunListener of one agent. `on_step` hears of each step as it begins."""

    def __init__(
        self,
        host_id: str,
        board: Board,
        failures: VmFailures,
        clock: Callable[[], float],
        on_step: Callable[[Step], None] | None,
        change: Callable[[], str] = str,
    ) -> None:
        """`change`: the id of the change that the assignment follows from; empty: not known."""
        self._change = change
        self._host_id = host_id
        self._board = board
        self._failures = failures
        self._clock = clock
        self._on_step = on_step
        # What has failed at any step since the runner was given its last plan.
        self.failed_of_run: dict[Kin, IndexSet] = {}

    def began(self, step: Step) -> None:
        log.info(
            "step",
            host=self._host_id,
            kind=step.kind,
            fleet=step.kin.fleet_uid,
            birth=step.kin.birth,
            indices=step.indices,
            reason=step.reason,
            change_id=self._change(),
        )
        if self._on_step is not None:
            self._on_step(step)

    def set_state(self, kin: Kin, indices: IndexSet, state: VmState) -> None:
        self._board.set_state(kin, indices, state)

    def booted(self, vms: int, seconds: float) -> None:
        self._board.booted(vms, seconds)

    def failed(self, kin: Kin, kind: StepKind, failures: Iterable[StepFailure]) -> None:
        failures = tuple(failures)
        self._failures.record(kin, failures, self._clock())
        failed = IndexSet.of(failure.index for failure in failures)
        log.info(
            "failed",
            host=self._host_id,
            step=kind,
            fleet=kin.fleet_uid,
            indices=failed,
            reason=failures[0].kind,
            message=failures[0].message,
            change_id=self._change(),
        )
        self.failed_of_run[kin] = self.failed_of_run.get(kin, EMPTY) | failed
