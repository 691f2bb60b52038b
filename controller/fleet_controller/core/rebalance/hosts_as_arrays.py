"""All hosts while a rebalance is planned: what each holds and has room for, as arrays.

Rooms are those of `placement.conditions`, for thousands of hosts in one go. What leaves a host goes
on taking room there: it does so until the other host has it prepared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import HostRecord, HostView
from fleet_controller.core.placement.conditions import UNLIMITED
from fleet_controller.core.placement.draft import RESOURCES, Draft
from fleet_controller.core.rebalance.filling import Counts

Mask = NDArray[np.bool_]


class HostsAsArrays:
    """`own`: VMs by fleet uid, those that are on their way where they go; `load`: of all fleets.
    What is on draining or lost hosts counts nowhere: it moves by itself. `generations`: those of
    each fleet's VMs."""

    def __init__(self, drafts: Mapping[str, Draft]) -> None:
        self.names = tuple(drafts)
        self.drafts = tuple(drafts.values())
        self.records: tuple[HostRecord, ...] = tuple(draft.view.record for draft in self.drafts)
        self._number = {name: number for number, name in enumerate(self.names)}
        self.lets_go: Mask = np.fromiter(
            (_lets_go(draft.view) for draft in self.drafts), bool, len(self.drafts)
        )
        self.own: dict[str, Counts] = {}
        self.generations: dict[str, set[int]] = defaultdict(set)
        self.load: Counts = np.zeros(len(self.names), np.int64)
        shape = (len(self.names), len(RESOURCES))
        self._used = np.array([draft.used for draft in self.drafts], np.int64).reshape(shape)
        limits = [_limits(record) for record in self.records]
        self._limits = np.array(limits, np.int64).reshape(shape)
        self._count()

    def masked(self, drafts: list[Draft]) -> Mask:
        """Which hosts these are."""
        mask = np.zeros(len(self.names), bool)
        mask[[self._number[draft.view.record.id] for draft in drafts]] = True
        return mask

    def room(self, size: tuple[int, ...]) -> Counts:
        """How many further VMs of this size each host has room for."""
        room = np.full(len(self.names), UNLIMITED, np.int64)
        for position, each in enumerate(size):
            if each > 0:
                left = (self._limits[:, position] - self._used[:, position]) // each
                room = np.minimum(room, left)
        clipped: Counts = np.maximum(room, 0)
        return clipped

    def move(self, uid: str, gives: Counts, takes: Counts, size: tuple[int, ...]) -> None:
        """So many VMs of the fleet leave each host, and so many come."""
        self.own[uid] = self.own[uid] + takes - gives
        self.load = self.load + takes - gives
        self._used = self._used + np.outer(takes, np.array(size, np.int64))

    def used_guests(self) -> Counts:
        """The guests of each host, whatever they are."""
        guests: Counts = self._used[:, RESOURCES.index("guests")]
        return guests

    def _count(self) -> None:
        staged: dict[str, list[IndexSet]] = defaultdict(list)
        for draft in self.drafts:
            for shard in draft.shards:
                if shard.staged:
                    staged[shard.fleet].append(shard.ranges)
        moving = {uid: IndexSet.union_of(sets) for uid, sets in staged.items()}
        for number, draft in enumerate(self.drafts):
            if draft.view.record.draining or draft.view.record.lost:
                continue
            for shard in draft.shards:
                away = EMPTY if shard.staged else moving.get(shard.fleet, EMPTY)
                count = len(shard.ranges - away if away else shard.ranges)
                own = self.own.get(shard.fleet)
                if own is None:
                    own = self.own[shard.fleet] = np.zeros(len(self.names), np.int64)
                own[number] += count
                self.generations[shard.fleet].add(shard.generation)
        for own in self.own.values():
            self.load = self.load + own


def _lets_go(host: HostView) -> bool:
    """Whether it can be asked to release VMs."""
    return host.reachable and not host.record.lost and not host.record.draining


def _limits(record: HostRecord) -> list[int]:
    """Per resource, as `conditions.Resource` reads them."""
    limits = [min(getattr(record.capacity, name), UNLIMITED) for name in RESOURCES]
    return [
        limit if limit or name == "guests" else UNLIMITED
        for name, limit in zip(RESOURCES, limits, strict=True)
    ]
