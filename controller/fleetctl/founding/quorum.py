"""Whether a change of etcd's members leaves it a quorum. Pure.

A learner has no vote. etcd itself refuses some of what is refused here; not all, and not in words
that say what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """A member as the others list it. `name` is empty until it has started for the first time;
    `problem` says why it does not answer."""

    id: int
    name: str
    peer_url: str
    client_url: str = ""
    learner: bool = False
    problem: str = ""
    version: str = ""
    leads: bool = False
    index: int = 0
    bytes_used: int = 0

    @property
    def answers(self) -> bool:
        return not self.problem

    @property
    def shown(self) -> str:
        return self.name or self.peer_url


Members = Sequence[EtcdMember]


def needed(voters: int) -> int:
    """How many of so many must agree."""
    return voters // 2 + 1


def voters(members: Members) -> list[EtcdMember]:
    return [one for one in members if not one.learner]


def may_fail(members: Members) -> int:
    """How many more members may fail before nothing can be changed; below 0: it is so already."""
    voting = voters(members)
    return sum(one.answers for one in voting) - needed(len(voting))


def why_no_quorum(members: Members) -> str:
    """Empty where a quorum answers."""
    if may_fail(members) >= 0:
        return ""
    voting = voters(members)
    silent = ", ".join(f"{one.shown} ({one.problem})" for one in voting if not one.answers)
    return (
        f"{sum(one.answers for one in voting)} of {len(voting)} members of etcd answer, and it"
        f" takes {needed(len(voting))} to change them; start {silent}"
    )


def why_not_add(members: Members) -> str:
    """Why no learner may be added; empty: it may."""
    if why := why_no_quorum(members):
        return why
    for one in members:
        if one.learner:
            return (
                f"{one.shown} is added and not promoted yet, and etcd takes one learner at a time:"
                " finish that one first, with the same command as before, or put another in its"
                f" place ('fleetctl cluster replace-member {one.shown}')"
            )
    return ""


def why_not_promote(members: Members, learner: EtcdMember) -> str:
    """Why the learner may not have a vote yet; empty: it may."""
    if why := why_no_quorum(members):
        return why
    if not learner.answers:
        return f"{learner.shown} does not answer yet ({learner.problem})"
    voting = voters(members)
    answering = sum(one.answers for one in voting) + 1
    if answering < needed(len(voting) + 1):
        return (
            f"with {learner.shown} it takes {needed(len(voting) + 1)} members to change anything,"
            f" and {answering} would answer: start the others first"
        )
    return ""


def why_not_remove(members: Members, member: EtcdMember, *, force: bool = False) -> str:
    """Why the member may not be taken out; empty: it may. `force`: though it answers."""
    voting = voters(members)
    if member.learner:
        return why_no_quorum(members)
    if len(voting) == 1:
        return (
            f"{member.shown} is the only member of etcd: what it holds would be lost. "
            "'fleetctl restore' makes it anew of a backup"
        )
    if why := why_no_quorum(members):
        return why
    if member.answers and not force:
        return f"{member.shown} answers: stop it first, or give --force"
    others = [one for one in voting if one.id != member.id]
    answering = sum(one.answers for one in others)
    if answering < needed(len(others)):
        return (
            f"without {member.shown} {answering} of {len(others)} members would answer, and it"
            f" takes {needed(len(others))}: the store would lose its quorum"
        )
    return ""
