"""What a rebalance means for one fleet."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from fleet_controller.core.model import FleetRecord


class FleetRebalance(msgspec.Struct, frozen=True):
    """`gives`, `takes`: how many VMs leave and come, by host id, in the order
    of the ids; no host does both. `must`: of
    `gives`, those that break a bound. `off_selector`, `above_per_host`: VMs that break one, whether
    or not they can move; of these, `unplaced` fit nowhere, which `why` explains, and `waiting` are
    on hosts that cannot be reached."""

    fleet: FleetRecord
    gives: Mapping[str, int] = {}
    takes: Mapping[str, int] = {}
    must: Mapping[str, int] = {}
    off_selector: int = 0
    above_per_host: int = 0
    unplaced: int = 0
    waiting: int = 0
    why: str = ""
    packed: bool = False  # the fleet is packed: it is not leveled

    @property
    def moves(self) -> int:
        """How many VMs move."""
        return sum(self.gives.values())

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do, now or later."""
        return not (self.gives or self.unplaced or self.waiting)


def rebalance_token(plans: Iterable[FleetRebalance]) -> str:
    """Another one as soon as any number of any host is another."""
    text = repr([
        (one.fleet.uid, one.gives, one.takes, one.must, one.unplaced, one.waiting)
        for one in plans
    ])  # fmt: skip
    return hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
