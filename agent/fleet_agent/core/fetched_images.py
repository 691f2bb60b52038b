"""Which images that this host has fetched it may do without: by their last use, and by room.

Another host can give them again. Those that were handed in or imported here stay: they are where
the others came from. What has clones, or is to have some, is never among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fleet_agent.core.images import ImageName

# What is recorded as the source of an image that came from hosts.
FETCHED = "other hosts of the cluster"
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class HeldImage:
    """`used`: when it last had clones or was assigned, or came; seconds since 1970."""

    image: ImageName
    source: str
    clones: int
    size: int
    used: float


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long what is not used is kept, in days (0: for ever), and what share of the pool is to be
    free before that."""

    days: float = 14.0
    free_share: float = 0.1


@dataclass(frozen=True, slots=True)
class Removal:
    image: ImageName
    reason: str


def removals(
    images: Iterable[HeldImage],
    assigned: frozenset[ImageName],
    pool_bytes: int,
    free_bytes: int,
    now: float,
    keeping: Keeping,
) -> list[Removal]:
    """The longest unused first; for room no more than are needed."""
    if not keeping.days:
        return []
    found: list[Removal] = []
    missing = pool_bytes * keeping.free_share - free_bytes
    spare = (one for one in images if one.source == FETCHED and not one.clones)
    for one in sorted(spare, key=lambda one: (one.used, one.image)):
        if one.image in assigned:
            continue
        days = (now - one.used) / DAY
        if days >= keeping.days:
            found.append(Removal(one.image, f"not used for {days:.0f} days"))
        elif missing > 0 and now - one.used >= DAY:
            found.append(Removal(one.image, "not used, and the pool is nearly full"))
        else:
            continue
        missing -= one.size
    return found


def last_uses(
    images: Iterable[HeldImage],
    assigned: frozenset[ImageName],
    known: Mapping[ImageName, float],
    now: float,
) -> dict[ImageName, float]:
    """When each image was last used, as far as it is here; one that is new counts as used now."""
    return {
        one.image: now
        if one.clones or one.image in assigned
        else min(now, known.get(one.image, now))
        for one in images
    }
