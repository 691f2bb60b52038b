"""How much somebody may own: VMs and memory, summed over the fleets that are theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.people.records import NO_BOUND, PersonRecord, Quota, RoleRecord
from fleet_controller.core.people.rights import ROLES, right_on_any
from fleet_controller.core.refusals import Reason, Refused

Specs = Mapping[tuple[str, int], types.FleetSpec]  # by (uid, generation)
_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


class Owned(msgspec.Struct, frozen=True):
    """Of one person: fleets, and what these take at their totals and present templates."""

    fleets: tuple[str, ...] = ()
    vms: int = 0
    memory_bytes: int = 0


def owned_by(name: str, fleets: Iterable[FleetRecord], specs: Specs) -> Owned:
    """A fleet with several owners counts for each of them."""
    theirs = [fleet for fleet in fleets if name in fleet.owners]
    return Owned(
        tuple(sorted(fleet.name for fleet in theirs)),
        sum(fleet.total for fleet in theirs),
        sum(fleet.total * _memory_of_one(fleet, specs) for fleet in theirs),
    )


def quota_of(person: PersonRecord, roles: Mapping[str, RoleRecord]) -> Quota:
    """Its own bounds; where it has none, those of the highest role that it was given. Where that
    role's record does not read, nothing may grow."""
    role = ROLES.get(right_on_any(person, {}))
    of_role = roles.get(role) if role else None
    general = Quota(0, 0) if of_role and of_role.problem else of_role.quota if of_role else NO_BOUND
    own = person.quota
    return Quota(
        general.vms if own.vms is None else own.vms,
        general.memory_bytes if own.memory_bytes is None else own.memory_bytes,
    )


def check_growth(
    before: Mapping[str, FleetRecord],
    specs: Specs,
    after: FleetRecord,
    people: Mapping[str, PersonRecord],
    roles: Mapping[str, RoleRecord],
    spec: types.FleetSpec | None = None,
) -> None:
    """A fleet as it would be, `spec` its template where that is new. Raises Refused where it makes
    somebody own more than they may. What does not grow is never refused."""
    changed = {**before, after.name: after}
    known = specs if spec is None else _With(specs, (after.uid, after.generation), spec)
    for name in after.owners:
        person = people.get(name)
        if person is None:
            continue
        quota = quota_of(person, roles)
        if quota == NO_BOUND:
            continue
        was = owned_by(name, before.values(), specs)
        will = owned_by(name, changed.values(), known)
        _check(after.name, name, "VMs", was.vms, will.vms, quota.vms)
        _check(after.name, name, "memory", was.memory_bytes, will.memory_bytes, quota.memory_bytes)


def in_words(quota: Quota) -> str:
    """For the audit trail."""
    parts = []
    if quota.vms is not None:
        parts.append(f"at most {quota.vms:,} VMs")
    if quota.memory_bytes is not None:
        parts.append(f"at most {_size(quota.memory_bytes)} of memory")
    return ", ".join(parts) or "no bound"


class _With(dict[tuple[str, int], types.FleetSpec]):
    """All templates, with one more."""

    def __init__(self, specs: Specs, key: tuple[str, int], spec: types.FleetSpec) -> None:
        super().__init__(specs)
        self[key] = spec


def _check(fleet: str, owner: str, what: str, was: int, will: int, most: int | None) -> None:
    if most is None or will <= most or will <= was:
        return
    shown = _size if what == "memory" else "{:,}".format
    raise Refused(
        Reason.OVER_QUOTA,
        f"fleet {fleet} would bring what {owner} owns to {shown(will)} {_of(what)}: "
        f"{owner} may own {shown(most)}, and owns {shown(was)} now (an admin changes it: fleetctl "
        f"users add {owner} --max-{what.lower()} {'SIZE' if what == 'memory' else 'N'})",
    )


def _of(what: str) -> str:
    return "of memory" if what == "memory" else what


def _memory_of_one(fleet: FleetRecord, specs: Specs) -> int:
    """Promised to one VM, whether or not clones share it. 0 where the template does not read: such
    a fleet is not planned either."""
    spec = specs.get((fleet.uid, fleet.generation))
    return spec.memory_bytes if spec is not None else 0


def _size(count: int) -> str:
    for unit, name in _SIZES:
        if count >= unit and count % unit == 0:
            return f"{count // unit:,} {name}"
    return next((f"{count / u:,.1f} {n}" for u, n in _SIZES if count >= u), f"{count:,} bytes")
