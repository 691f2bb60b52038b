"""What people are shown of each fleet before they confirm a recovery."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import msgspec

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.recovery.claims import Claim
from fleet_controller.core.recovery.recovered_fleets import RecoveredFleets
from fleet_controller.core.recovery.view import RecoveryChoice, RecoveryView
from fleet_controller.core.vm_states import RUNNING


@dataclass(frozen=True, slots=True)
class FleetFinding:
    """One fleet: see fleet.v1.RecoverFleet."""

    record: FleetRecord
    confirmed: bool
    running: int
    adopted: int
    twice: int
    missing: int
    excess: int
    problem: str


def findings(
    view: RecoveryView,
    wish: RecoveryChoice,
    known: RecoveredFleets,
    kept: Iterable[Claim],
    staged: Iterable[Claim],
    twice: Mapping[str, IndexSet],
) -> Iterator[FleetFinding]:
    """By name. `twice`: by uid, what two hosts had."""
    held: dict[str, list[IndexSet]] = defaultdict(list)
    adopted: dict[str, int] = defaultdict(int)
    for claim in staged:
        held[claim.shard.fleet].append(claim.shard.ranges)
    for claim in kept:
        held[claim.shard.fleet].append(claim.shard.ranges)
        if wish.adopt and claim.host in view.inventory.hosts and view.is_rebuilt(claim.host):
            adopted[claim.shard.fleet] += len(claim.shard.ranges)
    running: dict[str, int] = defaultdict(int)
    for has in view.inventory.hosts.values():
        for kin in has.states:
            running[kin.fleet_uid] += len(has.having(kin, RUNNING))
    for record in known.all_records:
        # One that is being deleted would never be gone with another total than 0.
        total = record.total if record.deleting else wish.totals.get(record.name, record.total)
        wanted, have = IndexSet.span(0, total), IndexSet.union_of(held[record.uid])
        yield FleetFinding(
            record=msgspec.structs.replace(record, total=total),
            confirmed=record.name in wish.totals or record.deleting or not wish.adopt,
            running=running[record.uid],
            adopted=adopted[record.uid],
            twice=len(twice.get(record.uid, EMPTY)),
            missing=len(wanted - have),
            excess=len(have - wanted),
            problem=known.problems.get(record.uid, ""),
        )
