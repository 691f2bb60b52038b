"""What one host has said of itself, as far as it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fleet.certificates.authorities import digest_of_trust
from fleet.keys import NO_EPOCH, Epoch, Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_controller.core.model import NOTHING, Assignment
from fleet_controller.core.vm_states import DEFINED, PENDING, UNKNOWN
from fleet_controller.observed.vectors import stretches

# Of the year 10000, in seconds since 1970: no certificate says so (RFC 5280, 4.1.2.5).
_NO_DATE = 253_402_300_800
# Of one host: kinds of VMs that its assignment has not, and ranges of them.
_MOST_STRAY_KINS = 256
_MOST_STRAY_RANGES = 4096


@dataclass(slots=True)
class HostObservation:
    """One host. `epoch`: of the assignment it reported on."""

    number: int
    assignment: Assignment = NOTHING
    seen: bool = False  # its states are known: a full report came on the present link
    heard_since: float = 0.0  # on the leader's clock, while `seen`
    epoch: Epoch = NO_EPOCH
    converged: bool = False
    awaits_assign: bool = False
    orders_refused: str = ""  # why it takes no orders, while it is linked
    problems: tuple[wire.Problem, ...] = ()
    orphans: tuple[tuple[str, int, IndexSet], ...] = ()
    # VMs begun in another way than asked for: fleet, which, why. None: its agent does not tell.
    fallbacks: tuple[tuple[str, IndexSet, str], ...] | None = None
    released: frozenset[int] = frozenset()
    releasing: dict[str, int] = field(default_factory=dict)
    # Staged VMs that it has cloned and defined.
    prepared: dict[Kin, IndexSet] = field(default_factory=dict)
    # VMs that it reports and that its assignment has not, as far as that is known: they matter
    # where it could not be read.
    strays: dict[Kin, IndexSet] = field(default_factory=dict)
    # VMs that were given a restart since the host has last had nothing left to do, by fleet: that
    # they run may be of before it.
    restarting: dict[str, IndexSet] = field(default_factory=dict)
    boot_id: str = ""  # of the dom0, while it is linked
    certificate_expires: int = 0  # seconds since 1970; 0: not known
    trust: bytes = b""  # a digest of whom it trusts and by what it is signed; empty: not known
    lost: bool = False  # declared: nobody waits for what it has to release

    def why_begun_otherwise(self, uid: str, index: int) -> str | None:
        """One sentence; empty where a VM was begun as asked for, None where nobody knows."""
        if self.fallbacks is None:
            return None
        return next(
            (why for fleet, have, why in self.fallbacks if fleet == uid and index in have), ""
        )

    def note_fallbacks(self, report: wire.Report) -> None:
        """Raises ValueError for ranges that are none."""
        told = [(one.fleet_uid, from_wire(one.ranges), one.why) for one in report.fallbacks]
        self.fallbacks = tuple(told) if report.fallbacks_set else None

    @property
    def unassigned(self) -> tuple[tuple[str, int, IndexSet], ...]:
        """As orphans are told."""
        return tuple((kin.fleet_uid, kin.birth, have) for kin, have in self.strays.items())

    @property
    def unreported(self) -> int:
        """The state of a VM that the host has not reported on."""
        return PENDING if self.seen else UNKNOWN

    def begin_anew(self, now: float) -> None:
        """A full report comes: it says all that is known of the host."""
        self.heard_since = self.heard_since if self.seen else now
        self.seen = True
        self.released = frozenset()
        self.prepared, self.strays = {}, {}

    def note_facts(self, facts: types.HostFacts) -> None:
        self.boot_id = facts.boot_id
        ends = facts.certificate_expires_unix
        self.certificate_expires = ends if 0 < ends < _NO_DATE else 0
        self.trust = digest_of_trust(facts.trust) if facts.HasField("trust") else b""

    def note_prepared(self, kin: Kin, staged: IndexSet, report: wire.ShardReport) -> None:
        """A staged VM is prepared once its host says that it is defined."""
        spans, ready = [], []
        for run in report.runs:
            states = np.frombuffer(run.states, np.uint8)
            spans.append((run.start, run.start + len(states)))
            ready += stretches(states == DEFINED, run.start)
        have = self.prepared.get(kin, EMPTY) - IndexSet(spans)
        have = have | (IndexSet(ready) & staged)
        if have:
            self.prepared[kin] = have
        else:
            self.prepared.pop(kin, None)

    def note_strays(self, kin: Kin, report: wire.ShardReport) -> None:
        """As many as an honest host has; what goes beyond is not kept."""
        if kin not in self.strays and len(self.strays) >= _MOST_STRAY_KINS:
            return
        spans = IndexSet((one.start, one.start + len(one.states)) for one in report.runs)
        have = self.strays.get(kin, EMPTY) | spans
        others = sum(len(one.ranges) for other, one in self.strays.items() if other != kin)
        if others + len(have.ranges) <= _MOST_STRAY_RANGES:
            self.strays[kin] = have
