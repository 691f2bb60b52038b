"""What hosts say they have, gathered from their reports while changes are frozen."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from google.protobuf.message import DecodeError

from fleet.identity import Fleet, checked_fleet_name
from fleet.keys import Epoch
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.recovery.inventory import HostInventory, Inventory, Proof
from fleet_controller.core.recovery.seals import Seals

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Hashable)


class ReportedInventory:
    """All hosts that were heard, by id, and what their VMs were made from. `seals`: of the store,
    as it is at the time."""

    def __init__(self, seals: Callable[[], Seals]) -> None:
        self._seals = seals
        self.hosts: dict[str, HostInventory] = {}
        self._names = Said[str, Fleet]()
        self._templates = Said[tuple[str, int], bytes]()

    @property
    def fleets(self) -> Mapping[str, Fleet]:
        """By uid, as it is proven or most hosts say."""
        return self._names.believed()

    def apply_report(self, host: str, report: wire.Report) -> None:
        """Deltas without a full report before them say nothing by themselves. Raises ValueError
        for a report that makes no sense."""
        before = HostInventory() if report.full else self.hosts.get(host)
        if before is None:
            return
        proof = self._proof(host, report)
        self.hosts[host] = before.after(report, proof)
        if not report.full:
            return
        if proof.assignment is not None:
            self._note(host, proof.assignment, proven=True)
        else:
            said = types.Assignment(fleets=report.fleets, specs=report.specs)
            self._note(host, said, proven=False)

    def forget(self, host: str) -> None:
        """The host is known no more."""
        self.hosts.pop(host, None)
        self._names.forget(host)
        self._templates.forget(host)

    def snapshot(self) -> Inventory:
        """As it is now, for a decision made beside the reports that go on."""
        specs = {
            key: types.FleetSpec.FromString(data)
            for key, data in self._templates.believed().items()
        }
        return Inventory(dict(self.hosts), dict(self.fleets), specs)

    def _note(self, host: str, said: types.Assignment, *, proven: bool) -> None:
        names = {
            one.uid: Fleet(one.uid, checked_fleet_name(one.name), one.number, one.site)
            for one in said.fleets
        }
        templates = {
            (one.fleet_uid, one.generation): one.spec.SerializeToString(deterministic=True)
            for one in said.specs
        }
        self._names.note(host, names, proven)
        self._templates.note(host, templates, proven)

    def _proof(self, host: str, report: wire.Report) -> Proof:
        seals, epoch = self._seals(), Epoch.of(report.epoch)
        assignment = None
        if report.full and seals.prove_assignment(
            host, epoch, report.assignment, report.assignment_seal
        ):
            assignment = _parsed(report.assignment)
        return Proof(
            epoch=seals.prove_epoch(host, report.epoch),
            term=report.full and seals.prove_term(report.term),
            assignment=assignment,
        )


class Said(dict[str, tuple[bool, Mapping[Key, Value]]]):
    """What each host says of things that all hosts should agree about."""

    def note(self, host: str, values: Mapping[Key, Value], proven: bool) -> None:
        """In place of what the host said before."""
        self[host] = (proven, values)

    def forget(self, host: str) -> None:
        self.pop(host, None)

    def believed(self) -> dict[Key, Value]:
        """What is proven, and else what most hosts say; of equals, what the first host says."""
        votes: dict[Key, Counter[Value]] = defaultdict(Counter)
        sure: dict[Key, Value] = {}
        for _, (proven, values) in sorted(self.items()):
            for key, value in values.items():
                votes[key][value] += 1
                if proven:
                    sure.setdefault(key, value)
        return {key: sure.get(key, said.most_common(1)[0][0]) for key, said in votes.items()}


def _parsed(data: bytes) -> types.Assignment | None:
    try:
        return types.Assignment.FromString(data)
    except DecodeError:
        return None
