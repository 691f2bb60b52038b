"""Limits of the dom0's daemons: xenconsoled, xenstored, libvirtd, the agent, the hotplug script."""

from __future__ import annotations

from collections.abc import Callable

from fleet_agent.core.limits.dom0_facts import Dom0Facts, Xen
from fleet_agent.core.limits.remedies import (
    BLOCK_PROGRAM,
    BLOCK_SCRIPT,
    Remedy,
    SwitchBlockScript,
    by_hand,
    files_of,
    power_of_two,
)
from fleet_agent.core.limits.verdicts import Found, Limit, NotApplicable, Unread
from fleet_agent.core.limits.words import NO_XEN, named, of_xen, or_unread

# tools/console/daemon/main.c: pty master and slave, log file and event channel of each domain;
# what it raises its own limit to, which is four for every domain id there can be and 1,000.
CONSOLE_FILES_A_GUEST, CONSOLE_FILES_WANTED = 4, 132_008
# What is open beside those of domains: 14 were, with 300 domains.
CONSOLE_FILES_BESIDE = 64
# tools/hotplug/Linux/init.d/sysconfig.xencommons: 3 a PV guest, 5 an HVM one, and 30.
STORE_FILES_A_GUEST, STORE_FILES_BESIDE = 5, 30
# One a guest is seen; a second while it starts or somebody reads its console.
FILES_A_GUEST, FILES_BESIDE = 2, 256
# From here on transactions of the C xenstored conflict more often than they succeed.
OXENSTORED_FROM = 500

STORES = {0: "xenstored (C)", 1: "oxenstored"}


def _files(name: str) -> Callable[[Dom0Facts], Found]:
    def found(facts: Dom0Facts) -> Found:
        process = facts.processes.get(name)
        if process is not None:
            return process.files
        return Unread(facts.unread.get(name, f"{name} is not running"))

    return found


def _files_of_xens(name: str) -> Callable[[Dom0Facts], Found]:
    return of_xen(lambda facts, xen: _files(name)(facts))


def _raise(name: str, wanted: Callable[[int], int]) -> Callable[[int, Dom0Facts], Remedy]:
    def remedy(guests: int, facts: Dom0Facts) -> Remedy:
        process = facts.processes.get(name)
        program = facts.xenstored if name == "xenstored" and facts.xenstored else name
        unit = process.unit if process else ""
        made = files_of(name, unit, wanted(guests))
        return made if unit else Remedy(made.line.replace(name, program), live=made.live)

    return remedy


def _store(facts: Dom0Facts, xen: Xen) -> Found:
    if not facts.xenstored:
        return Unread(facts.unread.get("xenstored", "no xenstored is running"))
    return int(facts.xenstored == "oxenstored")


def _hotplug(facts: Dom0Facts, xen: Xen) -> Found:
    if facts.qemu_disks:
        return NotApplicable("disks here are files, which go through the general script")
    fast = facts.fast_block_script
    return or_unread(None if fast is None else int(fast), facts, "block_hotplug")


def _switch(guests: int, facts: Dom0Facts) -> Remedy:
    if not facts.fast_block_program:
        return by_hand(f"install {BLOCK_PROGRAM} (deploy/dom0), then fleetctl tune")
    line = f"ln -s {BLOCK_PROGRAM} {BLOCK_SCRIPT} (the stock script stays as block.stock)"
    return Remedy(line, live=(SwitchBlockScript(),))


def _libvirt_line(text: Callable[[int], str]) -> Callable[[int, Dom0Facts], Remedy]:
    def remedy(guests: int, facts: Dom0Facts) -> Remedy:
        then = f"systemctl restart {facts.libvirt}"
        return by_hand(text(guests), facts.libvirt_conf, then=then)

    return remedy


def _quota(facts: Dom0Facts, xen: Xen) -> Found:
    if facts.xenstored_nodes is None:
        return Unread(facts.unread.get("xenstored_nodes", "the quota is not told"))
    return facts.xenstored_nodes


LIMITS = (
    Limit(
        name="xenconsoled_files",
        title="open files of xenconsoled",
        source="tools/console/daemon/main.c: 4 a guest",
        found=_files_of_xens("xenconsoled"),
        needed=lambda guests, facts: CONSOLE_FILES_BESIDE + guests * CONSOLE_FILES_A_GUEST,
        remedy=_raise("xenconsoled", lambda guests: CONSOLE_FILES_WANTED),
    ),
    Limit(
        name="xenstored_files",
        title="open files of xenstored",
        source="sysconfig.xencommons: 3 a PV guest, 5 an HVM one, and 30",
        found=_files_of_xens("xenstored"),
        needed=lambda guests, facts: STORE_FILES_BESIDE + guests * STORE_FILES_A_GUEST,
        remedy=_raise("xenstored", lambda guests: max(65_536, power_of_two(8 * guests))),
    ),
    Limit(
        name="libvirtd_files",
        title="open files of libvirtd",
        source="1 a guest seen, twice that and 256 beside",
        found=_files("libvirtd"),
        needed=lambda guests, facts: FILES_BESIDE + guests * FILES_A_GUEST,
        remedy=_raise("libvirtd", lambda guests: max(65_536, power_of_two(8 * guests))),
    ),
    Limit(
        name="agent_files",
        title="open files of the agent",
        source="the end of a console's log and a reader's pty a guest, and 256",
        found=_files("fleet-agent"),
        needed=lambda guests, facts: FILES_BESIDE + guests * FILES_A_GUEST,
        remedy=_raise("fleet-agent", lambda guests: 1_048_576),
    ),
    Limit(
        name="xenstored_quota",
        title="xenstore nodes of a guest",
        source="tools/xenstored: 1,000 nodes and 128 watches a domU, the dom0 exempt; past it, "
        "E2BIG",
        found=of_xen(_quota),
        needed=lambda guests, facts: 256,
        remedy=lambda guests, facts: by_hand(
            "quota-maxentity = 1000", "/etc/xen/oxenstored.conf", then="reboot", reboot=True
        ),
        advisory=True,
    ),
    Limit(
        name="xenstored_variant",
        title="xenstored's kind",
        source="oxenstored commit aef35b98: it replays transactions that conflict",
        found=of_xen(_store),
        needed=lambda guests, facts: int(guests > OXENSTORED_FROM),
        remedy=lambda guests, facts: by_hand(
            "XENSTORED=/usr/sbin/oxenstored", "/etc/default/xen", then="reboot", reboot=True
        ),
        advisory=True,
        shown=named(STORES),
    ),
    Limit(
        name="libvirtd_workers",
        title="libvirtd's workers",
        source="libvirtd.conf, max_workers: 20 by default; 32 at 250, 64 at 1,000 recommended",
        found=lambda facts: or_unread(facts.libvirt_workers, facts, "libvirt_conf"),
        needed=lambda guests, facts: 20 if guests < 100 else 32 if guests <= 500 else 64,
        remedy=_libvirt_line(lambda guests: f"max_workers = {32 if guests <= 500 else 64}"),
        advisory=True,
    ),
    Limit(
        name="libvirtd_requests",
        title="libvirtd's calls of one client at once",
        source="libvirtd.conf, max_client_requests: 5 by default, and the agent is one client",
        found=lambda facts: or_unread(facts.libvirt_requests, facts, "libvirt_conf"),
        needed=lambda guests, facts: 5 if guests < 100 else 16,
        remedy=_libvirt_line(lambda guests: "max_client_requests = 16"),
        advisory=True,
    ),
    Limit(
        name="block_hotplug",
        title="the block hotplug script",
        source="tools/hotplug/Linux/block: one lock for all; 5 s a disk where a plain path took "
        "0.8 (the lab)",
        found=lambda facts: NO_XEN if facts.xen is None else _hotplug(facts, facts.xen),
        needed=lambda guests, facts: 1,
        remedy=_switch,
        advisory=True,
        shown=named({0: "Xen's own, serial", 1: "a fast path"}),
    ),
)
