"""Which hosts may have more of a fleet, and how much more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord, HostView
from fleet_controller.core.placement.draft import Draft, vector

_UNLIMITED = 2**62


def candidates(drafts: Mapping[str, Draft], rule: types.Placement) -> list[Draft]:
    """The hosts that may have more of a fleet with this rule, if there is room."""
    return [draft for draft in drafts.values() if eligible(draft.view, rule)]


def rooms(
    drafts: Iterable[Draft], size: Sequence[int], fleet: FleetRecord, spec: types.FleetSpec
) -> list[int]:
    """How many more VMs of the fleet, each of this footprint, every one of these could have."""
    return [room(draft.view, draft.used, size, _own_room(draft, fleet, spec)) for draft in drafts]


def eligible(host: HostView, rule: types.Placement) -> bool:
    """Whether the fleet may be placed on the host at all, room aside."""
    labels = host.record.labels
    return (
        host.reachable
        and not host.record.cordoned
        and not host.record.draining
        and not host.record.lost
        and not host.record.quarantine
        and all(labels.get(key) == value for key, value in rule.selector.items())
    )


def _own_room(draft: Draft, fleet: FleetRecord, spec: types.FleetSpec) -> int:
    """How many more of the fleet its own per-host setting lets this host have."""
    limit = spec.placement.per_host
    return max(0, limit - draft.own.get(fleet.uid, 0)) if limit else _UNLIMITED


def room(host: HostView, used: Sequence[int], size: Sequence[int], most: int) -> int:
    """How many more VMs of this footprint fit on the host; at most `most`."""
    most = min(most, host.record.capacity.guests - used[0])
    for limit, have, each in zip(vector(host.record.capacity), used, size, strict=True):
        if limit and each:
            most = min(most, (limit - have) // each)
    return max(0, most)
