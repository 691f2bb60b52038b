"""Limits of Xen itself, and of the dom0's kernel as its privileged guest."""

from __future__ import annotations

from fleet_agent.core.limits.dom0_facts import MIB, Dom0Facts, Xen, dom0_memory_option
from fleet_agent.core.limits.remedies import Remedy, by_hand, power_of_two, xen_option
from fleet_agent.core.limits.verdicts import Found, Limit, NotApplicable
from fleet_agent.core.limits.words import (
    memory,
    named,
    of_xen,
    or_unread,
    unread,
    xen_number,
    xen_size,
)

# xen/public/event_channel.h: channels of a domain with the 2-level ABI (64-bit) and with FIFO.
TWO_LEVEL_CHANNELS, FIFO_CHANNELS = 4096, 131_072
# FIFO events came with Xen 4.4 and Linux 3.14.
FIFO_XEN, FIFO_KERNEL = (4, 4), (3, 14)
# The dom0's own: timers and IPIs of each CPU, devices, xenstore. 50 to 100 are seen.
OWN_CHANNELS = 100
# Interrupts of hardware, which event channels share the numbers with.
OWN_IRQS = 256
# Linux 6.5 keeps descriptors in a maple tree with no bound that matters (kernel/irq/internals.h).
UNBOUND_IRQS_KERNEL = (6, 5)
UNBOUND_IRQS = 2**31 - 1
# A grant frame's worth of maptrack entries, and the default of frames since Xen 4.10.
MAPS_A_FRAME, DEFAULT_FRAMES = 256, 1024
# Maps of one guest beside its disks: netback's pending requests of an interface, its rings,
# console and xenstore.
MAPS_A_VIF, MAPS_BESIDE = 256, 8
# Persistent grants of a disk when tuning has turned them down as far as is sensible.
FEWEST_GRANTS = 128
# xen/public/xen.h: DOMID_FIRST_RESERVED is 0x7FF0; 0 is the dom0.
DOMAIN_IDS = 0x7FF0 - 1
# Domain structure, page tables and libxl's slack: 300 guests of 4 MiB took 4.1 MB each.
OVERHEAD_A_GUEST = MIB
# Vendors' guides give a dense dom0 4 to 8 CPUs, 8 to 16 at 1,000 guests.
MOST_VCPUS = 16
# Xen's own: a fixed part, and 40 bytes a page (frame table, machine-to-physical map).
XEN_FIXED, XEN_SHARE = 64 * MIB, 100


def channels_a_guest(facts: Dom0Facts) -> int:
    """In the dom0: console and xenstore, one a ring of a disk, two a network interface."""
    one = facts.footprint
    return max(4, 2 + one.disks * _queues(facts) + 2 * one.vifs)


def _queues(facts: Dom0Facts) -> int:
    """Rings of a disk: the guest asks for one a CPU, blkback grants its own most."""
    return max(1, min(facts.footprint.vcpus, facts.parameters.get("xen_blkback/max_queues", 1)))


def maps_a_guest(facts: Dom0Facts, grants: int) -> int:
    """Grants of one guest that the dom0 holds mapped, with so many persistent ones a ring."""
    one = facts.footprint
    return one.disks * _queues(facts) * grants + one.vifs * MAPS_A_VIF + MAPS_BESIDE


def maptrack_frames(facts: Dom0Facts, xen: Xen) -> Found:
    return xen_number(facts, xen, "gnttab_max_maptrack_frames", DEFAULT_FRAMES)


def _channels(facts: Dom0Facts, xen: Xen) -> Found:
    old = xen.version < FIFO_XEN or facts.kernel < FIFO_KERNEL
    if old or facts.two_level_events:
        return TWO_LEVEL_CHANNELS
    return FIFO_CHANNELS


def _more_channels(guests: int, facts: Dom0Facts) -> Remedy:
    xen = facts.xen
    if xen is None or xen.version < FIFO_XEN or facts.kernel < FIFO_KERNEL:
        return by_hand("install Xen 4.4 and Linux 3.14 or newer", then="reboot", reboot=True)
    line = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX xen.fifo_events=1"'
    return by_hand(line, xen_option("").file, then="update-grub, then reboot", reboot=True)


def _irqs(facts: Dom0Facts, xen: Xen) -> Found:
    if facts.kernel >= UNBOUND_IRQS_KERNEL:
        return UNBOUND_IRQS
    return or_unread(facts.nr_irqs, facts, "nr_irqs")


def _newer_kernel(guests: int, facts: Dom0Facts) -> Remedy:
    return by_hand(
        "install Linux 6.5 or newer (apt-get install linux-image-amd64)", then="reboot", reboot=True
    )


def _frames_needed(guests: int, facts: Dom0Facts) -> int:
    return -(-guests * maps_a_guest(facts, FEWEST_GRANTS) // MAPS_A_FRAME)


def _xenheap(facts: Dom0Facts, xen: Xen) -> Found:
    if xen.version >= (3, 4):
        major, minor = xen.version
        return NotApplicable(f"Xen {major}.{minor} has no separate heap (gone since 3.4, x86-64)")
    found = xen_number(facts, xen, "xenheap_megabytes", 16)
    return found * MIB if isinstance(found, int) else found


def _dom0_memory(facts: Dom0Facts) -> Found:
    if facts.xen is None:
        return NotApplicable("no Xen here")
    return or_unread(facts.dom0_memory_bytes, facts, "dom0_memory")


def _dom0_memory_needed(guests: int, facts: Dom0Facts) -> int:
    return max(1024, 16 * guests) * MIB


def _fixed_memory(facts: Dom0Facts, xen: Xen) -> Found:
    if facts.autoballoon in ("off", "0"):
        return 1
    if xen.options is None:
        return unread(facts, "xen_options")
    least, most = dom0_memory_option(xen.options)
    return int(least is not None and most is not None)


def _set_dom0_memory(guests: int, facts: Dom0Facts) -> Remedy:
    size = _dom0_memory_needed(guests, facts) // MIB
    return xen_option(f"dom0_mem={size}M,max:{size}M")


def _fix_dom0_memory(guests: int, facts: Dom0Facts) -> Remedy:
    """As much as it has now, unless that is all there is."""
    have, whole = facts.dom0_memory_bytes, facts.xen.memory_bytes if facts.xen else None
    if have is None or whole is None or have * 2 > whole:
        return _set_dom0_memory(guests, facts)
    return xen_option(f"dom0_mem={have // MIB}M,max:{have // MIB}M")


def _most_vcpus(facts: Dom0Facts) -> Found:
    if facts.xen is None:
        return NotApplicable("no Xen here")
    return or_unread(facts.cpus, facts, "cpus")


def _memory_for_guests(facts: Dom0Facts, xen: Xen) -> Found:
    whole, own = xen.memory_bytes, facts.dom0_memory_bytes
    if whole is None:
        return unread(facts, "xen_options")
    if own is None:
        return unread(facts, "dom0_memory")
    return max(0, whole - own - XEN_FIXED - whole // XEN_SHARE)


def _less_memory(guests: int, facts: Dom0Facts) -> Remedy:
    whole = facts.xen.memory_bytes if facts.xen else None
    own = facts.dom0_memory_bytes
    spare = _dom0_memory_needed(guests, facts)
    if whole and own and own > spare:
        return xen_option(f"dom0_mem={spare // MIB}M,max:{spare // MIB}M")
    return by_hand(
        "give the host more memory, or its guests less (memory in the fleet file)", reboot=True
    )


LIMITS = (
    Limit(
        name="event_channels",
        title="event channels of the dom0",
        source="xen/public/event_channel.h; a guest's console, xenstore, disks and interfaces",
        found=of_xen(_channels),
        needed=lambda guests, facts: OWN_CHANNELS + guests * channels_a_guest(facts),
        remedy=_more_channels,
        shown=lambda value: f"{value:,} (FIFO)" if value == FIFO_CHANNELS else f"{value:,}",
    ),
    Limit(
        name="dynamic_irqs",
        title="dynamic IRQs",
        source="drivers/xen/events: an IRQ for each bound event channel; NR_IRQS before Linux 6.5",
        found=of_xen(_irqs),
        needed=lambda guests, facts: OWN_IRQS + guests * channels_a_guest(facts),
        remedy=_newer_kernel,
        shown=lambda value: f"{value:,}" if value != UNBOUND_IRQS else "no bound (Linux 6.5)",
    ),
    Limit(
        name="grant_frames",
        title="grant frames of a guest",
        source="xen-command-line, gnttab_max_frames: 64 since Xen 4.10, 32 before",
        found=of_xen(
            lambda facts, xen: xen_number(
                facts, xen, "gnttab_max_frames", 64 if xen.version >= (4, 10) else 32
            )
        ),
        needed=lambda guests, facts: 64,
        remedy=lambda guests, facts: xen_option("gnttab_max_frames=64"),
        advisory=True,
    ),
    Limit(
        name="maptrack_frames",
        title="maptrack frames (grants that the dom0 maps)",
        source="xen-command-line, gnttab_max_maptrack_frames: 256 maps each; exhausting it "
        "corrupts guests' file systems (QubesOS issue 5674)",
        found=of_xen(maptrack_frames),
        needed=_frames_needed,
        remedy=lambda guests, facts: xen_option(
            f"gnttab_max_maptrack_frames={power_of_two(max(16 * guests, 4096))}"
        ),
    ),
    Limit(
        name="memory_fit",
        title="memory for guests",
        source="guests x (memory + 1 MiB) beside dom0 and Xen; memory is the mean of the VMs "
        "assigned, 16 MiB while there are none",
        found=of_xen(_memory_for_guests),
        needed=lambda guests, facts: guests * (facts.footprint.memory_bytes + OVERHEAD_A_GUEST),
        remedy=_less_memory,
        shown=memory,
    ),
    Limit(
        name="domain_ids",
        title="domain ids",
        source="xen/public/xen.h: DOMID_FIRST_RESERVED",
        found=of_xen(lambda facts, xen: DOMAIN_IDS),
        needed=lambda guests, facts: guests,
        remedy=lambda guests, facts: by_hand("spread the guests over more hosts"),
    ),
    Limit(
        name="xenheap",
        title="Xen's heap",
        source="16 MiB were exhausted at 25 guests in 2009; no such heap since Xen 3.4 on x86-64",
        found=of_xen(_xenheap),
        needed=lambda guests, facts: -(-guests * 16 * MIB // 25),
        remedy=lambda guests, facts: xen_option(f"xenheap_megabytes={-(-guests * 16 // 25)}"),
        shown=memory,
    ),
    Limit(
        name="dom0_memory",
        title="memory of the dom0",
        source="16 MiB a guest, at least 1 GiB: 4 to 8 GiB at 250, 16 to 32 at 1,000 recommended",
        found=_dom0_memory,
        needed=_dom0_memory_needed,
        remedy=_set_dom0_memory,
        advisory=True,
        shown=memory,
    ),
    Limit(
        name="autoballoon",
        title="fixed memory of the dom0",
        source="xl.conf, autoballoon: else each start shrinks the dom0 and waits for it",
        found=of_xen(_fixed_memory),
        needed=lambda guests, facts: 1,
        remedy=_fix_dom0_memory,
        advisory=True,
        shown=named({0: "balloons at each start", 1: "fixed"}),
    ),
    Limit(
        name="dom0_vcpus",
        title="CPUs of the dom0",
        source="xen-command-line, dom0_max_vcpus: each CPU more has queues and timers of its own",
        found=_most_vcpus,
        needed=lambda guests, facts: MOST_VCPUS,
        remedy=lambda guests, facts: xen_option(f"dom0_max_vcpus={8 if guests <= 500 else 16}"),
        advisory=True,
        most=True,
    ),
    Limit(
        name="conring",
        title="Xen's own log",
        source="xen-command-line, conring_size: 16 KiB; 1 KiB a guest keeps what each one said",
        found=of_xen(lambda facts, xen: xen_size(facts, xen, "conring_size", 16 * 1024)),
        needed=lambda guests, facts: power_of_two(max(16, guests)) * 1024,
        remedy=lambda guests, facts: xen_option(f"conring_size={power_of_two(max(16, guests))}k"),
        advisory=True,
        shown=memory,
    ),
)
