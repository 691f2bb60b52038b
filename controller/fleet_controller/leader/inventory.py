"""What hosts say they have, gathered from their reports while changes are frozen."""

from __future__ import annotations

from fleet.identity import Fleet, checked_fleet_name
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.recovery.inventory import HostInventory, Inventory


class ReportedInventory:
    """All hosts that were heard, by id, and what their VMs were made from."""

    def __init__(self) -> None:
        self.hosts: dict[str, HostInventory] = {}
        self.fleets: dict[str, Fleet] = {}  # by uid
        self.specs: dict[tuple[str, int], types.FleetSpec] = {}

    def apply_report(self, host: str, report: wire.Report) -> None:
        """Deltas without a full report before them say nothing by themselves. Raises ValueError
        for a report that makes no sense."""
        before = HostInventory() if report.full else self.hosts.get(host)
        if before is None:
            return
        self.hosts[host] = before.after(report)
        for one in report.fleets:
            named = Fleet(one.uid, checked_fleet_name(one.name), one.number, one.site)
            self.fleets.setdefault(one.uid, named)
        for spec in report.specs:
            self.specs.setdefault((spec.fleet_uid, spec.generation), spec.spec)

    def snapshot(self) -> Inventory:
        """As it is now, for a decision made beside the reports that go on."""
        return Inventory(dict(self.hosts), dict(self.fleets), dict(self.specs))
