"""Which fleets there are, by the store and by what agents were told of those it has forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

import msgspec

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.recovery.inventory import Inventory


@dataclass(slots=True)
class RecoveredFleets:
    """`by_uid`: those that can be had, generations raised to the newest known. `problems`: by
    uid, why what runs of a fleet is left alone."""

    by_uid: dict[str, FleetRecord] = field(default_factory=dict)
    specs: dict[tuple[str, int], types.FleetSpec] = field(default_factory=dict)
    new_specs: dict[tuple[str, int], types.FleetSpec] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    unknown: list[FleetRecord] = field(default_factory=list)  # named as well as can be

    @property
    def all_records(self) -> list[FleetRecord]:
        found = [*self.by_uid.values(), *self.unknown]
        return sorted(found, key=lambda fleet: (fleet.name, fleet.uid))


def recovered_fleets(
    fleets: Mapping[str, FleetRecord],
    specs: Mapping[tuple[str, int], types.FleetSpec],
    inventory: Inventory,
    gone: Set[str],
    adopt: bool,
) -> RecoveredFleets:
    """The store's, and those that only agents know of as far as they can be had again."""
    found = RecoveredFleets({fleet.uid: fleet for fleet in fleets.values()}, dict(specs))
    if adopt:
        used = {uid for has in inventory.hosts.values() for uid, _, _ in has.states}
        for uid in sorted(used - found.by_uid.keys()):
            _add(found, uid, inventory, uid in gone)
        _add_specs(found, inventory)
    return found


def _add(found: RecoveredFleets, uid: str, inventory: Inventory, deleted: bool) -> None:
    reported = inventory.fleets.get(uid)
    if reported is None:
        found.unknown.append(FleetRecord(f"(uid {uid[:40]})", uid, -1))
        found.problems[uid] = "no host that was heard knows its name"
        return
    record = FleetRecord(reported.name, uid, reported.number, reported.site)
    clash = _clash(record, found.by_uid.values())
    if deleted:
        clash = "it was deleted; what hosts still have of it is released afterwards"
    elif not any(of == uid for of, _ in inventory.specs):
        clash = "no host that was heard has its template"
    if clash:
        found.unknown.append(record)
        found.problems[uid] = clash
    else:
        found.by_uid[uid] = record


def _clash(record: FleetRecord, fleets: Iterable[FleetRecord]) -> str:
    for other in fleets:
        if other.name == record.name:
            return f"the store has another fleet of this name, uid {other.uid}"
        if (other.number, other.site) == (record.number, record.site):
            return f"fleet {other.name} has its number {record.number}, and so its MAC addresses"
    return ""


def _add_specs(found: RecoveredFleets, inventory: Inventory) -> None:
    for (uid, generation), spec in sorted(inventory.specs.items(), key=lambda item: item[0]):
        record = found.by_uid.get(uid)
        if record is None or (uid, generation) in found.specs:
            continue
        found.specs[uid, generation] = found.new_specs[uid, generation] = spec
        newest = max(record.generation, generation)
        found.by_uid[uid] = msgspec.structs.replace(record, generation=newest)
