"""What hosts say that the store does not bear out, as far as it is mirrored: no I/O, no waiting.

In one history of one store no host can have heard of a later term or assignment than the store
holds. What is said here is looked into before it is believed: see store_trust.
"""

from __future__ import annotations

from fleet.keys import Epoch
from fleet_controller.core.recovery.freeze import EpochClaim, ahead_reason, claim_of
from fleet_controller.mirror.state import ClusterState


class StoreDoubts:
    """Of one leadership. `reason`: why the store is doubted at present; empty: it is not.

    `of_earlier_store`: hosts that hold an assignment which an earlier state of the store has given
    them, where the store as it was recovered has none for them. They keep what they hold true, and
    would for ever: nothing that the leader says to others concerns them.
    """

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._ahead: dict[str, Epoch] = {}
        self._outranked = ""
        self.reason = ""
        self.of_earlier_store: set[str] = set()

    def claimed(self, host_id: str, epoch: Epoch) -> EpochClaim:
        """A host says which assignment it has; what that says of the store."""
        claim = self._claim(host_id, epoch)
        if claim is EpochClaim.AHEAD:
            self._ahead[host_id] = epoch
            self.reason = self.reason or self._why_ahead(host_id)
        if claim is EpochClaim.OF_EARLIER_STORE:
            self.of_earlier_store.add(host_id)
        else:
            self.of_earlier_store.discard(host_id)
        return claim

    def outranked(self, why: str) -> None:
        """A host has heard a newer leader. While this one leads there can be none, in one store."""
        self._outranked = (
            f"{why}; no other controller leads, so the store was set back, or is another"
        )
        self.reason = self.reason or self._outranked

    def confirmed(self) -> str:
        """Call this after the store was read anew and says that this replica leads. Returns why
        it is not the store that hosts were told from; empty when no reason is left."""
        ahead = (
            host
            for host, epoch in self._ahead.items()
            if self._claim(host, epoch) is EpochClaim.AHEAD
        )
        return self._outranked or next((self._why_ahead(host) for host in ahead), "")

    def clear(self) -> None:
        """There was no reason: the store is not doubted any more."""
        self._ahead.clear()
        self._outranked = self.reason = ""

    def _claim(self, host_id: str, epoch: Epoch) -> EpochClaim:
        state = self._state
        given = bool(state.assignment_revision(host_id))
        return claim_of(epoch, state.meta.generation, state.assignment_known(host_id), given)

    def _why_ahead(self, host_id: str) -> str:
        known = self._state.assignment_known(host_id)
        return ahead_reason(host_id, self._ahead[host_id], self._state.meta.generation, known)
