"""What is promised over the wire: agents obey no older leader and forget nothing they have
acknowledged; no leader pushes once its lease may be gone."""

from __future__ import annotations

from collections.abc import Callable

from fleet.keys import Epoch, Term
from fleet.v1 import agent_pb2 as wire
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail

# A lease may have ended for the store so long before a leader's slow clock says so.
SKEW_SECONDS = 0.2


class Fencing(Witness):
    """The fences of every host, as others were told of them."""

    def __init__(self, clock: Callable[[], float], fail: Fail) -> None:
        self._clock = clock
        self._fail = fail
        self._terms: dict[str, Term] = {}
        self._minded: dict[str, Term] = {}  # by this process of its agent, written or not
        self._epochs: dict[str, Epoch] = {}
        self._expired: dict[int, float] = {}  # term -> when its lease ended by itself

    def assignment_sent(self, controller: str, request: wire.AssignRequest) -> None:
        ended = self._expired.get(request.term.revision)
        if ended is not None and self._clock() > ended + SKEW_SECONDS:
            self._fail(
                "lease",
                f"{controller} pushes to {request.host_id} in term {request.term.revision}, "
                f"{self._clock() - ended:.1f} s after its lease has ended",
            )

    def lease_ended(self, term: int) -> None:
        self._expired[term] = self._clock()

    def store_set_back(self) -> None:
        self._expired.clear()

    def reports_begun(self, host: str, term: Term, written: bool) -> None:
        before = self._heard(host)
        if term < before:
            self._fail("term", f"{host} reports to term {term} and has heard {before}")
        self._minded[host] = term
        if written:
            self._terms[host] = term

    def assignment_acknowledged(self, host: str, request: wire.AssignRequest) -> None:
        term, epoch = Term.of(request.term), Epoch.of(request.epoch)
        heard, held = self._heard(host), self._epochs.get(host, (0, 0))
        if term < heard:
            self._fail("term", f"{host} obeys term {term} and has heard {heard}")
        if epoch < held:
            self._fail("epoch", f"{host} takes epoch {epoch} after {held}")
        self._terms[host], self._epochs[host] = term, epoch

    def _heard(self, host: str) -> tuple[int, int]:
        return max(self._terms.get(host, (0, 0)), self._minded.get(host, (0, 0)))

    def agent_began(self, host: str, term: Term, epoch: Epoch) -> None:
        self._minded.pop(host, None)
        heard, held = self._terms.get(host, (0, 0)), self._epochs.get(host, (0, 0))
        if term < heard or epoch < held:
            self._fail(
                "ledger",
                f"{host} begins with term {term}, epoch {epoch}; it has acknowledged "
                f"{heard} and {held}",
            )

    def ledger_lost(self, host: str) -> None:
        self._terms.pop(host, None)
        self._minded.pop(host, None)
        self._epochs.pop(host, None)
