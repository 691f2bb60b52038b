"""Whether somebody may do something: a comparison of what it needs with what the records give.

What a request is about is a fleet's name, or more than one fleet: a scope.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, IntEnum
from fnmatch import fnmatchcase

import msgspec

from fleet_controller.core.model import FleetRecord
from fleet_controller.core.people.records import ALL, PersonRecord, PersonRole
from fleet_controller.core.refusals import Reason, Refused

_ASKED = 4  # grants and owned fleets that a refusal lists


class Right(IntEnum):
    """In their order: each holds those below it."""

    NOTHING = 0
    VIEW = 1
    OPERATE = 2
    ADMIN = 3


_RIGHTS = {
    PersonRole.VIEWER: Right.VIEW,
    PersonRole.OPERATOR: Right.OPERATE,
    PersonRole.ADMIN: Right.ADMIN,
}
ROLES = {right: role for role, right in _RIGHTS.items()}


class Scope(Enum):
    """CLUSTER: a grant on all fleets is needed. ANY: one on whichever fleet is enough."""

    CLUSTER = "all"
    ANY = "any"


class Need(msgspec.Struct, frozen=True):
    """What a request needs. `what`: the request in words, after 'may not'."""

    right: Right
    about: str | Scope
    what: str


def in_force(people: Collection[str]) -> bool:
    """Whether records say who may do what; else certificates alone do."""
    return bool(people)


def right_on(person: PersonRecord | None, fleet: FleetRecord | str) -> Right:
    """What somebody has on one fleet, or on one that is not there yet."""
    if person is None or person.problem:
        return Right.NOTHING
    name = fleet if isinstance(fleet, str) else fleet.name
    if not isinstance(fleet, str) and person.name in fleet.owners:
        return Right.ADMIN
    return _most(_RIGHTS[g.role] for g in person.grants if fnmatchcase(name, g.fleets))


def right_on_all(person: PersonRecord | None) -> Right:
    """What somebody has on the whole cluster."""
    if person is None or person.problem:
        return Right.NOTHING
    return _most(_RIGHTS[grant.role] for grant in person.grants if grant.fleets == ALL)


def right_on_any(person: PersonRecord | None, fleets: Mapping[str, FleetRecord]) -> Right:
    """The most that somebody has, on whatever it is."""
    if person is None or person.problem:
        return Right.NOTHING
    if any(person.name in fleet.owners for fleet in fleets.values()):
        return Right.ADMIN
    return _most(_RIGHTS[grant.role] for grant in person.grants)


def has(person: PersonRecord | None, need: Need, fleets: Mapping[str, FleetRecord]) -> bool:
    if need.right is Right.NOTHING:
        return True
    match need.about:
        case Scope.CLUSTER:
            right = right_on_all(person)
        case Scope.ANY:
            right = right_on_any(person, fleets)
        case str(name):
            right = right_on(person, fleets.get(name, name))
    return right >= need.right


def check(
    name: str, person: PersonRecord | None, need: Need, fleets: Mapping[str, FleetRecord]
) -> None:
    """`person`: the record of whoever is called so. Raises Refused, which names what is missing and
    how it is given."""
    if has(person, need, fleets):
        return
    raise Refused(
        Reason.NOT_ALLOWED,
        f"{name} may not {need.what}: it needs {_needed(need)}; {_what_it_is(name, person, fleets)}"
        f" (an admin gives it: {_remedy(name, need)})",
    )


def _needed(need: Need) -> str:
    role = ROLES[need.right]
    match need.about:
        case Scope.CLUSTER:
            return f"{role} on all"
        case Scope.ANY:
            return f"{role} on a fleet"
        case str(fleet) if need.right is Right.ADMIN:
            return f"{role} on {fleet}, or to own it"
        case str(fleet):
            return f"{role} on {fleet}"


def _what_it_is(name: str, person: PersonRecord | None, fleets: Mapping[str, FleetRecord]) -> str:
    if person is None:
        return f"nobody has given {name} a role"
    if person.problem:
        return f"the record of {name} cannot be read, so it counts for nothing"
    owned = [f"owner of {one.name}" for one in fleets.values() if name in one.owners]
    has_got = [*map(str, person.grants), *sorted(owned)]
    more = f" and {len(has_got) - _ASKED:,} more" if len(has_got) > _ASKED else ""
    return f"{name} is {', '.join(has_got[:_ASKED]) or 'nothing'}{more}"


def _remedy(name: str, need: Need) -> str:
    scoped = "" if isinstance(need.about, Scope) else f" --fleet {need.about}"
    return f"fleetctl users add {name} --role {ROLES[need.right]}{scoped}"


def _most(rights: Iterable[Right]) -> Right:
    return max(rights, default=Right.NOTHING)
