"""What the planner has decided last, as queries show it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fleet_controller.core.passes import Pass
from fleet_controller.core.placement.placement import FleetPlan


class Planning(msgspec.Struct, frozen=True):
    """`plans`: by the fleet's name; of the last pass, or of a scale since then."""

    plans: Mapping[str, FleetPlan] = {}
    last_pass: Pass = Pass()

    @property
    def duplicates(self) -> Mapping[str, Mapping[str, int]]:
        """VMs that may run twice, by host and fleet uid."""
        return self.last_pass.duplicates

    def why_unplaced(self, fleet: str, index: int) -> str:
        """Why a VM of the fleet of this name is on no host; empty where no plan says so."""
        plan = self.plans.get(fleet)
        found = (one.message for one in plan.unplaced if index in one.indices) if plan else ()
        return next(iter(found), "")
