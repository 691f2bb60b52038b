"""The conditions under which a host may have further VMs of a fleet, each in one object.

A condition says both whether a host meets it and why not, so that what placement does and what
people are told of it cannot differ. A new condition is one class and one entry:

- in HOST_CONDITIONS, where a host meets it or does not, such as a label; what it must have for the
  VMs, such as an image, is a `Holding`;
- in ROOM_CONDITIONS, where it admits so many VMs and no more. What a VM takes of a further
  resource is a field of `model.Capacity` instead.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from fleet.image_content.boot_files import boot_files
from fleet.template.host_needs import HostNeeds, NeededImage, needs_of
from fleet.v1 import types_pb2 as types
from fleet_controller.core.holdings import QEMU_FOR_CLONES, UNTOLD, HostHoldings
from fleet_controller.core.image_spread.holders import contents_of, fetched_image, one_digest
from fleet_controller.core.model import HostView
from fleet_controller.core.placement.draft import RESOURCES, Draft, Footprint

UNLIMITED = 2**62


@dataclass(frozen=True, slots=True)
class Wanted:
    """VMs that are to be placed: of one fleet (its uid), made from one spec, each of this size."""

    fleet: str
    spec: types.FleetSpec
    size: Footprint


class HostCondition(Protocol):
    """Made for what is wanted. `reason`: stable, for machines. `aside`: how hosts are called that
    do not meet it, where others are full; empty: they are not counted. `lacked`: what they have
    not, if that is what keeps them away."""

    reason: str
    aside: tuple[str, ...]
    lacked: str

    def admits(self, host: HostView) -> bool:
        """Whether the host may have any of the VMs, if there is room."""

    def explain(self, hosts: Sequence[HostView]) -> str:
        """Why none of these hosts meets it; they meet all conditions before it."""


class RoomCondition(Protocol):
    """Made for what is wanted. `name`: as people read it."""

    name: str

    def room(self, draft: Draft) -> int:
        """How many more of the VMs the host may have; negative where it has too many."""

    def whole(self, host: HostView) -> int:
        """How many it might have if it were empty."""


class Labelled:
    """The host has every label that the fleet selects."""

    reason = "selector"
    aside: tuple[str, ...] = ()
    lacked = ""

    def __init__(self, wanted: Wanted) -> None:
        self._selector = dict(wanted.spec.placement.selector)

    def admits(self, host: HostView) -> bool:
        labels = host.record.labels
        return all(labels.get(key) == value for key, value in self._selector.items())

    def explain(self, hosts: Sequence[HostView]) -> str:
        return "no host is labelled " + ", ".join(
            f"{key}={value}" for key, value in sorted(self._selector.items())
        )


class Approved:
    """The host is not new, or an operator has said that it may have VMs."""

    reason = "awaits_approval"
    aside: tuple[str, ...] = ()
    lacked = ""

    def __init__(self, wanted: Wanted) -> None:
        """It is the same for all VMs."""

    def admits(self, host: HostView) -> bool:
        return not host.record.awaits_approval

    def explain(self, hosts: Sequence[HostView]) -> str:
        return f"all {len(hosts):,} hosts wait for 'fleetctl hosts approve'"


class Open:
    """Neither operators nor the leader keep the host from further VMs."""

    reason = "cordoned"
    aside: tuple[str, ...] = ("cordoned", "draining")
    lacked = ""

    def __init__(self, wanted: Wanted) -> None:
        """It is the same for all VMs."""

    def admits(self, host: HostView) -> bool:
        record = host.record
        return not (record.cordoned or record.draining or record.lost or record.quarantine)

    def explain(self, hosts: Sequence[HostView]) -> str:
        return f"all {len(hosts):,} hosts are cordoned, draining, lost or in quarantine"


class Reachable:
    """The host is live, or the leader has not tried it yet."""

    reason = "unreachable"
    aside: tuple[str, ...] = ("out of reach",)
    lacked = ""

    def __init__(self, wanted: Wanted) -> None:
        """It is the same for all VMs."""

    def admits(self, host: HostView) -> bool:
        return host.reachable

    def explain(self, hosts: Sequence[HostView]) -> str:
        return f"none of {len(hosts):,} hosts can be reached"


class Holding:
    """The host has one thing that the VMs need, or does not say what it has of its kind.

    Hosts of one class share their holdings: what a class has is looked up once, however many hosts
    and VMs there are.
    """

    aside: tuple[str, ...] = ()

    def __init__(self, reason: str, lacked: str, lacks: Callable[[HostHoldings], bool]) -> None:
        """`lacks`: whether a host with these holdings has it not."""
        self.reason, self.lacked, self._lacks = reason, lacked, lacks
        self._known: dict[int, bool] = {}

    def admits(self, host: HostView) -> bool:
        held = host.record.holdings
        if held is UNTOLD:
            return True
        lacks = self._known.get(id(held))
        if lacks is None:
            lacks = self._known[id(held)] = self._lacks(held)
        return not lacks

    def explain(self, hosts: Sequence[HostView]) -> str:
        return lacking(len(hosts), self.lacked)


def lacking(hosts: int, what: str, more: str = "") -> str:
    """As in: 3 hosts lack golden@1; 2 more hosts lack golden@1."""
    return f"{hosts:,} {more}{'host lacks' if hosts == 1 else 'hosts lack'} {what}"


class Resource:
    """The host has as much left of one resource as the VM takes, where that resource is limited.
    A host that admits 0 guests admits none."""

    def __init__(self, field: str, each: int) -> None:
        """`each`: how much one VM takes; above 0."""
        self.name = field.removesuffix("_bytes").replace("_", " ")
        self._field = field
        self._position = RESOURCES.index(field)
        self._each = each
        self._when_absent = 0 if field == "guests" else UNLIMITED

    def room(self, draft: Draft) -> int:
        limit: int = getattr(draft.view.record.capacity, self._field)
        if not limit and self._when_absent:
            return self._when_absent
        return (limit - draft.used[self._position]) // self._each

    def whole(self, host: HostView) -> int:
        limit: int = getattr(host.record.capacity, self._field)
        return limit // self._each if limit else self._when_absent


class PerHost:
    """The host has fewer VMs of the fleet than the fleet allows on one host."""

    name = "per_host"

    def __init__(self, fleet: str, limit: int) -> None:
        self._fleet = fleet
        self._limit = limit

    def room(self, draft: Draft) -> int:
        return self._limit - draft.own.get(self._fleet, 0)

    def whole(self, host: HostView) -> int:
        return self._limit


def resources(size: Sequence[int]) -> list[RoomCondition]:
    """One condition for each resource of which something is taken. `size`: as Capacity orders
    resources."""
    sizes = zip(RESOURCES, size, strict=True)
    return [Resource(field, each) for field, each in sizes if each > 0]


def _resources(wanted: Wanted) -> list[RoomCondition]:
    return resources(wanted.size)


def _per_host(wanted: Wanted) -> list[RoomCondition]:
    limit = wanted.spec.placement.per_host
    return [PerHost(wanted.fleet, limit)] if limit else []


def _holdings(wanted: Wanted, hosts: Iterable[HostView]) -> list[HostCondition]:
    """Of what the VMs need, each in a condition of its own: what is missing is named. `hosts`: all
    that there are."""
    needs = needs_of(wanted.spec)
    found: list[HostCondition] = []
    comes = _image_comes(wanted.spec, hosts)
    if needs.image:
        image = str(needs.image)
        lacks_image = partial(_lacks_image, needs.image, comes)
        found.append(Holding("lacks_image", image, lacks_image))
    for path in needs.files:
        lacks_path = partial(_lacks_file, path, comes and _comes_with_image(path, needs.image))
        found.append(Holding("lacks_kernel", path, lacks_path))
    for bridge in needs.bridges:
        lacks_bridge = partial(_lacks_bridge, bridge)
        found.append(Holding("lacks_bridge", f"the bridge {bridge}", lacks_bridge))
    if needs.clones:
        lacks_clones = partial(_lacks_clones, needs)
        found.append(Holding("lacks_clones", QEMU_FOR_CLONES, lacks_clones))
    return found


def _image_comes(spec: types.FleetSpec, hosts: Iterable[HostView]) -> bool:
    """Whether a host that lacks the image can fetch it from one that has it."""
    image = fetched_image(spec)
    if image is None:
        return False
    known = ((host.record, host.reachable) for host in hosts)
    return bool(one_digest(contents_of(known, image), image).digest)


def _lacks_image(image: NeededImage, comes: bool, held: HostHoldings) -> bool:
    return held.lacks_image(image) and not (comes and held.fetches_images)


def _comes_with_image(path: str, image: NeededImage | None) -> bool:
    """Whether agents put a kernel or initrd of the image there when they fetch it."""
    named = posixpath.basename(path)
    return image is not None and named in boot_files(image.name, image.snapshot)


def _lacks_clones(needs: HostNeeds, held: HostHoldings) -> bool:
    return held.lacks_clones(needs)


def _lacks_file(path: str, comes: bool, held: HostHoldings) -> bool:
    return bool(held.missing_files((path,))) and not (comes and held.fetches_images)


def _lacks_bridge(bridge: str, held: HostHoldings) -> bool:
    return bool(held.missing_bridges((bridge,)))


# In the order in which they are explained: the first one that no host meets is the reason. What
# follows from the template, a host's holdings, comes after them.
HOST_CONDITIONS: tuple[Callable[[Wanted], HostCondition], ...] = (
    Labelled,
    Approved,
    Open,
    Reachable,
)
ROOM_CONDITIONS: tuple[Callable[[Wanted], list[RoomCondition]], ...] = (_resources, _per_host)


def host_conditions(wanted: Wanted, hosts: Iterable[HostView]) -> list[HostCondition]:
    """`hosts`: all that there are."""
    return [*(condition(wanted) for condition in HOST_CONDITIONS), *_holdings(wanted, hosts)]


def lacked(host: HostView, spec: types.FleetSpec) -> list[str]:
    """What the host has not of what VMs of this template need, as people read it."""
    held = host.record.holdings
    return [] if held is UNTOLD else held.lacks(needs_of(spec))


def room_conditions(wanted: Wanted) -> list[RoomCondition]:
    """At least one: every VM takes the place of a guest."""
    return [one for conditions in ROOM_CONDITIONS for one in conditions(wanted)]


def candidates(drafts: Iterable[Draft], wanted: Wanted) -> list[Draft]:
    """The hosts that may have some of the VMs, if there is room."""
    found = list(drafts)
    for condition in host_conditions(wanted, [draft.view for draft in found]):
        found = [draft for draft in found if condition.admits(draft.view)]
    return found


def rooms(drafts: Sequence[Draft], wanted: Wanted) -> list[int]:
    """How many more of the VMs each of these hosts may have."""
    by_condition = [
        [condition.room(draft) for draft in drafts] for condition in room_conditions(wanted)
    ]
    return [max(0, min(limits)) for limits in zip(*by_condition, strict=True)]
