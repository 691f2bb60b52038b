"""Members of etcd, added and replaced while the others go on: learner first, vote when it has
caught up. What would lose the quorum is refused before anything is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from fleet.transport import Identity
from fleetctl.founding.etcd_admin import EtcdAdmin, NotYet
from fleetctl.founding.founder import Founder
from fleetctl.founding.invitation import Invitation
from fleetctl.founding.quorum import (
    EtcdMember,
    why_not_add,
    why_not_promote,
    why_not_remove,
)
from fleetctl.founding.replica import Replica
from fleetctl.local.certificate_authority import Issued
from fleetctl.outcome import Failed, Misuse, NotConverged

# Members that have just been started refuse changes for some seconds: "unhealthy cluster".
PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.5


class _Keys(NamedTuple):
    """Of the new one's machine, and the one by which all controllers sign hosts."""

    identities: dict[str, Identity]
    issuing: Issued


@dataclass(frozen=True, slots=True)
class Membership:
    """Of the cluster that `etcd` is, by who founded it."""

    etcd: EtcdAdmin
    founder: Founder

    def add(self, replica: Replica) -> Invitation:
        """Have the cluster expect a learner, and make what its machine is given. One that is
        expected already is given anew. Raises Failed."""
        return self._expect(replica, self._keys(replica))

    def replace(self, name: str, replica: Replica, *, force: bool) -> Invitation:
        """Take out the member of that name, and have a new one expected; `name`: or where its
        peers find it. What stands in the way of either is found before anything is changed. Raises
        Failed."""
        keys = self._keys(replica)
        members = self.etcd.members()
        expected = find(members, replica)
        if expected is None or not expected.learner:
            gone = _named(members, name)
            if why := why_not_remove(members, gone, force=force):
                raise Failed(why)
            _refuse_in_place_of(gone, members, replica)
            self._remove(gone)
        return self._expect(replica, keys)

    def promote(
        self, replica: Replica, seconds: float, waiting: Callable[[str], None]
    ) -> EtcdMember:
        """Wait until it has caught up, and give it a vote. Raises NotConverged at the end of the
        time, Failed where it is no member."""
        deadline = time.monotonic() + seconds
        while True:
            members = self.etcd.members()
            there = find(members, replica)
            if there is None:
                raise Failed(f"{replica.name} was taken out of the members of etcd meanwhile")
            if not there.learner:
                return there
            why = why_not_promote(members, there)
            if not why:
                try:
                    self.etcd.promote(there)
                    continue
                except NotYet as error:
                    why = str(error)
            waiting(why)
            if time.monotonic() > deadline:
                raise NotConverged(f"{replica.name} is no voting member yet: {why}")
            time.sleep(_LOOK_SECONDS)

    def _keys(self, replica: Replica) -> _Keys:
        return _Keys(self.founder.identities(replica), self.founder.issuing_key())

    def _expect(self, replica: Replica, keys: _Keys) -> Invitation:
        members = self.etcd.members()
        there = find(members, replica)
        if there is None:
            _refuse_another_beside(members, replica)
            self._add_learner(replica.peer_url)
            members = self.etcd.members()
        elif not there.learner:
            raise Failed(_is_there(there))
        others = [one for one in members if one.peer_url != replica.peer_url and one.name]
        clients = tuple(one.client_url.partition("://")[2] for one in others if one.client_url)
        return Invitation(
            replica, keys.identities, keys.issuing,
            {one.name: one.peer_url for one in others}, clients,
        )  # fmt: skip

    def _add_learner(self, peer_url: str) -> None:
        """An answer may be lost: it is looked whether it is there before it is tried again."""

        def add() -> None:
            if all(one.peer_url != peer_url for one in self.etcd.members()):
                self.etcd.add_learner(peer_url)

        self._when_ready(add)

    def _remove(self, gone: EtcdMember) -> None:
        """As with adding."""

        def remove() -> None:
            if any(one.id == gone.id for one in self.etcd.members()):
                self.etcd.remove(gone)

        self._when_ready(remove)

    def _when_ready(self, change: Callable[[], None]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return change()
            except NotYet:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_SECONDS)


def find(members: list[EtcdMember], replica: Replica) -> EtcdMember | None:
    """By where its peers find it: one that has not started yet has no name."""
    return next((one for one in members if one.peer_url == replica.peer_url), None)


def _named(members: list[EtcdMember], name: str) -> EtcdMember:
    """Raises Misuse."""
    for one in members:
        if name in (one.name, one.peer_url):
            return one
    known = ", ".join(one.shown for one in members)
    raise Misuse(
        f"no member of etcd is called {name}; there are: {known}. "
        "'fleetctl cluster add-controller' adds one"
    )


def _refuse_in_place_of(gone: EtcdMember, members: list[EtcdMember], replica: Replica) -> None:
    """Raises Failed where the new one could not be added once the other is gone."""
    others = [one for one in members if one.id != gone.id]
    if (there := find(others, replica)) is not None:
        raise Failed(_is_there(there))
    _refuse_another_beside(others, replica)


def _refuse_another_beside(members: list[EtcdMember], replica: Replica) -> None:
    """Raises Failed where a member has the name, at another address, or none may be added."""
    if any(one.name == replica.name for one in members):
        raise Failed(
            f"a member of etcd is called {replica.name} already: give the new one another name, or "
            f"'fleetctl cluster replace-member {replica.name}' when that one is gone"
        )
    if why := why_not_add(members):
        raise Failed(why)


def _is_there(member: EtcdMember) -> str:
    return f"{member.shown} is a member of etcd already, at {member.peer_url}"
