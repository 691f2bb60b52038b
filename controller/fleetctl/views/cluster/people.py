"""People, their roles and their bounds, as JSON and as text. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import people_pb2 as wire
from fleetctl.outcome import printable
from fleetctl.output import BAD, byte_text, counted
from fleetctl.tables.column import Column, Kind, iso_text
from fleetctl.views.hosts.loss import denied_json

ALL = "*"
NOT_IN_FORCE = (
    "nobody has a role yet: whoever has an operator's certificate may do everything, until "
    "'fleetctl users add NAME --role admin'"
)


@dataclass(frozen=True, slots=True)
class Row:
    """One name: what it may, and under which roles of certificates it is denied."""

    name: str
    person: wire.Person | None
    denied: tuple[cluster.Denied, ...] = ()

    @property
    def since(self) -> float:
        times = [one.since_unix for one in self.denied]
        return max([*times, self.person.since_unix if self.person else 0.0])

    @property
    def actor(self) -> str:
        return self.denied[0].actor if self.denied else self.person.actor if self.person else ""


def rows_of(people: Iterable[wire.Person], denied: Iterable[cluster.Denied]) -> list[Row]:
    """By name: everybody who has a role, and whoever is denied."""
    persons = {one.name: one for one in people}
    refused: dict[str, list[cluster.Denied]] = {}
    for one in denied:
        refused.setdefault(one.name, []).append(one)
    return [
        Row(name, persons.get(name), tuple(refused.get(name, ())))
        for name in sorted({*persons, *refused})
    ]


def roles_text(person: wire.Person | None) -> str:
    """viewer on all, operator on web."""
    if person is None:
        return ""
    if person.problem:
        return "nothing: the record does not read"
    return ", ".join(
        f"{one.role} on {'all' if one.fleets == ALL else one.fleets}" for one in person.grants
    )


def _of(value: int, most: int | None) -> str:
    return f"{value:,}" if most is None else f"{value:,} of {most:,}"


def _vms(person: wire.Person | None) -> str:
    if person is None:
        return ""
    return _of(person.vms, person.quota.vms if person.quota.HasField("vms") else None)


def _memory(person: wire.Person | None) -> str:
    if person is None:
        return ""
    owned = byte_text(person.memory_bytes)
    if not person.quota.HasField("memory_bytes"):
        return owned
    return f"{owned} of {byte_text(person.quota.memory_bytes)}"


def _denied_as(row: Row) -> str:
    return "; ".join(f"as {one.role}: {one.reason}" for one in row.denied)


PEOPLE_COLUMNS: tuple[Column[Row], ...] = (
    Column("NAME", lambda one: one.name, Kind.NAME, colour=lambda one: BAD if one.denied else None),
    Column("ROLES", lambda one: roles_text(one.person), rank=1),
    Column("FLEETS", lambda one: len(one.person.owns) if one.person else None, Kind.NUMBER, rank=6),
    Column("VMS", lambda one: _vms(one.person), rank=4),
    Column("MEMORY", lambda one: _memory(one.person), rank=5),
    Column("SINCE", lambda one: one.since or None, Kind.AGE, rank=7),
    Column("BY", lambda one: one.actor, rank=8),
    Column("DENIED", _denied_as, rank=2),
)


def people_json(
    answer: wire.ListPeopleResponse, denied: Sequence[cluster.Denied]
) -> dict[str, Any]:
    return {
        "in_force": answer.in_force,
        "people": [person_json(one) for one in answer.people],
        "denied": denied_json(denied),
    }


def person_json(one: wire.Person) -> dict[str, Any]:
    return {
        "name": one.name,
        "roles": [{"role": grant.role, "fleets": grant.fleets} for grant in one.grants],
        "own_quota": quota_json(one.own_quota),
        "quota": quota_json(one.quota),
        "owns": list(one.owns),
        "vms": one.vms,
        "memory_bytes": one.memory_bytes,
        "problem": one.problem or None,
        "actor": one.actor,
        "since": one.since_unix,
        "changed_at": iso_text(one.since_unix) if one.since_unix else None,
    }


def quota_json(one: wire.Quota) -> dict[str, Any]:
    return {
        "vms": one.vms if one.HasField("vms") else None,
        "memory_bytes": one.memory_bytes if one.HasField("memory_bytes") else None,
    }


def quota_text(one: wire.Quota) -> str:
    parts = []
    if one.HasField("vms"):
        parts.append(counted(one.vms, "VM"))
    if one.HasField("memory_bytes"):
        parts.append(f"{byte_text(one.memory_bytes)} of memory")
    return " and ".join(parts) or "any number of VMs"


def person_text(one: wire.Person) -> str:
    """One sentence, after a change."""
    may_own = f"; it may own {quota_text(one.quota)}" if _bound(one.quota) else ""
    return printable(f"{one.name} is {roles_text(one) or 'nothing any more'}{may_own}")


def _bound(quota: wire.Quota) -> bool:
    return quota.HasField("vms") or quota.HasField("memory_bytes")


def role_json(one: wire.RoleQuota) -> dict[str, Any]:
    return {"role": one.role, "quota": quota_json(one.quota), "problem": one.problem or None}


def role_may_own(one: wire.RoleQuota) -> str:
    return "nothing more: the record does not read" if one.problem else quota_text(one.quota)


_ABOUT = {
    "viewer": "sees its fleets: their status, VMs, events, and consoles without typing",
    "operator": "applies, scales, rolls out, types at consoles; on all: cordons, drains, tunes, "
    "pushes images",
    "admin": "deletes its fleets and says who owns them; on all: people, tokens, which hosts "
    "belong to the cluster, backup and recovery",
}

ROLE_COLUMNS: tuple[Column[wire.RoleQuota], ...] = (
    Column("ROLE", lambda one: one.role, Kind.NAME),
    Column("MAY OWN", role_may_own),
    Column("MAY, BESIDES WHAT THOSE ABOVE MAY", lambda one: _ABOUT.get(one.role, ""), rank=1),
)


def whoami_json(answer: wire.WhoAmIResponse) -> dict[str, Any]:
    return {
        "who": answer.who,
        "in_force": answer.in_force,
        "person": person_json(answer.person) if answer.HasField("person") else None,
        "abilities": [
            {
                "method": one.method,
                "what": one.what,
                "needs": one.needs,
                "about": one.about,
                "allowed": one.allowed,
            }
            for one in answer.abilities
        ],
    }


def whoami_text(answer: wire.WhoAmIResponse) -> list[str]:
    """Lines."""
    lines = [f"You are {answer.who}, by your certificate."]
    if answer.who.startswith("controller/"):
        lines.append("A controller's certificate may give and take roles.")
    elif not answer.in_force:
        lines.append(f"{NOT_IN_FORCE[0].upper()}{NOT_IN_FORCE[1:]}.")
    elif not answer.HasField("person"):
        lines.append("Nobody has given you a role: ask an admin ('fleetctl users add').")
    else:
        one = answer.person
        lines.append(f"Your roles: {roles_text(one)}.")
        if one.owns:
            lines.append(f"You own {counted(len(one.owns), 'fleet')}: {', '.join(one.owns[:10])}.")
        lines.append(f"VMs: {_vms(one)}; memory: {_memory(one)}.")
    if all(one.allowed for one in answer.abilities):
        return [printable(line) for line in [*lines, "You may do everything."]]
    may = [one.what for one in answer.abilities if one.allowed]
    lines.append(f"You may: {', '.join(dict.fromkeys(may)) or 'nothing'}.")
    if lacking := [one.what for one in answer.abilities if not one.allowed]:
        lines.append(f"You may not: {', '.join(dict.fromkeys(lacking))}.")
    return [printable(line) for line in lines]
