"""What is asked to be changed of people, decided: the record afterwards, or a refusal."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from fleet.peers import PEOPLE, is_name
from fleet_controller.core.model import LONGEST, DeniedRecord, FleetRecord
from fleet_controller.core.people.records import (
    MOST_GRANTS,
    Grant,
    PersonRecord,
    PersonRole,
    Quota,
    is_fleet_pattern,
)
from fleet_controller.core.people.rights import Right, right_on_all
from fleet_controller.core.refusals import Reason, Refused

MOST_PEOPLE = 10_000
MOST_OWNERS = 20  # of a fleet
_SHOWN = 60
_GRANT_ADMIN = "fleetctl users add NAME --role admin"


class QuotaChange(msgspec.Struct, frozen=True):
    """None: as it was; -1: no bound."""

    vms: int | None = None
    memory_bytes: int | None = None


def grant_of(role: str, fleets: str) -> Grant:
    """Raises Refused."""
    if role not in PersonRole.__members__.values():
        known = ", ".join(PersonRole)
        raise Refused(Reason.BAD_QUERY, f"{role[:_SHOWN]!r} is no role: there are {known}")
    if not is_fleet_pattern(fleets):
        raise Refused(
            Reason.BAD_QUERY, f"{fleets[:_SHOWN]!r} is no name of a fleet, nor a pattern of such"
        )
    return Grant(PersonRole(role), "*" if not fleets.strip("*") else fleets)


def with_quota(quota: Quota, change: QuotaChange) -> Quota:
    """Raises Refused."""
    return Quota(_bound(quota.vms, change.vms), _bound(quota.memory_bytes, change.memory_bytes))


def added(
    people: Mapping[str, PersonRecord],
    name: str,
    grants: Collection[Grant],
    quota: QuotaChange,
    asking: str,
) -> PersonRecord:
    """The person with these as well. One whose record does not read begins anew. `asking`: the
    person who asks; empty: a controller. Raises Refused."""
    if not any(is_name(name, role) for role in PEOPLE):
        raise Refused(Reason.BAD_QUERY, f"{name[:_SHOWN]!r} is in no certificate: it is not a name")
    have = people.get(name)
    if have is None or have.problem:
        have = PersonRecord(name)
    record = msgspec.structs.replace(
        have,
        grants=tuple(sorted({*have.grants, *grants}, key=_in_order)),
        quota=with_quota(have.quota, quota),
    )
    if not record.grants:
        raise Refused(Reason.BAD_QUERY, f"say which role {name} is given (--role)")
    if len(record.grants) > MOST_GRANTS:
        raise Refused(Reason.BAD_QUERY, f"{name} would have more than {MOST_GRANTS} roles")
    if name not in people and len(people) >= MOST_PEOPLE:
        raise Refused(Reason.BAD_QUERY, f"there are {MOST_PEOPLE:,} people already")
    if not people and (right_on_all(record) is not Right.ADMIN or asking not in ("", name)):
        first = asking or "NAME"
        raise Refused(
            Reason.FIRST_PERSON,
            f"nobody has a role yet, and once {name} has one nobody else may do anything: begin "
            f"with an admin on all (fleetctl users add {first} --role admin)",
        )
    return record


def removed(
    people: Mapping[str, PersonRecord],
    denied: Mapping[str, DeniedRecord],
    name: str,
    grants: Collection[Grant],
) -> PersonRecord | None:
    """The person without these; without any: None, the record goes. Raises Refused."""
    have = people.get(name)
    if have is None:
        raise Refused(Reason.NO_SUCH_PERSON, f"nobody has given {name[:_SHOWN]!r} a role")
    left = tuple(grant for grant in have.grants if grant not in grants) if grants else ()
    lacking = [str(grant) for grant in grants if grant not in have.grants]
    if lacking:
        raise Refused(Reason.NO_SUCH_PERSON, f"{name} is not {lacking[0]}")
    after = msgspec.structs.replace(have, grants=left) if left else None
    others = [one for other, one in people.items() if other != name]
    rest = [*others, after] if after else others
    if _gives_rights(have, denied) and not any(_gives_rights(one, denied) for one in rest):
        raise Refused(
            Reason.LAST_ADMIN,
            f"{name} is the last admin on all: nobody could give a role after that. Add another "
            f"first ({_GRANT_ADMIN})",
        )
    return after


def with_owners(
    fleet: FleetRecord,
    people: Mapping[str, PersonRecord],
    add: Collection[str],
    remove: Collection[str],
) -> FleetRecord:
    """Raises Refused. Whoever is to own a fleet is known, once anybody is."""
    for name in add:
        if not any(is_name(name, role) for role in PEOPLE):
            raise Refused(Reason.BAD_QUERY, f"{name[:_SHOWN]!r} is in no certificate")
        if people and name not in people:
            raise Refused(
                Reason.NO_SUCH_PERSON,
                f"nobody has given {name} a role, so it could do nothing with {fleet.name}: add it "
                f"first (fleetctl users add {name} --role viewer --fleet {fleet.name})",
            )
    for name in remove:
        if name not in fleet.owners:
            raise Refused(Reason.NO_SUCH_PERSON, f"{name[:_SHOWN]!r} does not own {fleet.name}")
    owners = tuple(sorted({*fleet.owners, *add} - set(remove)))
    if len(owners) > MOST_OWNERS:
        raise Refused(Reason.BAD_QUERY, f"a fleet has at most {MOST_OWNERS} owners")
    return msgspec.structs.replace(fleet, owners=owners)


def _in_order(grant: Grant) -> tuple[int, str]:
    """The least role first."""
    return list(PersonRole).index(grant.role), grant.fleets


def _gives_rights(person: PersonRecord, denied: Mapping[str, DeniedRecord]) -> bool:
    """Whether it can give roles to others: by an operator's certificate that is not denied."""
    who = f"operator/{person.name}"
    is_denied = who in denied or who.lower() in denied
    return right_on_all(person) is Right.ADMIN and not is_denied


def _bound(was: int | None, asked: int | None) -> int | None:
    if asked is None:
        return was
    if not -1 <= asked <= LONGEST:
        raise Refused(Reason.BAD_QUERY, f"a bound is from 0 on; {asked:,} is not")
    return None if asked == -1 else asked
