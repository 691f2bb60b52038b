"""Whose a name is on a hollow host: runs of indices by kin, never one object a VM."""

from __future__ import annotations

from dataclasses import dataclass, field

from fleet.keys import NO_EPOCH, Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import Batch, StepFailure


@dataclass(slots=True)
class KinsByName:
    """What carries which name on this host: kins by the fleet's name."""

    by_name: dict[str, dict[Kin, IndexSet]] = field(default_factory=dict)
    # The highest epoch that any of a kin was made under.
    newest: dict[Kin, Epoch] = field(default_factory=dict)

    def taken(self, batch: Batch, indices: IndexSet) -> IndexSet:
        """Those of the indices whose name another kin has."""
        kins = self.by_name.get(batch.fleet.name)
        if not kins or (len(kins) == 1 and batch.kin in kins):
            return EMPTY
        others = IndexSet.union_of(have for kin, have in kins.items() if kin != batch.kin)
        return others & indices

    def add(self, batch: Batch, indices: IndexSet) -> None:
        kins = self.by_name.setdefault(batch.fleet.name, {})
        have = kins.get(batch.kin)
        kins[batch.kin] = have | indices if have else indices
        self.newest[batch.kin] = max(self.newest.get(batch.kin, NO_EPOCH), batch.mark.epoch)

    def remove(self, batch: Batch, indices: IndexSet) -> None:
        kins = self.by_name.get(batch.fleet.name, {})
        rest = kins.get(batch.kin, EMPTY) - indices
        if rest:
            kins[batch.kin] = rest
        else:
            kins.pop(batch.kin, None)
            self.newest.pop(batch.kin, None)

    def all(self) -> dict[Kin, IndexSet]:
        return {kin: have for kins in self.by_name.values() for kin, have in kins.items()}


def conflicts(batch: Batch, taken: IndexSet) -> tuple[StepFailure, ...]:
    return tuple(
        StepFailure(
            index,
            "conflict",
            f"{batch.fleet.domain_name(index)} exists and is not ours to touch",
            retry=False,
        )
        for index in taken
    )
