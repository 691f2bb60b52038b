"""What happens in a simulated cluster, as whoever watches hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.model import Batch, StepKind
from fleet_controller.core.model import Assignment, FleetRecord, HostRecord
from fleet_controller.store.port import Change


class Witness:
    """Hears of everything and minds nothing: who watches for something overrides that."""

    # Drivers of a host, as something is done there.

    def vms_started(self, host: str, kin: Kin, indices: IndexSet) -> None: ...

    def vms_ended(self, host: str, kin: Kin, indices: IndexSet) -> None: ...

    def step_asked(self, host: str, kind: StepKind, batch: Batch) -> None:
        """An agent asks for something, which may take long and come to nothing."""

    def step_begins(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        """Before something is done: in whose name is in the batch's mark."""

    def step_faked(self, host: str, kind: StepKind, batch: Batch, indices: IndexSet) -> None:
        """An agent is told that something is done, and it is not."""

    # The wire between controllers and agents.

    def assignment_sent(self, controller: str, request: wire.AssignRequest) -> None:
        """A controller sends an assignment."""

    def assignment_acknowledged(self, host: str, request: wire.AssignRequest) -> None:
        """An agent has said that the assignment is in its ledger."""

    def controller_heard(self, host: str) -> None:
        """A controller has spoken, whatever comes of it."""

    def reports_begun(self, host: str, term: Term, written: bool) -> None:
        """An agent has begun to report to a controller of this term, which is in its ledger, or
        could not be written."""

    def observation_begun(self, host: str) -> None:
        """An agent has begun to report to a controller that commands nothing."""

    def reports_ended(self, host: str) -> None:
        """One that had begun has ended its reports."""

    def agent_began(self, host: str, term: Term, epoch: Epoch) -> None:
        """An agent begins with what its ledger says."""

    def agent_ended(self, host: str) -> None:
        """An agent's process is gone."""

    def ledger_lost(self, host: str) -> None:
        """What an agent has promised is forgotten: a fault, and not its own doing."""

    def clock_jumped(self, host: str, seconds: float) -> None:
        """A host's clock is ahead by so much more."""

    # The store.

    def revision_written(self, revision: int, changes: Sequence[Change]) -> None:
        """All changes of one transaction."""

    def lease_ended(self, term: int) -> None:
        """The leader's lease has ended by itself."""

    def store_set_back(self) -> None:
        """The store was set back to a backup; what that holds comes next, as `record_restored`."""

    def record_restored(self, change: Change) -> None:
        """The store holds this since it was set back."""

    # What the store says of hosts, of fleets and of itself, as `rules.store_view` reads it.

    def verdict_written(self, record: HostRecord, lost: bool) -> None:
        """From this revision on the host counts as lost, or does not any more."""

    def host_lost_while_frozen(self, host: str) -> None:
        """A recovery calls the host lost."""

    def host_removed(self, host: str) -> None:
        """A host is known no more."""

    def host_returned(self, host: str) -> None:
        """A host that was removed is known again."""

    def hosts_reassigned(self, moved: Mapping[str, tuple[Assignment, Assignment]]) -> None:
        """What hosts were assigned before a transaction and after it; not while changes are
        frozen."""

    def fleet_changed(self, before: FleetRecord | None, record: FleetRecord | None) -> None:
        """None: there is no such fleet. While changes are frozen only that one is gone."""

    def changes_thawed(self) -> None:
        """Changes are taken again."""

    # Operators.

    def recovery_asked(self) -> None:
        """Whatever comes of it."""

    def request_ended(self, words: str, began: float, why: str) -> None:
        """A request that was made at `began` has an answer; `why` it was not done, empty when it
        was, in the leader's words."""

    def request_answered(self, actor: str) -> None:
        """A request was answered that changes something whenever it is accepted."""


class Witnesses(Witness):
    """Tells each event to all that override it, in the order in which they were added."""

    def __init__(self) -> None:
        events = [name for name in vars(Witness) if not name.startswith("_")]
        self._hearers: dict[str, list[Callable[..., None]]] = {name: [] for name in events}
        for name, hearers in self._hearers.items():
            setattr(self, name, _teller(hearers))

    def add(self, witness: Witness) -> None:
        for name, hearers in self._hearers.items():
            if getattr(type(witness), name) is not getattr(Witness, name):
                hearers.append(getattr(witness, name))


def _teller(hearers: Sequence[Callable[..., None]]) -> Callable[..., None]:
    def tell(*event: Any) -> None:
        for hear in hearers:
            hear(*event)

    return tell
