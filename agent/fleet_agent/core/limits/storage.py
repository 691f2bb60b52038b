"""Limits of disks: blkback's grants, ZFS volumes, the ARC, udev, the pool."""

from __future__ import annotations

from collections.abc import Callable

from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.limits.dom0_facts import MIB, Dom0Facts
from fleet_agent.core.limits.remedies import (
    UDEV_FILE,
    UDEV_RULE,
    KeptLine,
    Remedy,
    by_hand,
    parameter,
)
from fleet_agent.core.limits.verdicts import Found, Limit, NotApplicable, Unread
from fleet_agent.core.limits.words import NO_XEN, memory, named, or_unread, unread
from fleet_agent.core.limits.xen import (
    DEFAULT_FRAMES,
    FEWEST_GRANTS,
    MAPS_A_FRAME,
    maps_a_guest,
    maptrack_frames,
)

GRANTS, QUEUES = "xen_blkback/max_persistent_grants", "xen_blkback/max_queues"
# What tuning sets at 250 guests and below, if that suffices: a third of the default 1,056.
USUAL_GRANTS = 352
# include/sys/fs/zfs.h: 2^20 minors, ZVOL_MINOR_BITS of 4 for each volume.
ZVOL_MINORS = 65_536
NO_ZVOLS = NotApplicable("clones here are no ZFS volumes")
# Thin clones take more than they were given at first: past this the pool is near its end.
POOL_PERCENT = 80


def _parameter(name: str, missing: NotApplicable) -> Callable[[Dom0Facts], Found]:
    def found(facts: Dom0Facts) -> Found:
        value = facts.parameters.get(name)
        if value is not None:
            return value
        return Unread(facts.unread[name]) if name in facts.unread else missing

    return found


def _blkback(name: str) -> Callable[[Dom0Facts], Found]:
    absent = NotApplicable("xen_blkback is not loaded")
    return lambda facts: NO_XEN if facts.xen is None else _parameter(name, absent)(facts)


def _zfs(name: str) -> Callable[[Dom0Facts], Found]:
    read = _parameter(f"zfs/{name}", NotApplicable("ZFS is not loaded"))
    return lambda facts: read(facts) if facts.zvols else NO_ZVOLS


def grants_allowed(guests: int, facts: Dom0Facts) -> int:
    """Persistent grants of a ring with which so many guests' maps fit the dom0's maptrack."""
    frames = maptrack_frames(facts, facts.xen) if facts.xen else DEFAULT_FRAMES
    maps = (frames if isinstance(frames, int) else DEFAULT_FRAMES) * MAPS_A_FRAME
    a_ring = maps_a_guest(facts, 1) - maps_a_guest(facts, 0)
    if not a_ring:
        return maps
    return max(0, (maps // max(1, guests) - maps_a_guest(facts, 0)) // a_ring)


def _fewer_grants(guests: int, facts: Dom0Facts) -> Remedy:
    allowed = grants_allowed(guests, facts)
    if allowed >= FEWEST_GRANTS:
        return parameter(GRANTS, min(USUAL_GRANTS, allowed // 32 * 32))
    return parameter(GRANTS, FEWEST_GRANTS)


def _blkid(facts: Dom0Facts) -> Found:
    if not facts.zvols:
        return NO_ZVOLS
    skips = facts.skips_blkid
    return or_unread(None if skips is None else int(skips), facts, "udev")


def _skip_blkid(guests: int, facts: Dom0Facts) -> Remedy:
    return Remedy(UDEV_RULE, UDEV_FILE, kept=(KeptLine(UDEV_FILE, UDEV_RULE, UDEV_RULE),))


def _arc(facts: Dom0Facts) -> Found:
    found = _zfs("zfs_arc_max")(facts)
    # 0 leaves it to ZFS: half of the memory or nearly all, by version.
    return (facts.dom0_memory_bytes or found) if found == 0 else found


def _arc_needed(guests: int, facts: Dom0Facts) -> int:
    return (facts.dom0_memory_bytes or 0) // 3


def _cap_arc(guests: int, facts: Dom0Facts) -> Remedy:
    whole = (facts.dom0_memory_bytes or 4096 * MIB) // (64 * MIB) // 4 * 64 * MIB
    return parameter("zfs/zfs_arc_max", max(64 * MIB, min(whole, 8192 * MIB)))


def _pool_used(facts: Dom0Facts) -> Found:
    whole, free = facts.pool_bytes, facts.pool_free_bytes
    if not whole or free is None:
        return unread(facts, "pool")
    return 100 * (whole - free) // whole


_WAYS = tuple(CloneWay)


def _clone_way(facts: Dom0Facts) -> Found:
    return unread(facts, "pool") if facts.clone_way is None else _WAYS.index(facts.clone_way)


def _more_room(guests: int, facts: Dom0Facts) -> Remedy:
    how = "add a device (zpool add)" if facts.zvols else "enlarge its file system"
    return by_hand(f"{how}, or see what takes the space (fleetctl images df)")


LIMITS = (
    Limit(
        name="clone_way",
        title="how clones are made",
        source="a copy takes all of its image's room and the time to write it; what shares or "
        "overlays the image takes neither",
        found=_clone_way,
        needed=lambda guests, facts: _WAYS.index(CloneWay.REFLINK),
        remedy=lambda guests, facts: by_hand(
            "keep them in ZFS, or in a folder on XFS or btrfs (storage.parent); on QEMU also as "
            "overlays (storage.kind)"
        ),
        advisory=True,
        shown=lambda value: _WAYS[value],
    ),
    Limit(
        name="persistent_grants",
        title="persistent grants of a disk",
        source="xen-blkback, max_persistent_grants: 250 x 1,056 is more than 1,024 x 256 maps",
        found=_blkback(GRANTS),
        needed=grants_allowed,
        remedy=_fewer_grants,
        most=True,
    ),
    Limit(
        name="blkback_queues",
        title="rings of a disk",
        source="xen-blkback, max_queues: as many as the dom0 has CPUs, each with grants and a "
        "thread of its own",
        found=_blkback(QUEUES),
        needed=lambda guests, facts: 1 if guests > 100 else 16,
        remedy=lambda guests, facts: parameter(QUEUES, 1),
        advisory=True,
        most=True,
    ),
    Limit(
        name="zvol_minors",
        title="ZFS volumes",
        source="OpenZFS, ZVOL_MINOR_BITS: 16 minors each of 2^20",
        found=lambda facts: ZVOL_MINORS if facts.zvols else NO_ZVOLS,
        needed=lambda guests, facts: guests,
        remedy=lambda guests, facts: by_hand("spread the guests over more hosts"),
    ),
    Limit(
        name="zvol_volmode",
        title="how ZFS shows volumes",
        source="zfs.4, zvol_volmode: 1 scans each clone for partitions; volmode=dev on the "
        "dataset above them does as well",
        found=_zfs("zvol_volmode"),
        needed=lambda guests, facts: 2,
        remedy=lambda guests, facts: parameter("zfs/zvol_volmode", 2),
        advisory=True,
        shown=named({1: "1 (full)", 2: "2 (dev)", 3: "3 (none)"}),
    ),
    Limit(
        name="zvol_threads",
        title="threads of ZFS volumes",
        source="zvol_os.c: 0 is 32 or the CPUs, whichever is more; 64 at 1,000 recommended",
        found=lambda facts: (
            max(32, facts.cpus or 0) if (found := _zfs("zvol_threads")(facts)) == 0 else found
        ),
        needed=lambda guests, facts: 32 if guests <= 500 else 64,
        remedy=lambda guests, facts: parameter("zfs/zvol_threads", 64, live=False),
        advisory=True,
    ),
    Limit(
        name="zfs_arc",
        title="ZFS's cache",
        source="zfs.4, zfs_arc_max: half of the memory or nearly all by default; a quarter is set",
        found=_arc,
        needed=_arc_needed,
        remedy=_cap_arc,
        advisory=True,
        most=True,
        shown=memory,
    ),
    Limit(
        name="zvol_blkid",
        title="udev's look into each volume",
        source="openzfs issues 956, 7875: blkid reads every clone that appears",
        found=_blkid,
        needed=lambda guests, facts: 1,
        remedy=_skip_blkid,
        advisory=True,
        shown=named({0: "blkid runs for zd*", 1: "skipped for zd*"}),
    ),
    Limit(
        name="pool_fit",
        title="space in the pool",
        source="thin clones take more than they were given: from 80 % on",
        found=_pool_used,
        needed=lambda guests, facts: POOL_PERCENT,
        remedy=_more_room,
        advisory=True,
        most=True,
        shown=lambda value: f"{value} % used",
    ),
)
