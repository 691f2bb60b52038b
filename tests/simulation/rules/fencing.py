"""What is promised over the wire: agents obey no older leader and forget nothing they have
acknowledged; no leader pushes once its lease may be gone."""

from __future__ import annotations

from collections.abc import Callable

from fleet.keys import Epoch, Term
from fleet.v1 import agent_pb2 as wire
from tests.simulation.rules.isolation import Contacts
from tests.simulation.rules.one_copy import Fail

# A lease may have ended for the store so long before a leader's slow clock says so.
SKEW_SECONDS = 0.2


class Promises:
    """The fences of every host, as others were told of them."""

    def __init__(self, clock: Callable[[], float], contacts: Contacts, fail: Fail) -> None:
        self._clock = clock
        self.contacts = contacts
        self._fail = fail
        self._terms: dict[str, Term] = {}
        self._epochs: dict[str, Epoch] = {}
        self.expired: dict[int, float] = {}  # term -> when its lease ended by itself

    def pushes(self, controller: str, request: wire.AssignRequest) -> None:
        ended = self.expired.get(request.term.revision)
        if ended is not None and self._clock() > ended + SKEW_SECONDS:
            self._fail(
                "lease",
                f"{controller} pushes to {request.host_id} in term {request.term.revision}, "
                f"{self._clock() - ended:.1f} s after its lease has ended",
            )

    def heard(self, host_id: str) -> None:
        self.contacts.spoke(host_id)

    def watched(self, host_id: str, term: Term) -> None:
        self.contacts.reads(host_id)
        before = self._terms.get(host_id, (0, 0))
        if term < before:
            self._fail("term", f"{host_id} reports to term {term} and has heard {before}")
        self._terms[host_id] = term

    def observed(self, host_id: str) -> None:
        self.contacts.reads(host_id)

    def watched_no_more(self, host_id: str) -> None:
        self.contacts.reads_no_more(host_id)

    def answered(self, host_id: str, request: wire.AssignRequest) -> None:
        self.contacts.spoke(host_id)
        term, epoch = Term.of(request.term), Epoch.of(request.epoch)
        heard, held = self._terms.get(host_id, (0, 0)), self._epochs.get(host_id, (0, 0))
        if term < heard:
            self._fail("term", f"{host_id} obeys term {term} and has heard {heard}")
        if epoch < held:
            self._fail("epoch", f"{host_id} takes epoch {epoch} after {held}")
        self._terms[host_id], self._epochs[host_id] = term, epoch

    def opened(self, host_id: str, term: Term, epoch: Epoch) -> None:
        """An agent begins with what its ledger says."""
        heard, held = self._terms.get(host_id, (0, 0)), self._epochs.get(host_id, (0, 0))
        if term < heard or epoch < held:
            self._fail(
                "ledger",
                f"{host_id} begins with term {term}, epoch {epoch}; it has acknowledged "
                f"{heard} and {held}",
            )

    def ended(self, host_id: str) -> None:
        """The agent's process is gone."""
        self.contacts.agent_ended(host_id)

    def forget(self, host_id: str) -> None:
        """Its ledger is lost: that was a fault, not the agent's doing."""
        self._terms.pop(host_id, None)
        self._epochs.pop(host_id, None)
