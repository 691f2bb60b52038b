"""Lines of logs as they are written -> the limit that was met."""

from __future__ import annotations

import pytest

from fleet_agent.core.limits.met import LINE_LENGTH, LimitMet, explained, limits_met, newest_of_each

LINES = [
    ("(XEN) Cannot handle page request order 0!", "xenheap"),
    ("kernel panic: No available IRQ to bind to: increase NR_IRQS!", "dynamic_irqs"),
    ("No available IRQ to bind to: increase nr_irqs!", "dynamic_irqs"),
    ("xenconsole: Unable to open tty /dev/pts/86: No such file or directory", "ptys"),
    (
        "xenconsoled: Failed to create tty for domain-86 (errno = 28, No space left on device)",
        "ptys",
    ),
    (
        "xenconsoled[512]: Failed to create tty for domain-341 (errno = 24, Too many open files)",
        "xenconsoled_files",
    ),
    (
        "Unable to increase fd limit from {1024, 1024} to {132008, 132008}: (Operation not "
        "permitted) - May run out with lots of domains",
        "xenconsoled_files",
    ),
    (
        "libxl: libxl_create.c:2037:console_xswait_callback: domain 2 console tty: timed out",
        "xenconsoled_files",
    ),
    ("oxenstored[500]: accept: Too many open files", "xenstored_files"),
    ("libvirtd[520]: Unable to accept: virNetSocketAccept: Too many open files", "libvirtd_files"),
    ("(XEN) grant_table.c:1029:d0v3 Failed to obtain maptrack handle", "maptrack_frames"),
    (
        "xen:grant_table: xen/grant-table: max_grant_frames reached cur=32 extra=1 limit=32 "
        "gnttab_free_count=1 req_entries=32",
        "grant_frames",
    ),
    (
        "xen-blkback: domain 7, device 0xca00 is using maximum number of persistent grants",
        "persistent_grants",
    ),
    ("libxl: error: xenstore write of /local/domain/9: E2BIG", "xenstored_quota"),
    (
        "xc: error: xg_dom_core.c:675:xc_dom_alloc_segment: panic: segment kernel too large "
        "(0x2000 > 0x1000 - 0x400 pages)",
        "guest_memory",
    ),
    (
        "xc: error: xg_dom_x86.c:417:count_pgtables: not enough memory for initial mapping",
        "guest_memory",
    ),
    (
        "libxl: libxl_create.c:1:initiate_domain_create: failed to free memory for the domain",
        "memory_fit",
    ),
    ("neighbour: arp_cache: neighbor table overflow!", "neighbours_3"),
    ("bash: fork: retry: Resource temporarily unavailable", "pids"),
    ("can't add vif7.0 to bridge xenbr0: Exchange full", "bridge_ports"),
]


@pytest.mark.parametrize(("line", "limit"), LINES)
def test_each_line_names_its_limit(line: str, limit: str) -> None:
    (met,) = limits_met(f"something before\n{line}\nsomething after\n", "a log")
    assert (met.limit, met.line, met.where) == (limit, line, "a log")
    assert met.meaning


@pytest.mark.parametrize(
    "line",
    [
        "(XEN) Xen version 4.20.3",
        "xen:events: Using FIFO-based ABI",
        "xen-blkback: backend/vbd/7/51712: using 1 queues, protocol 1, persistent grants",
        "NR_IRQS: 524544, nr_irqs: 1024, preallocated irqs: 16",
        "xenconsoled[512]: Removing domain-7",
        "libxl: libxl_create.c:1:do_domain_create: Domain 7:creation started",
        "",
    ],
)
def test_other_lines_name_none(line: str) -> None:
    assert limits_met(line, "a log") == () and explained(line) == ""


def test_the_newest_of_each_is_kept_and_bounded() -> None:
    full = "xenconsoled[1]: Failed to create tty for domain-%d (errno = 24, Too many open files)"
    text = "\n".join([full % 1, "(XEN) Cannot handle page request order 0!", full % 2])
    met = limits_met(text, "the journal")
    assert [one.limit for one in met] == ["xenheap", "xenconsoled_files"]
    assert met[1].line == full % 2
    long = limits_met("neighbor table overflow " + "x" * 9999, "k")
    assert len(long[0].line) == LINE_LENGTH
    twice = (
        LimitMet("a", "1", "x", "m"),
        LimitMet("a", "2", "x", "m"),
        LimitMet("a", "3", "y", "m"),
    )
    assert [one.line for one in newest_of_each(twice)] == ["2", "3"]


def test_what_is_told_of_a_vm_says_what_to_do() -> None:
    told = explained("xenconsoled: create tty: (errno = 24, Too many open files)")
    assert told == "xenconsoled ran out of open files; run 'fleetctl tune HOST --apply'"
