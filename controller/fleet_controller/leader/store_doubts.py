"""What hosts say that the store does not bear out, as far as it is mirrored: no I/O, no waiting.

In one history of one store no host can have heard of a later term or assignment than the store
holds. One host that proves it, or many that claim it, are a reason to look into it: see
store_trust. One that claims it alone is distrusted, and nothing else follows.
"""

from __future__ import annotations

from collections.abc import Callable

from fleet.keys import Epoch, Term
from fleet.v1 import types_pb2 as types
from fleet_controller.core.recovery.freeze import (
    EpochClaim,
    ahead_reason,
    are_many,
    claim_of,
    is_ahead,
    many_reason,
    unproven_reason,
)
from fleet_controller.leader.unproven_claims import UnprovenClaims
from fleet_controller.mirror.state import ClusterState


class StoreDoubts:
    """Of one leadership. `reason`: why the store is doubted at present; empty: it is not.

    `of_earlier_store`: hosts that hold an assignment which an earlier state of the store has given
    them, where the store as it was recovered has none for them. They keep what they hold true, and
    would for ever: nothing that the leader says to others concerns them.
    """

    def __init__(self, state: ClusterState, unproven: UnprovenClaims) -> None:
        self._state = state
        self._unproven = unproven
        self._ahead: dict[str, Epoch] = {}  # proven
        self._outranked = ""
        self.reason = ""
        self.of_earlier_store: set[str] = set()

    def claimed(self, host_id: str, said: types.Epoch) -> EpochClaim:
        """A host says which assignment it has; what that says of the store."""
        epoch = Epoch.of(said)
        claim = self._claim(host_id, epoch, lambda: self._state.seals.prove_epoch(host_id, said))
        if claim is EpochClaim.UNPROVEN:
            known, generation = self._state.assignment_known(host_id), self._state.meta.generation
            why = unproven_reason(host_id, epoch, generation, known)
            self._distrust(host_id, why, epoch)
        else:
            self._unproven.forget(host_id)
        if claim is EpochClaim.AHEAD:
            self._ahead[host_id] = epoch
            self.reason = self.reason or self._why_ahead(host_id, epoch)
        if claim is EpochClaim.OF_EARLIER_STORE:
            self.of_earlier_store.add(host_id)
        else:
            self.of_earlier_store.discard(host_id)
        return claim

    def outranked(self, host_id: str, term: types.Term, own: Term, why: str) -> bool:
        """A host has heard a newer leader, it says, of this term. While this one leads, in its
        `own`, there can be none in one store. Whether it is proven."""
        if Term.of(term) > own and self._state.seals.prove_term(term):
            self._outranked = (
                f"{why}; no other controller leads, so the store was set back, or is another"
            )
            self.reason = self.reason or self._outranked
            return True
        self._distrust(host_id, why, None)
        return False

    def confirmed(self) -> str:
        """Call this after the store was read anew and says that this replica leads. Returns why
        it is not the store that hosts were told from; empty when no reason is left."""
        ahead = (host for host, epoch in self._ahead.items() if self._is_ahead(host, epoch))
        for host in self._unproven.hosts:
            epoch = self._unproven.epoch(host)
            if host not in self._state.hosts or (epoch and not self._is_ahead(host, epoch)):
                self._unproven.forget(host)
        proven = next((self._why_ahead(host, self._ahead[host]) for host in ahead), "")
        return self._outranked or proven or self._why_many()

    def clear(self) -> None:
        """There was no reason: the store is not doubted any more."""
        self._ahead.clear()
        self._outranked = self.reason = ""

    @property
    def by_claims_alone(self) -> bool:
        """Whether nothing that speaks against the store is proven."""
        return not self._outranked and not self._ahead

    def _distrust(self, host_id: str, why: str, epoch: Epoch | None) -> None:
        self._unproven.note(host_id, why, epoch)
        self.reason = self.reason or self._why_many()

    def _why_many(self) -> str:
        """Empty while they are few."""
        hosts = [host for host in self._unproven.hosts if host in self._state.hosts]
        known = len(self._state.hosts)
        if not are_many(len(hosts), known):
            return ""
        return many_reason(len(hosts), known, self._unproven.why(hosts[0]))

    def _claim(self, host_id: str, epoch: Epoch, proves: Callable[[], bool]) -> EpochClaim:
        state = self._state
        given = bool(state.assignment_revision(host_id))
        return claim_of(
            epoch, state.meta.generation, state.assignment_known(host_id), given, proves
        )

    def _is_ahead(self, host_id: str, epoch: Epoch) -> bool:
        return is_ahead(epoch, self._state.meta.generation, self._state.assignment_known(host_id))

    def _why_ahead(self, host_id: str, epoch: Epoch) -> str:
        known = self._state.assignment_known(host_id)
        return ahead_reason(host_id, epoch, self._state.meta.generation, known)
