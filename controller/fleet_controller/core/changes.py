"""What operators and agents ask for, decided: records to write, or a refusal.

Pure functions over records. A refusal carries a stable reason and one clear sentence.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from fleet.identity import MAX_FLEET_NUMBER, MAX_INDEX, checked_fleet_name
from fleet.spec import check_spec
from fleet.v1 import types_pb2 as types
from fleet_controller.core.addresses import check_template, check_total
from fleet_controller.core.generations.differences import Difference, differences
from fleet_controller.core.generations.kept_generations import applied
from fleet_controller.core.mac_bases import check_macs
from fleet_controller.core.model import (
    Assignment,
    ClusterView,
    FleetRecord,
    GoneFleet,
    Meta,
    RolloutRecord,
)
from fleet_controller.core.placement.enough_room import EnoughRoom
from fleet_controller.core.placement.placement import FleetPlan, Placement, place
from fleet_controller.core.refusals import Reason, Refused, named_fleet


class Application(msgspec.Struct, frozen=True):
    """A fleet file applied: the record afterwards, its specs to store by generation, and the meta.
    `fields`: what is otherwise of a fleet that was there, in the words of the file."""

    before: FleetRecord | None
    fleet: FleetRecord
    specs: Mapping[int, types.FleetSpec] = {}
    meta: Meta | None = None
    fields: tuple[Difference, ...] = ()
    is_new: bool = False  # the generation was not there before

    @property
    def created(self) -> bool:
        return self.before is None

    @property
    def changed(self) -> bool:
        """Whether VMs of a fleet that was there are made of another template from now on."""
        return self.before is not None and self.before.generation != self.fleet.generation

    @property
    def settings(self) -> list[Difference]:
        """Those of the fields that are of the fleet, and not of its template."""
        return [one for one in self.fields if one.setting]

    @property
    def returned(self) -> bool:
        return self.changed and not self.is_new

    @property
    def writes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.specs) or self.fleet != self.before

    @property
    def matters(self) -> bool:
        """Whether anything is otherwise than before, but for where a rollout goes by itself."""
        return bool(self.specs) or self.changed


def check_given(name: str, spec: types.FleetSpec) -> None:
    """Raises Refused for what is wrong with a spec by itself."""
    if wrong := check_spec(spec):
        raise Refused(Reason.BAD_SPEC, f"fleet {name[:60]!r}: {'; '.join(wrong[:3])}")


def apply_fleet(
    fleets: Mapping[str, FleetRecord],
    specs: Mapping[tuple[str, int], types.FleetSpec],
    meta: Meta,
    name: str,
    spec: types.FleetSpec,
    actor: str,
    new_uid: str,
    all_hosts_accounted: bool,
    owner: str = "",
    rollouts: Mapping[str, RolloutRecord] = {},
) -> Application:
    """A new fleet of total 0, a new generation of an old one, one that it had before, other
    settings, or nothing to do.

    `new_uid` and `owner` are used only for a new fleet. `rollouts`: by uid; while the one to the
    template that was applied last is open, it says nothing anew when it is applied again: which
    VMs are made of it is the rollout's. Raises Refused.
    """
    try:
        checked_fleet_name(name)
    except ValueError as error:
        raise Refused(Reason.BAD_SPEC, str(error)) from error
    have = fleets.get(name)
    if have is None or not have.deleting:
        check_template(fleets, specs, name, spec)
        check_macs(fleets, specs, name, spec, have.total if have else 0)
    if have is None:
        number = next_number(meta, fleets, all_hosts_accounted)
        owners = (owner,) if owner else ()
        fleet = FleetRecord(name, new_uid, number, meta.site, changed_by=actor, owners=owners)
        later = msgspec.structs.replace(meta, last_number=number)
        return Application(None, fleet, {fleet.generation: spec}, later, is_new=True)
    if have.deleting:
        raise Refused(
            Reason.FLEET_DELETING,
            f"fleet {name} is being deleted; apply it again when its hosts have let its VMs go",
        )
    found = applied(specs, have, spec)
    last = 0 if found.generation == found.newest else found.generation
    rollout = rollouts.get(have.uid)
    again = not found.is_new and last == have.applied
    to = rollout.to_generation if rollout is not None and rollout.open else 0
    stays = again and to == found.generation
    further = have.generation if stays else found.generation
    before = specs.get((have.uid, found.generation if stays else have.generation))
    fields = tuple(differences(before, spec)) if before is not None else ()
    fleet = have
    if found.records or (further, last) != (have.generation, have.applied):
        fleet = msgspec.structs.replace(have, generation=further, applied=last, changed_by=actor)
    return Application(have, fleet, found.records, None, fields, found.is_new)


def next_number(meta: Meta, fleets: Mapping[str, FleetRecord], all_hosts_accounted: bool) -> int:
    """A fleet number that no fleet has. Numbers are part of MAC addresses, so one is used a
    second time only after all others, and only while every host is heard. Raises Refused."""
    used = {fleet.number for fleet in fleets.values()}
    count = MAX_FLEET_NUMBER + 1
    for step in range(1, count + 1):
        number = (meta.last_number + step) % count
        wrapped = meta.last_number + step >= count
        if wrapped and not all_hosts_accounted:
            raise Refused(
                Reason.NO_FLEET_NUMBER,
                f"all {count} fleet numbers have been given once, and one may be used again only "
                "while every host is live; bring the hosts back or remove them",
            )
        if number not in used:
            return number
    raise Refused(
        Reason.NO_FLEET_NUMBER, f"there are {count} fleets already, the most there may be"
    )


def without_tombstones(assignments: Mapping[str, Assignment], uid: str) -> dict[str, Assignment]:
    """The assignments that have tombstones of the fleet, without them."""
    return {
        host: msgspec.structs.replace(
            one, tombstones=tuple(stone for stone in one.tombstones if stone.fleet != uid)
        )
        for host, one in assignments.items()
        if any(stone.fleet == uid for stone in one.tombstones)
    }


# Deleted fleets that are remembered, so that hosts that were away can still release them.
GONE_KEPT = 1000


def forgettable(gone: Mapping[str, GoneFleet], assignments: Mapping[str, Assignment]) -> list[str]:
    """Uids of the deleted fleets, oldest first, beyond those kept; none that a tombstone names."""
    excess = len(gone) - GONE_KEPT
    if excess <= 0:
        return []
    named = {stone.fleet for one in assignments.values() for stone in one.tombstones}
    return [uid for uid in gone if uid not in named][:excess]


class Scaling(msgspec.Struct, frozen=True):
    """A scale decided: the fleet afterwards, where its VMs go, and what names this plan."""

    before: FleetRecord
    fleet: FleetRecord
    placement: Placement
    plan: FleetPlan
    token: str


def scale(view: ClusterView, name: str, total: int, actor: str) -> Scaling:
    """The fleet at another total. Raises Refused for what can never be."""
    before = named_fleet(view.fleets, name)
    if before.deleting:
        raise Refused(Reason.FLEET_DELETING, f"fleet {before.name} is being deleted")
    if not 0 <= total <= MAX_INDEX + 1:
        raise Refused(Reason.BAD_TOTAL, f"a total is from 0 to {MAX_INDEX + 1:,}; {total:,} is not")
    check_total(view.specs, before, total)
    spec = view.specs.get((before.uid, before.generation))
    check_macs(view.fleets, view.specs, before.name, spec, total)
    fleet = msgspec.structs.replace(before, total=total, changed_by=actor)
    placement = place(msgspec.structs.replace(view, fleets={**view.fleets, fleet.name: fleet}))
    plan = placement.fleets[fleet.name]
    return Scaling(before, fleet, placement, plan, _token(before, placement, fleet))


def check_scale(scaling: Scaling, partial: bool, token: str) -> None:
    """Raises Refused when the plan shown is stale, or when VMs would fit nowhere."""
    if token and token != scaling.token:
        raise Refused(
            Reason.STALE_PLAN,
            "the cluster has changed since that plan was made; look at a new one",
        )
    short = [u for u in scaling.plan.unplaced if u.reason != "releasing"]
    grows = scaling.fleet.total > scaling.before.total
    if short and grows and not partial:
        count = sum(len(u.indices) for u in short)
        fits = scaling.fleet.total - count
        needed = max(u.hosts_needed for u in short)
        wanted = "1 VM does" if scaling.fleet.total == 1 else f"{scaling.fleet.total:,} VMs do"
        raise Refused(
            Reason.BEYOND_CAPACITY,
            f"{wanted} not fit: {fits:,} would. {short[0].message}. --partial places what fits",
            fits=str(fits),
            hosts_needed=str(needed),
        )


def check_schedule(
    view: ClusterView, room: EnoughRoom, decided: Application, spec: types.FleetSpec, largest: int
) -> None:
    """Raises Refused when the largest total of the schedule could not be now. What fits no more
    when its time has come is told then. `room`: of the view."""
    fleet = decided.fleet
    there = msgspec.structs.replace(
        view,
        fleets={**view.fleets, fleet.name: fleet},
        specs={**view.specs, (fleet.uid, fleet.generation): spec},
    )
    check_total(there.specs, fleet, largest)
    check_macs(there.fleets, there.specs, fleet.name, spec, largest)
    grown = msgspec.structs.replace(fleet, total=largest)
    if largest <= fleet.total or room.is_sure(grown, spec):
        return
    scaling = scale(there, fleet.name, largest, fleet.changed_by)
    short = [u for u in scaling.plan.unplaced if u.reason != "releasing"]
    if not short:
        return
    fits = largest - sum(len(u.indices) for u in short)
    raise Refused(
        Reason.BEYOND_CAPACITY,
        f"fleet {fleet.name}: the largest total of its schedule is {largest:,}, and {fits:,} would "
        f"fit. {short[0].message}. Lower it, or add hosts first",
        fits=str(fits),
        hosts_needed=str(max(u.hosts_needed for u in short)),
    )


def _token(before: FleetRecord, placement: Placement, after: FleetRecord) -> str:
    """A digest of what the plan does, births aside: equal for equal effects."""
    effect = [
        (host, [(s.fleet, str(s.ranges), s.generation) for s in assignment.shards])
        for host, assignment in sorted(placement.assignments.items())
    ]
    text = repr((before.uid, before.total, before.generation, after.total, effect))
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
