"""A plan of fleets in words: what there is, what is asked for, what becomes of each fleet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fleet.v1 import types_pb2 as types
from fleet_controller.core.generations.differences import Difference
from fleet_controller.core.model import FleetRecord, HostRecord, Meta, RolloutRecord

# Generation -> (placed, running).
Counts = Mapping[int, tuple[int, int]]
Hosts = Mapping[str, HostRecord]


class HostCounts(NamedTuple):
    """How many VMs each host has: the first, the second, ...; beyond the last count, none."""

    names: Sequence[str]
    counts: NDArray[np.int64]


class Effect(StrEnum):
    """What becomes of a fleet."""

    CREATE = "create"
    CHANGE = "change"
    NOTHING = "nothing"
    DELETE = "delete"


class Known(msgspec.Struct, frozen=True):
    """What there is. `counts` and `by_host`, by the uid of a fleet that the plan is about: its VMs
    by generation, and by host."""

    fleets: Mapping[str, FleetRecord]  # by name
    specs: Mapping[tuple[str, int], types.FleetSpec]
    meta: Meta
    hosts: Hosts
    rollouts: Mapping[str, RolloutRecord]  # by uid
    all_hosts_accounted: bool
    counts: Callable[[str], Counts]
    by_host: Callable[[str], HostCounts]

    def spec(self, fleet: FleetRecord | None) -> types.FleetSpec | None:
        """That VMs of the fleet are made of now."""
        return self.specs.get((fleet.uid, fleet.generation)) if fleet else None


class FleetPlan(msgspec.Struct, frozen=True):
    """What becomes of one fleet. `says`: a sentence each. `misplaced`: VMs that stand where the
    placement afterwards puts none."""

    fleet: str
    effect: Effect
    total: int
    from_generation: int  # 0: there is no such fleet
    generation: int
    token: str
    fields: tuple[Difference, ...] = ()
    says: tuple[str, ...] = ()
    returns: bool = False
    counts: Counts = {}
    misplaced: int = 0


class Plans(msgspec.Struct, frozen=True):
    """Of many fleets: those that are applied, in their order, then those that are deleted."""

    fleets: tuple[FleetPlan, ...]
    token: str
