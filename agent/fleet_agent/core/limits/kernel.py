"""Limits of the Linux kernel that guests run into: sysctls, bridges, addresses."""

from __future__ import annotations

from collections.abc import Callable

from fleet.identity import MAX_INDEX
from fleet_agent.core.limits.dom0_facts import Dom0Facts
from fleet_agent.core.limits.remedies import (
    GRUB_FILE,
    THEN_REBOOT,
    Remedy,
    by_hand,
    power_of_two,
    sysctl,
)
from fleet_agent.core.limits.verdicts import Found, Limit, NotApplicable, Unread
from fleet_agent.core.limits.words import named
from fleet_agent.core.start_pace import HIGH, LEAST_A_CORE, LOOK_SECONDS, LOW

# Terminals of people and of programs other than guests' consoles.
PTYS_BESIDE = 256
# drivers/tty/pty.c: kernel.pty.reserve, where the host does not tell.
PTYS_RESERVED = 1024
# Kernel threads of a guest's disk and interface, its hotplug scripts, and what the dom0 runs.
PIDS_A_GUEST, PIDS_BESIDE = 16, 4096
# include/linux/threads.h: PID_MAX_LIMIT less one.
MOST_PIDS = 4_194_303
# An emulated disk's ring in QEMU (block/linux-aio.c, MAX_EVENTS).
AIO_EVENTS_A_DISK = 1024
# LXD's production notes for hosts of many guests.
MANY_MAPS = 262_144
# net/bridge/br_private.h: BR_PORT_BITS is 10, port 0 is not used.
BRIDGE_PORTS = 1023


def _sysctl(key: str) -> Callable[[Dom0Facts], Found]:
    def found(facts: Dom0Facts) -> Found:
        value = facts.sysctls.get(key)
        return Unread(facts.unread.get(key, f"no {key} here")) if value is None else value

    return found


def _set(key: str, value: Callable[[int], int]) -> Callable[[int, Dom0Facts], Remedy]:
    return lambda guests, facts: sysctl(key, value(guests))


def _ptys(guests: int, facts: Dom0Facts) -> int:
    return PTYS_BESIDE + facts.sysctls.get("kernel.pty.reserve", PTYS_RESERVED) + guests


def _aio(facts: Dom0Facts) -> Found:
    if not facts.qemu_disks:
        return NotApplicable("no QEMU serves disks here")
    return _sysctl("fs.aio-max-nr")(facts)


def _ports(facts: Dom0Facts) -> Found:
    one = facts.footprint
    if not one.vifs:
        return NotApplicable("the VMs assigned have no network interface")
    return BRIDGE_PORTS * one.bridges


def _without_pressure(guests: int, facts: Dom0Facts) -> Remedy:
    line = 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX psi=1"'
    return by_hand(line, GRUB_FILE, then=THEN_REBOOT, reboot=True)


LIMITS = (
    Limit(
        name="ptys",
        title="pseudo-terminals",
        source="drivers/tty/pty.c: one a console, kernel.pty.reserve kept back, 256 beside",
        found=_sysctl("kernel.pty.max"),
        needed=_ptys,
        remedy=lambda guests, facts: sysctl(
            "kernel.pty.max", max(4096, power_of_two(2 * _ptys(guests, facts)))
        ),
    ),
    Limit(
        name="pids",
        title="process ids",
        source="16 a guest (threads of its back ends, hotplug), 4,096 beside; firecracker-"
        "containerd, docs/scaling.md, sets the most there can be",
        found=_sysctl("kernel.pid_max"),
        needed=lambda guests, facts: PIDS_BESIDE + guests * PIDS_A_GUEST,
        remedy=_set("kernel.pid_max", lambda guests: MOST_PIDS),
    ),
    Limit(
        name="bridge_ports",
        title="ports of a bridge",
        source="net/bridge/br_private.h: 1,023; one an interface",
        found=_ports,
        needed=lambda guests, facts: guests * max(1, facts.footprint.vifs),
        remedy=lambda guests, facts: by_hand(
            "use more bridges, and fleets that name them (network.bridge in the fleet file)"
        ),
    ),
    Limit(
        name="mac_addresses",
        title="MAC addresses of a fleet",
        source="derived from site, fleet and a 24-bit index, range-checked; never drawn",
        found=lambda facts: MAX_INDEX + 1,
        needed=lambda guests, facts: guests,
        remedy=lambda guests, facts: by_hand("spread the guests over more fleets"),
    ),
    Limit(
        name="cpu_pressure",
        title="starts at once, by CPU pressure (PSI)",
        source=f"Documentation/accounting/psi, cpu, some: at least {LEAST_A_CORE} a core; each "
        f"{LOOK_SECONDS:g} s half as many again below {LOW:.0%}, a quarter less above {HIGH:.0%}; "
        "at most admission.parallel of the fleets here together",
        found=lambda facts: int(facts.tells_pressure),
        needed=lambda guests, facts: 1,
        remedy=_without_pressure,
        advisory=True,
        shown=named(
            {0: "not told: VMs start by their fleets' admission.parallel alone", 1: "told"}
        ),
    ),
    Limit(
        name="aio_requests",
        title="asynchronous I/O requests",
        source="LXD production notes; QEMU asks for 1,024 a disk, and does with threads else",
        found=_aio,
        needed=lambda guests, facts: guests * AIO_EVENTS_A_DISK * max(1, facts.footprint.disks),
        remedy=lambda guests, facts: sysctl(
            "fs.aio-max-nr",
            power_of_two(guests * AIO_EVENTS_A_DISK * max(1, facts.footprint.disks)),
        ),
        advisory=True,
    ),
    Limit(
        name="inotify_instances",
        title="inotify instances of a user",
        source="LXD production notes; 2 a guest, 128 beside",
        found=_sysctl("fs.inotify.max_user_instances"),
        needed=lambda guests, facts: 128 + 2 * guests,
        remedy=_set(
            "fs.inotify.max_user_instances",
            lambda guests: 1024 if guests <= 256 else 1_048_576,
        ),
        advisory=True,
    ),
    Limit(
        name="memory_maps",
        title="memory maps of a process",
        source="LXD production notes: 262,144 for hosts of many guests",
        found=_sysctl("vm.max_map_count"),
        needed=lambda guests, facts: max(65_530, min(MANY_MAPS, 1024 * guests)),
        remedy=_set("vm.max_map_count", lambda guests: MANY_MAPS),
        advisory=True,
    ),
    *(
        Limit(
            name=f"neighbours_{number}",
            title=f"neighbour table, threshold {number}",
            source="net/core/neighbour.c; Firecracker docs: each guest that speaks with the dom0",
            found=_sysctl(f"net.ipv4.neigh.default.gc_thresh{number}"),
            needed=lambda guests, facts, times=times: times * guests,  # type: ignore[misc]
            remedy=_set(
                f"net.ipv4.neigh.default.gc_thresh{number}",
                lambda guests, times=times: times * max(1024, power_of_two(guests)),  # type: ignore[misc]
            ),
            advisory=True,
        )
        for number, times in ((1, 1), (2, 2), (3, 4))
    ),
)
