"""Limits that were met, recognised in the words of Xen, the kernel, the daemons and libxl."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LINE_LENGTH = 240


@dataclass(frozen=True, slots=True)
class Signature:
    """Words that tell a limit, named as in the table, and what they mean."""

    limit: str
    words: re.Pattern[str]
    meaning: str
    remedy: str


@dataclass(frozen=True, slots=True)
class LimitMet:
    limit: str
    line: str
    where: str
    meaning: str


def _signature(limit: str, words: str, meaning: str, remedy: str) -> Signature:
    return Signature(limit, re.compile(words, re.IGNORECASE), meaning, remedy)


_TUNE = "run 'fleetctl tune HOST --apply'"
_DOCTOR = "see 'fleetctl doctor HOST'"
_NO_FILES = r"too many open files|\berrno = 24\b|\bEMFILE\b"

# The first row that fits a line counts.
SIGNATURES = (
    # xen/common/page_alloc.c of Xen 3.3 and before, on its heap.
    _signature(
        "xenheap", r"Cannot handle page request order \d", "Xen's heap was exhausted",
        "boot Xen with a larger xenheap_megabytes, or a newer Xen",
    ),
    # drivers/xen/events: find_unbound_irq; and what it became when it no longer panics.
    _signature(
        "dynamic_irqs", r"No available IRQ to bind to|increase NR_IRQS",
        "the dom0's kernel ran out of dynamic IRQs", _DOCTOR,
    ),
    # Opening a pty past kernel.pty.max fails with ENOSPC: no space left on device (errno 28).
    _signature(
        "ptys", r"Unable to open tty|create tty.*(errno = 28|no space left)|openpty.*no space left",
        "the dom0 ran out of pseudo-terminals", _TUNE,
    ),
    # tools/console/daemon/io.c
    _signature(
        "xenconsoled_files",
        rf"(xenconsoled|create tty|console).*({_NO_FILES})|({_NO_FILES}).*xenconsoled",
        "xenconsoled ran out of open files", _TUNE,
    ),
    # tools/console/daemon/main.c
    _signature(
        "xenconsoled_files", r"Unable to increase fd limit from",
        "xenconsoled could not raise its limit of open files", _TUNE,
    ),
    _signature(
        "xenstored_files", rf"xenstored.*({_NO_FILES})|({_NO_FILES}).*xenstored",
        "xenstored ran out of open files", _TUNE,
    ),
    _signature(
        "libvirtd_files", rf"(libvirtd|virtxend|virnetsocket|rpc).*({_NO_FILES})",
        "libvirtd ran out of open files", _TUNE,
    ),
    # xen/common/grant_table.c
    _signature(
        "maptrack_frames", r"Failed to obtain maptrack handle|No more map handles",
        "the dom0 may map no more grants: disks and networks of guests fail", _DOCTOR,
    ),
    # drivers/xen/grant-table.c
    _signature(
        "grant_frames", r"max_grant_frames reached",
        "a guest used up its grant frames", _DOCTOR,
    ),
    # drivers/block/xen-blkback/blkback.c
    _signature(
        "persistent_grants", r"maximum number of persistent grants",
        "a disk reached its persistent grants", _TUNE,
    ),
    # tools/xenstored: quotas answer E2BIG or ENOSPC (libxl prints errno's words).
    _signature(
        "xenstored_quota", r"\bE2BIG\b|xenstore.*(quota|argument list too long)|quota.*xenstore",
        "a guest reached its quota in xenstore", _DOCTOR,
    ),
    # drivers/xen/events, evtchn: EVTCHNOP_alloc_unbound or bind answers ENOSPC.
    _signature(
        "event_channels", r"(evtchn|event channel).*(no space left|ENOSPC|exhausted|no free port)",
        "the event channels of a domain were exhausted", _DOCTOR,
    ),
    # net/core/neighbour.c
    _signature(
        "neighbours_3", r"neighbor table overflow|neighbour.*table overflow",
        "the dom0's neighbour table is full", _TUNE,
    ),
    # kernel/fork.c is silent; the C library's words of a fork that failed.
    _signature(
        "pids", r"fork.*resource temporarily unavailable|cgroup: fork rejected",
        "the dom0 could start no more processes", _TUNE,
    ),
    # br_if.c: br_add_if answers EXFULL, which is "Exchange full".
    _signature(
        "bridge_ports", r"exchange full", "a bridge has all the ports it can have", _DOCTOR
    ),
    # libxc, xg_dom_core.c and xg_dom_x86.c: the guest's own memory, not the host's.
    _signature(
        "guest_memory", r"segment \w+ too large|count_pgtables: not enough memory",
        "the guest has too little memory for its own kernel and initrd",
        "give it more (memory in the fleet file)",
    ),
    # tools/libs/light: no memory for a guest that is to start.
    _signature(
        "memory_fit", r"failed to free memory for the domain|not enough memory to start",
        "the host had no memory left for the guest", _DOCTOR,
    ),
    # src/qemu/qemu_domain.c of libvirt, with the user and group that its QEMU runs as.
    _signature(
        "disk_access", r"cannot access (storage|backing) file.*permission denied",
        "QEMU's user may not enter one of the folders above it",
        "let it pass ('chmod o+x' on each), or name another folder (storage.parent)",
    ),
    # tools/libs/light/libxl_create.c
    _signature(
        "xenconsoled_files", r"console tty: timed out",
        "xenconsoled did not take up a console: it is out of open files, or the dom0 is very busy",
        _DOCTOR,
    ),
)  # fmt: skip


def signature_of(line: str) -> Signature | None:
    return next((one for one in SIGNATURES if one.words.search(line)), None)


def limits_met(text: str, where: str) -> tuple[LimitMet, ...]:
    """The newest line of each limit in a log, in the order of their appearance."""
    found: dict[tuple[str, str], LimitMet] = {}
    for line in text.splitlines():
        if (known := signature_of(line)) is not None:
            key = (known.limit, known.meaning)
            found.pop(key, None)
            shown = line.strip()[:LINE_LENGTH]
            found[key] = LimitMet(known.limit, shown, where, known.meaning)
    return tuple(found.values())


def newest_of_each(met: Iterable[LimitMet]) -> tuple[LimitMet, ...]:
    """One of each limit and log."""
    return tuple({(one.limit, one.where): one for one in met}.values())


def explained(line: str) -> str:
    """What to append to an error of a VM's start: the limit met, in words, and what to do.
    Empty when no limit is told."""
    known = signature_of(line)
    return f"{known.meaning}; {known.remedy}" if known else ""
