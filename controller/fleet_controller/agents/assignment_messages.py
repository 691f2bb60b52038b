"""Assignments as messages to agents: shards, with the specs and names they refer to."""

from __future__ import annotations

from fleet.assignment_bytes import assignment_bytes
from fleet.changes.change_id import change_id_or_none
from fleet.identity import Fleet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import to_wire
from fleet_controller.core.model import Assignment, Shard
from fleet_controller.mirror.state import ClusterState

_POWER = {True: types.POWER_ON, False: types.POWER_OFF}


class AssignmentMessages:
    """Makes messages from the mirror; fleets and specs are rendered once until they change."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state
        self._fleets: dict[str, types.FleetIdentity] = {}
        self._specs: dict[tuple[str, int], types.GenerationSpec] = {}
        # Hosts that were told less than they are to have: of some VMs nobody knows the fleet or
        # the template. They go on as orphans.
        self.incomplete: set[str] = set()

    def forget(self) -> None:
        """A fleet or spec has changed."""
        self._fleets.clear()
        self._specs.clear()

    def request(self, host_id: str, term: types.Term) -> wire.AssignRequest | None:
        """None for a host that was never assigned anything."""
        record = self._state.assignments.get(host_id)
        if record is None:
            return None
        epoch, seals = self._state.assignment_epoch(host_id), self._state.seals
        assignment = self._assignment(record)
        if len(assignment.shards) < len(record.shards):
            self.incomplete.add(host_id)
        return wire.AssignRequest(
            term=term,
            epoch=seals.epoch(host_id, epoch),
            host_id=host_id,
            assignment=assignment,
            assignment_seal=seals.assignment(host_id, epoch, assignment_bytes(assignment)),
            change_id=change_id_or_none(self._state.labels.of(host_id)),
        )

    def is_known(self, shard: Shard) -> bool:
        """Whether an agent can be told what the shard's VMs are. It would take nothing of an
        assignment with one that it cannot be told of."""
        has_spec = (shard.fleet, shard.generation) in self._state.specs
        return has_spec and self._fleet(shard.fleet) is not None

    def _assignment(self, record: Assignment) -> types.Assignment:
        uids = {s.fleet for s in record.shards} | {t.fleet for t in record.tombstones}
        generations = {(s.fleet, s.generation) for s in record.shards}
        return types.Assignment(
            fleets=[found for uid in sorted(uids) if (found := self._fleet(uid))],
            specs=[self._spec(key) for key in sorted(generations) if key in self._state.specs],
            shards=[
                types.Shard(
                    fleet_uid=shard.fleet,
                    ranges=to_wire(shard.ranges),
                    generation=shard.generation,
                    power=_POWER[shard.power and not shard.staged],
                    birth=shard.birth,
                    restart=shard.restart,
                    retry=shard.retry,
                )
                for shard in record.shards
                if self.is_known(shard)
            ],
            tombstones=[
                types.Tombstone(
                    id=tombstone.id,
                    fleet_uid=tombstone.fleet,
                    ranges=to_wire(tombstone.ranges),
                    born_until=tombstone.born_until,
                )
                for tombstone in record.tombstones
                # An agent takes no assignment with one of a fleet that it is not told the name of.
                if self._fleet(tombstone.fleet)
            ],
        )

    def _fleet(self, uid: str) -> types.FleetIdentity | None:
        if uid not in self._fleets:
            record = self._state.fleet_by_uid(uid) or self._state.gone.get(uid)
            if record is None:
                return None
            self._fleets[uid] = fleet_identity(record.identity)
        return self._fleets[uid]

    def _spec(self, key: tuple[str, int]) -> types.GenerationSpec:
        if key not in self._specs:
            uid, generation = key
            self._specs[key] = types.GenerationSpec(
                fleet_uid=uid, generation=generation, spec=self._state.specs[key]
            )
        return self._specs[key]


def fleet_identity(fleet: Fleet) -> types.FleetIdentity:
    """The fleet's names and numbers as a message."""
    return types.FleetIdentity(uid=fleet.uid, name=fleet.name, number=fleet.number, site=fleet.site)
