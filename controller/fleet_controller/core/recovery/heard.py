"""How far the hosts have heard the store count, whatever single ones of them say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from fleet_controller.core.recovery.freeze import MANY_SHARE
from fleet_controller.core.recovery.inventory import HostInventory, Inventory

# A number beyond is nonsense of a broken host: ids of tombstones are revisions times 2^16.
MOST = 1 << 46


class Heard(NamedTuple):
    """The highest generation of the store, and the highest of revisions and births."""

    generation: int
    revision: int


def heard_of(inventory: Inventory) -> Heard:
    """What is proven counts in full. Of what the rest claim the highest tenth does not, and never
    the highest one: whoever lies about the numbers of a store would else use them up."""
    hosts = list(inventory.hosts.values())
    proven = [_proven(has) for has in hosts]
    claimed = [_claimed(has) for has in hosts]
    return Heard(
        max(_most(one.generation for one in proven), _agreed(one.generation for one in claimed)),
        max(_most(one.revision for one in proven), _agreed(one.revision for one in claimed)),
    )


def _proven(has: HostInventory) -> Heard:
    generations, revisions = [0], [0]
    for (generation, revision), proves in (
        (has.epoch, has.proven),
        (has.term, has.proven_term),
    ):
        if proves:
            generations.append(generation)
            revisions.append(revision)
    revisions += [kin.birth for kin in has.told or ()]
    return Heard(max(generations), max(revisions))


def _claimed(has: HostInventory) -> Heard:
    births = [kin.birth for kin in has.states]
    return Heard(
        _most((has.epoch.store_generation, has.term.store_generation)),
        _most((has.epoch.revision, has.term.revision, *births)),
    )


def _most(numbers: Iterable[int]) -> int:
    return max((one for one in numbers if one < MOST), default=0)


def _agreed(numbers: Iterable[int]) -> int:
    """The highest that so many reach that they cannot be wrong together."""
    found = sorted((one for one in numbers if one < MOST), reverse=True)
    spare = max(1, int(len(found) * MANY_SHARE))
    return found[spare] if len(found) > spare else 0
