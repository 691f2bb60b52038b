"""What happens in a simulated cluster, as whoever watches hears of it."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.model import Batch, StepKind
from fleet_controller.core.model import HostRecord
from fleet_controller.store.port import Change


class Witness:
    """Hears of everything and minds nothing: who watches for something overrides that."""

    # Drivers of a host, as something is done there.

    def started(self, host: str, kin: Kin, indices: IndexSet) -> None: ...

    def ended(self, host: str, kin: Kin, indices: IndexSet) -> None: ...

    def asks(self, host: str, kind: StepKind, batch: Batch) -> None:
        """An agent asks for something, which may take long and come to nothing."""

    def acts(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        """Before something is done: in whose name is in the batch's mark."""

    def lies(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        """An agent is told that something is done, and it is not."""

    # The wire between controllers and agents.

    def pushes(self, controller: str, request: wire.AssignRequest) -> None:
        """A controller sends an assignment."""

    def assigned(self, host: str, request: wire.AssignRequest) -> None:
        """An agent has said that the assignment is in its ledger."""

    def heard(self, host: str) -> None:
        """A controller has spoken, whatever comes of it."""

    def watched(self, host: str, term: Term) -> None:
        """An agent has begun to report to a controller of this term."""

    def observed(self, host: str) -> None:
        """An agent has begun to report to a controller that commands nothing."""

    def watched_no_more(self, host: str) -> None:
        """One that had begun has ended its reports."""

    def agent_began(self, host: str, term: Term, epoch: Epoch) -> None:
        """An agent begins with what its ledger says."""

    def agent_ended(self, host: str) -> None:
        """An agent's process is gone."""

    # The store.

    def written(self, revision: int, changes: Sequence[Change]) -> None:
        """All changes of one transaction."""

    def lease_ended(self, term: int) -> None:
        """The leader's lease has ended by itself."""

    def set_back(self) -> None:
        """The store was set back to a backup; what that holds comes next, as `restored`."""

    def restored(self, change: Change) -> None:
        """The store holds this since it was set back."""

    # What the store says of hosts and of itself.

    def verdict(self, record: HostRecord, lost: bool) -> None:
        """From this revision on the host counts as lost, or does not any more."""

    def lost_while_frozen(self, host: str) -> None:
        """A recovery calls the host lost."""

    def removed(self, host: str) -> None: ...

    def returned(self, host: str) -> None:
        """A host that was removed is known again."""

    def thawed(self) -> None:
        """Changes are taken again."""

    # Operators.

    def answered(self, actor: str) -> None:
        """A request was answered that changes something whenever it is accepted."""


class Witnesses(Witness):
    """Tells all that were added, in that order."""

    def __init__(self) -> None:
        self._all: list[Witness] = []

    def add(self, witness: Witness) -> None:
        self._all.append(witness)

    def started(self, host: str, kin: Kin, indices: IndexSet) -> None:
        for one in self._all:
            one.started(host, kin, indices)

    def ended(self, host: str, kin: Kin, indices: IndexSet) -> None:
        for one in self._all:
            one.ended(host, kin, indices)

    def asks(self, host: str, kind: StepKind, batch: Batch) -> None:
        for one in self._all:
            one.asks(host, kind, batch)

    def acts(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        for one in self._all:
            one.acts(host, kind, batch, indices)

    def lies(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        for one in self._all:
            one.lies(host, kind, batch, indices)

    def pushes(self, controller: str, request: wire.AssignRequest) -> None:
        for one in self._all:
            one.pushes(controller, request)

    def assigned(self, host: str, request: wire.AssignRequest) -> None:
        for one in self._all:
            one.assigned(host, request)

    def heard(self, host: str) -> None:
        for one in self._all:
            one.heard(host)

    def watched(self, host: str, term: Term) -> None:
        for one in self._all:
            one.watched(host, term)

    def observed(self, host: str) -> None:
        for one in self._all:
            one.observed(host)

    def watched_no_more(self, host: str) -> None:
        for one in self._all:
            one.watched_no_more(host)

    def agent_began(self, host: str, term: Term, epoch: Epoch) -> None:
        for one in self._all:
            one.agent_began(host, term, epoch)

    def agent_ended(self, host: str) -> None:
        for one in self._all:
            one.agent_ended(host)

    def written(self, revision: int, changes: Sequence[Change]) -> None:
        for one in self._all:
            one.written(revision, changes)

    def lease_ended(self, term: int) -> None:
        for one in self._all:
            one.lease_ended(term)

    def set_back(self) -> None:
        for one in self._all:
            one.set_back()

    def restored(self, change: Change) -> None:
        for one in self._all:
            one.restored(change)

    def verdict(self, record: HostRecord, lost: bool) -> None:
        for one in self._all:
            one.verdict(record, lost)

    def lost_while_frozen(self, host: str) -> None:
        for one in self._all:
            one.lost_while_frozen(host)

    def removed(self, host: str) -> None:
        for one in self._all:
            one.removed(host)

    def returned(self, host: str) -> None:
        for one in self._all:
            one.returned(host)

    def thawed(self) -> None:
        for one in self._all:
            one.thawed()

    def answered(self, actor: str) -> None:
        for one in self._all:
            one.answered(actor)
