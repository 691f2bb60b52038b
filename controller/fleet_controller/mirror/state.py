"""The leader's mirror of the store: every record with the revision that last wrote it.

It is fed from three sides, in any order: the first reading, the answers to the leader's own
transactions, and the watch. A record never goes back to an older revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fleet.v1 import types_pb2 as types
from fleet_controller.core.audit import AuditTrail, id_of
from fleet_controller.core.model import (
    Assignment,
    BreakerRecord,
    FleetRecord,
    GoneFleet,
    HostRecord,
    Meta,
    RolloutRecord,
)
from fleet_controller.core.recovery.freeze import Freeze
from fleet_controller.store import keys
from fleet_controller.store.codec import Record, decode, decode_spec
from fleet_controller.store.port import Change, Delete, Put, Snapshot

NOTHING = Assignment()


class ClusterState:
    """Records by their id. `listener(kind, id)` is told of each that changed."""

    def __init__(self, listener: Callable[[str, str], None]) -> None:
        self.meta = Meta()
        self.hosts: dict[str, HostRecord] = {}
        self.fleets: dict[str, FleetRecord] = {}
        self.specs: dict[tuple[str, int], types.FleetSpec] = {}
        self.assignments: dict[str, Assignment] = {}
        self.audit = AuditTrail()
        self.freeze: Freeze | None = None
        self._first = 0  # the revision of the first reading
        self._seen: dict[str, int] = {}  # the revision last taken over, deletions too
        self._mods: dict[str, int] = {}  # the mod_revision of each key that is there
        self.cordoned = 0  # hosts
        # Hosts with a verdict, by name.
        self.lost: set[str] = set()
        self.quarantined: set[str] = set()
        self.draining: set[str] = set()
        self.gone: dict[str, GoneFleet] = {}  # deleted fleets, by uid
        self.rollouts: dict[str, RolloutRecord] = {}  # by fleet uid
        self.breaker = BreakerRecord()
        self.revision = 0
        self.cluster = ""
        self._listener = listener

    def load(self, snapshot: Snapshot) -> None:
        """Take over a whole reading of the store."""
        present = {entry.key for entry in snapshot.entries}
        gone = [key for key in self._mods if key not in present]
        self.cluster = snapshot.cluster
        self._first = self._first or snapshot.revision
        for entry in snapshot.entries:
            self.apply(entry.key, entry.value, entry.mod_revision)
        for key in gone:
            self.apply(key, None, snapshot.revision)
        self.revision = max(self.revision, snapshot.revision)

    def take(self, changes: Iterable[Change]) -> None:
        """Take over what a watch saw."""
        for change in changes:
            self.apply(change.key, change.value, change.mod_revision)

    def written(self, writes: Iterable[Put | Delete], revision: int) -> None:
        """Take over the leader's own transaction."""
        for write in writes:
            self.apply(write.key, write.value if isinstance(write, Put) else None, revision)

    def mod_revision(self, key: str) -> int:
        """0 for a key that is not there: what a guard on it must say."""
        return self._mods.get(key, 0)

    @property
    def stamp(self) -> int:
        """What is decided now is born of this: the revision, raised by every recovery."""
        return self.revision + self.meta.raised

    def known_revision(self, key: str) -> int:
        """When the key was last written or deleted, as far as is known: no later than this."""
        return self._seen.get(key, self._first)

    def apply(self, key: str, value: bytes | None, revision: int) -> None:
        """One record as of a revision; older ones are ignored. Raises BrokenRecord."""
        self.revision = max(self.revision, revision)
        if revision <= self._seen.get(key, 0):
            return
        self._seen[key] = revision
        if value is None:
            self._mods.pop(key, None)
        else:
            self._mods[key] = revision
        kind, _, rest = key.partition("/")
        if key.startswith(keys.AUDIT):
            self._take_audit(key, id_of(rest), value)
            return
        if key == keys.META:
            self.meta = decode(Meta, key, value) if value is not None else Meta()
        elif key == keys.FREEZE:
            self.freeze = decode(Freeze, key, value) if value is not None else None
        elif kind == "hosts":
            self.cordoned -= rest in self.hosts and self.hosts[rest].cordoned
            _set(self.hosts, rest, value, HostRecord, key)
            self.cordoned += rest in self.hosts and self.hosts[rest].cordoned
            self._note_verdicts(rest)
        elif kind == "assignments":
            _set(self.assignments, rest, value, Assignment, key)
        elif kind == "rollouts":
            _set(self.rollouts, rest, value, RolloutRecord, key)
        elif kind == "gone":
            _set(self.gone, rest, value, GoneFleet, key)
        elif key == keys.BREAKER:
            self.breaker = (
                decode(BreakerRecord, key, value) if value is not None else BreakerRecord()
            )
        elif spec := keys.spec_of(key):
            if value is None:
                self.specs.pop(spec, None)
            else:
                self.specs[spec] = decode_spec(key, value)
        elif kind == "fleets":
            _set(self.fleets, rest, value, FleetRecord, key)
        self._listener(kind, rest)

    def _take_audit(self, key: str, record_id: int, value: bytes | None) -> None:
        """Nothing is decided from these, so nobody is told. Of one that is gone nothing is kept:
        the trail itself knows that it does not come back."""
        if record_id:
            self.audit.take(record_id, value)
        if record_id not in self.audit:
            self._seen.pop(key, None)
            self._mods.pop(key, None)

    def _note_verdicts(self, host_id: str) -> None:
        record = self.hosts.get(host_id)
        for members, holds in (
            (self.lost, record and record.lost),
            (self.quarantined, record and record.quarantine),
            (self.draining, record and record.draining),
        ):
            (members.add if holds else members.discard)(host_id)

    def fleet_by_uid(self, uid: str) -> FleetRecord | None:
        return next((fleet for fleet in self.fleets.values() if fleet.uid == uid), None)


def _set(
    table: dict[str, Record], name: str, value: bytes | None, kind: type[Record], key: str
) -> None:
    if value is None:
        table.pop(name, None)
    else:
        table[name] = decode(kind, key, value)
