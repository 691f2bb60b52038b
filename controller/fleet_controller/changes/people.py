"""Who gets which role, and how much a person or a role may own. Each change is written with its
line of the audit trail, also while changes of the cluster are frozen."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from fleet_controller.core.people import changes, quotas
from fleet_controller.core.people.changes import QuotaChange
from fleet_controller.core.people.records import (
    NO_BOUND,
    Grant,
    PersonRecord,
    PersonRole,
    RoleRecord,
)
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import ChangeWriter
from fleet_controller.mirror.records import delete_person, put_person, put_role


class PeopleChanges:
    """Of one leadership. All raise Refused and StoreError."""

    def __init__(self, memory: LeaderMemory, writer: ChangeWriter) -> None:
        self._memory = memory
        self._writer = writer

    async def add(
        self, name: str, grants: Collection[Grant], quota: QuotaChange, actor: str, asking: str
    ) -> tuple[PersonRecord, bool]:
        """The person afterwards, and whether it is the first. `asking`: the person who asks; empty:
        a controller."""

        async def once() -> tuple[PersonRecord, bool]:
            people = self._memory.state.people
            first = not people
            after = changes.added(people, name, grants, quota, asking)
            now = self._memory.events.now()
            after = msgspec.structs.replace(after, actor=actor, since=now)
            before, said = _in_words(people.get(name)), _in_words(after)
            line = self._writer.audited("users_add", actor, before=before, after=said)
            await self._writer.write_one([put_person(after), line])
            return after, first

        after, first = await self._writer.decide(once, while_frozen=True)
        text = _in_words(after)
        if first:
            text += ": from now on, whoever has no role may do nothing"
        self._memory.events.add("role_given", text, actor=actor)
        return after, first

    async def remove(self, name: str, grants: Collection[Grant], actor: str) -> PersonRecord | None:
        """The person afterwards; None: it is gone."""

        async def once() -> PersonRecord | None:
            state = self._memory.state
            after = changes.removed(state.people, state.denied, name, grants)
            before, said = _in_words(state.people.get(name)), _in_words(after) or "no role"
            line = self._writer.audited("users_remove", actor, before=before, after=said)
            if after is None:
                await self._writer.write_one([delete_person(name), line])
                return None
            now = self._memory.events.now()
            after = msgspec.structs.replace(after, actor=actor, since=now)
            await self._writer.write_one([put_person(after), line])
            return after

        after = await self._writer.decide(once, while_frozen=True)
        text = _in_words(after) or f"{name} has no role any more"
        self._memory.events.add("role_taken", text, actor=actor)
        return after

    async def set_role_quota(self, role: str, change: QuotaChange, actor: str) -> RoleRecord:
        if role not in PersonRole.__members__.values():
            known = ", ".join(PersonRole)
            raise Refused(Reason.BAD_QUERY, f"{role[:60]!r} is no role: there are {known}")

        async def once() -> RoleRecord:
            have = self._memory.state.roles.get(role, RoleRecord(role))
            after = RoleRecord(role, changes.with_quota(have.quota, change))
            before, said = quotas.in_words(have.quota), quotas.in_words(after.quota)
            line = self._writer.audited(
                "role_quota", actor, before=f"{role}: {before}", after=f"{role}: {said}"
            )
            await self._writer.write_one([put_role(after), line])
            return after

        after = await self._writer.decide(once, while_frozen=True)
        text = f"whoever is {role} may own: {quotas.in_words(after.quota)}"
        self._memory.events.add("role_quota", text, actor=actor)
        return after


def _in_words(person: PersonRecord | None) -> str:
    """Empty for nobody."""
    if person is None:
        return ""
    if person.problem:
        return f"{person.name}: a record that does not read"
    bound = quotas.in_words(person.quota)
    may_own = f"; {bound}" if bound != quotas.in_words(NO_BOUND) else ""
    return f"{person.name} is {', '.join(map(str, person.grants))}{may_own}"
