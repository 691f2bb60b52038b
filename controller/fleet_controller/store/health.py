"""How a store is: its members, their alarms, space and pace; and what that means in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

NOSPACE = "NOSPACE"
CORRUPT = "CORRUPT"
# Of the quota: etcd raises NOSPACE, and takes no more writes, when all of it is used.
NEARLY_FULL = 0.8

_REMEDIES = {
    NOSPACE: "it takes no changes: its database is full; compact and defragment it, then disarm its"
    " alarm (etcdctl alarm disarm)",
    CORRUPT: "its data differs from the other members'; remove it from etcd and add it anew, empty",
}


@dataclass(frozen=True, slots=True)
class MemberHealth:
    """One member. `seconds`: that it took to say how it is. `quota`: bytes, 0 where it does not
    tell. `problem`: why it cannot be reached; empty: it can."""

    name: str
    address: str
    problem: str = ""
    alarms: tuple[str, ...] = ()
    used: int = 0
    quota: int = 0
    seconds: float = 0.0
    version: str = ""

    @property
    def label(self) -> str:
        """etcd-2 at 127.0.0.1:2379: by name and address, as far as they are known."""
        return f"{self.name} at {self.address}" if self.name else self.address


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """All members; none where the store has none. `read_seconds`: what a read took that a quorum
    confirms; None: it failed, and `read_problem` says why."""

    members: tuple[MemberHealth, ...]
    read_seconds: float | None
    read_problem: str = ""

    def troubles(self) -> list[str]:
        """A sentence for each thing that is wrong, with what to do."""
        found = [text for member in self.members for text in _of_member(member)]
        if self.read_seconds is None:
            found.append(f"it does not answer reads: {self.read_problem}")
        return found

    def states(self) -> dict[str, str]:
        """What is wrong by what it is about, for telling a change: a text each, without numbers
        that change by themselves."""
        found: dict[str, str] = {}
        for member in self.members:
            if member.problem:
                found[f"member {member.address}"] = f"store: {_unreachable(member)}"
            for alarm in member.alarms:
                found[f"alarm {alarm} of {member.address}"] = f"store: {_alarmed(member, alarm)}"
        return found


def _of_member(member: MemberHealth) -> Iterator[str]:
    if member.problem:
        yield _unreachable(member)
    for alarm in member.alarms:
        yield _alarmed(member, alarm)
    if NOSPACE not in member.alarms and member.quota and member.used > NEARLY_FULL * member.quota:
        share = member.used / member.quota
        yield (
            f"member {member.label} has used {share:.0%} of its space, and takes no changes at"
            " 100%; compact and defragment it, or raise --quota-backend-bytes"
        )


def _unreachable(member: MemberHealth) -> str:
    return f"member {member.label} cannot be reached: {member.problem}"


def _alarmed(member: MemberHealth, alarm: str) -> str:
    remedy = _REMEDIES.get(alarm, "see etcdctl alarm list")
    return f"alarm {alarm} of member {member.label}: {remedy}"
