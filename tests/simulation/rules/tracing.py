"""What happens, as lines of the trace that a failed play shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fleet.keys import Kin
from fleet.ranges import IndexSet
from fleet_agent.core.model import REMOVALS, Batch, StepKind
from fleet_controller.core.model import HostRecord
from fleet_controller.store.port import Change
from tests.simulation.doubles.witness import Witness


class Tracing(Witness):
    """No rule: it breaks nothing."""

    def __init__(self, note: Callable[[str, str], None]) -> None:
        self._note = note

    def vms_started(self, host: str, kin: Kin, indices: IndexSet) -> None:
        self._note("start", f"{host} {kin.fleet_uid[-4:]}/{kin.birth} {indices}")

    def vms_ended(self, host: str, kin: Kin, indices: IndexSet) -> None:
        self._note("end", f"{host} {kin.fleet_uid[-4:]}/{kin.birth} {indices}")

    def step_begins(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        if kind in REMOVALS:
            kin = batch.kin
            self._note("remove", f"{host} {kind} {kin.fleet_uid[-4:]}/{kin.birth} {indices}")

    def revision_written(self, revision: int, changes: Sequence[Change]) -> None:
        for change in changes:
            what = change.value.decode() if change.value is not None else "deleted"
            self._note("store", f"{revision} {change.key} {what}")

    def verdict_written(self, record: HostRecord, lost: bool) -> None:
        self._note("verdict", f"{record.id} is {'lost' if lost else 'not lost any more'}")
