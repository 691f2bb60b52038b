"""What the controller wants of this host, parsed from the wire and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from fleet.identity import MAX_FLEET_NUMBER, MAX_INDEX, MAX_SITE, Fleet, checked_fleet_name
from fleet.keys import Kin
from fleet.ranges import IndexSet
from fleet.spec import check_given
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_agent.core.model import Restarts


class BadAssignment(ValueError):
    """The assignment contradicts itself; one sentence says where."""


@dataclass(frozen=True, slots=True)
class WantedShard:
    """VMs of one kin that are to exist here, running or not. Those that run and were last
    started for a lower `restart` are to be started again. Those that failed before `retry` grew
    are tried as if for the first time."""

    kin: Kin
    indices: IndexSet
    power_on: bool
    restart: int = 0
    retry: int = 0


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A tombstone: what was born until then of these indices goes, and is acknowledged by id."""

    id: int
    fleet_uid: str
    indices: IndexSet
    born_until: int


@dataclass(frozen=True, slots=True)
class Assignment:
    """The whole wanted state of a host; the default is that of a host never assigned."""

    fleets: Mapping[str, Fleet] = field(default_factory=dict)
    specs: Mapping[tuple[str, int], types.FleetSpec] = field(default_factory=dict)
    shards: tuple[WantedShard, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()
    # Of earlier assignments, acknowledged: what they name goes should it come about after all.
    past: tuple[Tombstone, ...] = ()
    # What is wrong with templates that nobody can carry out; `specs` has a stand-in for each.
    bad_specs: Mapping[tuple[str, int], str] = field(default_factory=dict)

    def bad_spec(self, kin: Kin) -> str:
        """What is wrong with the template of this kin; empty when it can be carried out."""
        return self.bad_specs.get((kin.fleet_uid, kin.generation), "")

    def restarts(self, kin: Kin) -> Restarts:
        """Which VMs of this kin are to be started for which value."""
        return tuple((s.restart, s.indices) for s in self.shards if s.kin == kin and s.restart)

    def has_disk(self, kin: Kin) -> bool:
        """Whether VMs of this kin are cloned from a golden image."""
        spec = self.specs.get((kin.fleet_uid, kin.generation))
        return spec is not None and bool(spec.image.name)


NONE = types.Assignment()


def parse_assignment(message: types.Assignment, past: types.Assignment = NONE) -> Assignment:
    """`past`: the tombstones that were acknowledged before, with their fleets.

    A spec that cannot be carried out takes out the VMs that are made with it, and nothing else.

    Raises BadAssignment where a shard or tombstone has no fleet, a shard no spec, a number is out
    of its bounds, or an index is wanted twice.
    """
    fleets = {fleet.uid: _fleet(fleet) for fleet in (*past.fleets, *message.fleets)}
    specs = {(spec.fleet_uid, spec.generation): spec.spec for spec in message.specs}
    bad_specs = {key: wrong[0] for key, spec in specs.items() if (wrong := check_given(spec))}
    specs |= {key: _stand_in(specs[key]) for key in bad_specs}
    shards = tuple(_shard(shard, fleets, specs) for shard in message.shards)
    _check_disjoint(shards)
    tombstones = tuple(_tombstone(stone, fleets) for stone in message.tombstones)
    before = tuple(_tombstone(stone, fleets) for stone in past.tombstones)
    return Assignment(fleets, specs, shards, tombstones, before, bad_specs)


def _fleet(message: types.FleetIdentity) -> Fleet:
    try:
        name = checked_fleet_name(message.name)
    except ValueError as error:
        raise BadAssignment(f"fleet {message.uid[:60]!r}: {error}") from error
    if message.number > MAX_FLEET_NUMBER or message.site > MAX_SITE:
        raise BadAssignment(
            f"fleet {name} has number {message.number} and site {message.site}; at most "
            f"{MAX_FLEET_NUMBER} and {MAX_SITE} fit into its VMs' addresses"
        )
    return Fleet(message.uid, name, message.number, message.site)


def _stand_in(spec: types.FleetSpec) -> types.FleetSpec:
    """What holds for VMs that exist, whatever else is wrong with their template."""
    return types.FleetSpec(
        on_loss=spec.on_loss, on_isolation_stop_after_seconds=spec.on_isolation_stop_after_seconds
    )


def _shard(
    message: types.Shard,
    fleets: Mapping[str, Fleet],
    specs: Mapping[tuple[str, int], types.FleetSpec],
) -> WantedShard:
    kin = Kin.of(message)
    if kin.fleet_uid not in fleets or (kin.fleet_uid, kin.generation) not in specs:
        raise BadAssignment(
            f"a shard of fleet {kin.fleet_uid}, generation {kin.generation}, comes without that "
            "fleet's identity or that generation's spec"
        )
    if message.restart < 0 or message.birth < 0 or message.retry < 0:
        raise BadAssignment(
            f"a shard of fleet {kin.fleet_uid} has birth {message.birth}, restart "
            f"{message.restart} and retry {message.retry}; none can be below 0"
        )
    power_on = message.power != types.POWER_OFF
    return WantedShard(kin, _indices(message.ranges), power_on, message.restart, message.retry)


def _tombstone(message: types.Tombstone, fleets: Mapping[str, Fleet]) -> Tombstone:
    if message.fleet_uid not in fleets:
        raise BadAssignment(
            f"tombstone {message.id} comes without the identity of fleet {message.fleet_uid}"
        )
    if message.id < 0 or message.born_until < 0:
        raise BadAssignment(
            f"tombstone {message.id} is of VMs born until {message.born_until}; neither can be "
            "below 0"
        )
    return Tombstone(message.id, message.fleet_uid, _indices(message.ranges), message.born_until)


def _indices(ranges: Iterable[types.IndexRange]) -> IndexSet:
    try:
        indices = from_wire(ranges)
    except ValueError as error:
        raise BadAssignment(str(error)) from error
    if indices and indices.last > MAX_INDEX:
        raise BadAssignment(f"index {indices.last} is above {MAX_INDEX}")
    return indices


def _check_disjoint(shards: tuple[WantedShard, ...]) -> None:
    if len(shards) < 2:
        return
    seen: dict[str, IndexSet] = {}
    for shard in shards:
        before = seen.get(shard.kin.fleet_uid)
        if before is None:
            seen[shard.kin.fleet_uid] = shard.indices
            continue
        twice = before & shard.indices
        if twice:
            raise BadAssignment(f"indices {twice} of fleet {shard.kin.fleet_uid} are wanted twice")
        seen[shard.kin.fleet_uid] = before | shard.indices
