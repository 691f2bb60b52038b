"""Limits of a host whose guests are processes of QEMU.

The figures were measured with QEMU 7.2 and libvirt 9.0, on guests as the agent defines them.
"""

from __future__ import annotations

from collections.abc import Callable

from fleet_agent.core.limits.dom0_facts import MIB, Dom0Facts, Qemu
from fleet_agent.core.limits.remedies import (
    KeptLine,
    Remedy,
    WriteValue,
    by_hand,
    files_of,
    power_of_two,
)
from fleet_agent.core.limits.verdicts import Found, Limit, NotApplicable, Unread
from fleet_agent.core.limits.words import memory, named, or_unread

# Of one QEMU beside the memory of its guest, in proportional shares of pages (PSS): 36 MiB before
# the guest runs, 14 of them the kernel's file. Emulation: 3 more, and a translation cache of 20. A
# few are to spare.
OVERHEAD, OVERHEAD_EMULATED = 40 * MIB, 64 * MIB
# Of a guest while none is assigned: a small Linux, which does not boot with 64 MiB.
ASSUMED_MEMORY = 96 * MIB
# Of the host itself: a sixteenth of its memory, half a GiB at least.
OWN_SHARE, OWN_LEAST = 16, 512 * MIB
# Idle, one CPU of an emulated guest takes 0.28 % of a core (50 Linux guests with ACPI). As much
# again is left for their starts, at 2 CPU seconds each, and for whatever they do.
IDLE_SHARE = 0.0028 * 2
# Of a copy of a template, measured with 250 of a small guest; its start takes a tenth of a boot.
CLONE_IDLE_SHARE = 0.0016 * 2
# What a copy takes beside the memory that all share, until some were measured on this host: 27 MiB
# at 250 of a small guest, and a margin.
CLONE_BYTES = 36 * MIB
# Red Hat, Virtualization Tuning: no more than ten virtual CPUs on one core.
CPUS_A_CORE = 10
# libvirt's log daemon: for each guest QEMU's own log and the console's, and a pipe to each.
LOG_FILES_A_GUEST, LOG_FILES_BESIDE = 4, 64
# Clients at once: the agent, people, and with virtlogd one for each start under way.
CLIENTS = 32

KSM_FILE = "/etc/tmpfiles.d/megafleet.conf"
_KSM = "/sys/kernel/mm/ksm"


def of_qemu(read: Callable[[Dom0Facts, Qemu], Found]) -> Callable[[Dom0Facts], Found]:
    """For rows that only a host of QEMU has."""
    absent = NotApplicable("guests here are not QEMU's")
    return lambda facts: absent if facts.qemu is None else read(facts, facts.qemu)


def memory_a_guest(facts: Dom0Facts) -> int:
    if facts.footprint.clones:
        return (facts.qemu.clone_bytes if facts.qemu else 0) or CLONE_BYTES
    emulated = facts.qemu is not None and facts.qemu.emulated
    size = ASSUMED_MEMORY if facts.footprint.assumed else facts.footprint.memory_bytes
    return size + (OVERHEAD_EMULATED if emulated else OVERHEAD)


def idle_share(facts: Dom0Facts) -> float:
    return CLONE_IDLE_SHARE if facts.footprint.clones else IDLE_SHARE


def _memory(facts: Dom0Facts, qemu: Qemu) -> Found:
    whole = facts.dom0_memory_bytes
    if whole is None:
        return or_unread(None, facts, "dom0_memory")
    return max(0, whole - max(OWN_LEAST, whole // OWN_SHARE) - qemu.hugepages_bytes)


def _needed_memory(guests: int, facts: Dom0Facts) -> int:
    return guests * memory_a_guest(facts)


def _is_short(guests: int, facts: Dom0Facts) -> bool:
    found = _memory(facts, facts.qemu) if facts.qemu else None
    return isinstance(found, int) and found < _needed_memory(guests, facts)


def _emulated_cores(facts: Dom0Facts, qemu: Qemu) -> Found:
    """In thousandths of a core."""
    if not qemu.emulated:
        return NotApplicable("KVM runs the guests here")
    return or_unread(None if facts.cpus is None else facts.cpus * 1000, facts, "cpus")


def _cores(facts: Dom0Facts, qemu: Qemu) -> Found:
    if qemu.emulated:
        return NotApplicable("guests here are emulated: see emulated_cores")
    return or_unread(facts.cpus, facts, "cpus")


def _vhost(facts: Dom0Facts, qemu: Qemu) -> Found:
    if not facts.footprint.vifs:
        return NotApplicable("the VMs assigned have no network interface")
    return int(qemu.vhost_net)


def _tun(facts: Dom0Facts, qemu: Qemu) -> Found:
    if not facts.footprint.vifs:
        return NotApplicable("the VMs assigned have no network interface")
    return int(qemu.tun)


def _ksm(facts: Dom0Facts, qemu: Qemu) -> Found:
    return Unread("this kernel merges no pages") if qemu.ksm is None else int(qemu.ksm == 1)


def _merge(guests: int, facts: Dom0Facts) -> Remedy:
    line = f"w {_KSM}/run - - - - 1"
    return Remedy(
        line,
        KSM_FILE,
        live=(WriteValue(f"{_KSM}/run", "1"),),
        kept=(KeptLine(KSM_FILE, line, line),),
    )


def _load(module: str) -> Callable[[int, Dom0Facts], Remedy]:
    return lambda guests, facts: by_hand(
        f"modprobe {module}; and at each boot: echo {module} > /etc/modules-load.d/megafleet.conf"
    )


def _log_files(facts: Dom0Facts, qemu: Qemu) -> Found:
    process = facts.processes.get("virtlogd")
    if process is None:
        return Unread(facts.unread.get("virtlogd", "virtlogd is not running"))
    return process.files


def _raise_log_files(guests: int, facts: Dom0Facts) -> Remedy:
    process = facts.processes.get("virtlogd")
    unit = process.unit if process else ""
    return files_of("virtlogd", unit, max(65_536, power_of_two(8 * guests)))


def _thousandths(value: int) -> str:
    return f"{value / 1000:.2f} cores"


LIMITS = (
    Limit(
        name="qemu_memory",
        title="memory for QEMU's guests",
        source="guests x (memory + 40 MiB, emulated 64: measured PSS, 14 of it the kernel's file, "
        "20 TCG's translation cache: with 8, 16, 32 MiB of that a boot took 4.6, 2.5, 2.1 CPU s) "
        "beside a sixteenth for the host and reserved huge pages; memory is the mean of the VMs "
        "assigned, 96 MiB while there are none. Copies of a template: guests x what they take here "
        "as measured (PSS; 36 MiB until some run). Not counted on: merging (KSM), and a balloon "
        "with free-page reporting, which gave back 28 MiB of 256 and nothing of 96: it is left out",
        found=of_qemu(_memory),
        needed=_needed_memory,
        remedy=lambda guests, facts: by_hand(
            "give the host more memory, or its guests less (memory in the fleet file)"
        ),
        shown=memory,
    ),
    Limit(
        name="emulated_cores",
        title="cores for emulated guests",
        source="measured: 0.28 % of a core for each idle CPU of a guest, and as much for starts "
        "and work; TCG of QEMU 7.2",
        found=of_qemu(_emulated_cores),
        needed=lambda guests, facts: (
            -(-round(guests * facts.footprint.vcpus * idle_share(facts) * 100_000) // 100)
        ),
        remedy=lambda guests, facts: by_hand(
            "give the host more cores, or use one whose processor virtualises"
        ),
        shown=_thousandths,
    ),
    Limit(
        name="guest_cpus",
        title="cores for guests' CPUs",
        source="Red Hat, Virtualization Tuning: at most 10 virtual CPUs a core",
        found=of_qemu(_cores),
        needed=lambda guests, facts: -(-guests * facts.footprint.vcpus // CPUS_A_CORE),
        remedy=lambda guests, facts: by_hand("give the host more cores, or its guests fewer CPUs"),
        advisory=True,
    ),
    Limit(
        name="accelerator",
        title="what runs the guests",
        source="the agent's own trial; emulated, a small Linux boots in 2 CPU seconds or more",
        found=of_qemu(lambda facts, qemu: int(not qemu.emulated)),
        needed=lambda guests, facts: 1,
        remedy=lambda guests, facts: by_hand(
            "switch the processor's virtualisation on, or nested virtualisation where this is a VM "
            "itself; 'fleetctl hosts show' says why KVM is not used"
        ),
        advisory=True,
        shown=named({0: "emulation (TCG)", 1: "KVM"}),
    ),
    Limit(
        name="virtlogd_files",
        title="open files of virtlogd",
        source="measured: 4 a guest (QEMU's log, the console's log, a pipe to each), and 64",
        found=of_qemu(_log_files),
        needed=lambda guests, facts: LOG_FILES_BESIDE + guests * LOG_FILES_A_GUEST,
        remedy=_raise_log_files,
    ),
    Limit(
        name="virtlogd_clients",
        title="virtlogd's clients at once",
        source="virtlogd.conf, max_clients: 1,024 by default; one for each start under way",
        found=of_qemu(lambda facts, qemu: qemu.virtlogd_clients),
        needed=lambda guests, facts: CLIENTS,
        remedy=lambda guests, facts: by_hand(
            "max_clients = 1024", "/etc/libvirt/virtlogd.conf", then="systemctl restart virtlogd"
        ),
        advisory=True,
    ),
    Limit(
        name="libvirtd_clients",
        title="libvirtd's clients at once",
        source="libvirtd.conf, max_clients: 5,000 by default; the agent is one client",
        found=of_qemu(lambda facts, qemu: or_unread(qemu.libvirt_clients, facts, "libvirt_conf")),
        needed=lambda guests, facts: CLIENTS,
        remedy=lambda guests, facts: by_hand(
            "max_clients = 5000", facts.libvirt_conf, then=f"systemctl restart {facts.libvirt}"
        ),
        advisory=True,
    ),
    Limit(
        name="vhost_net",
        title="network in the kernel (vhost_net)",
        source="libvirt, domain format, driver name: else each packet passes through QEMU",
        found=of_qemu(_vhost),
        needed=lambda guests, facts: 1,
        remedy=_load("vhost_net"),
        advisory=True,
        shown=named({0: "not there", 1: "there"}),
    ),
    Limit(
        name="tun",
        title="tap devices (/dev/net/tun)",
        source="libvirt makes one for each interface of a guest",
        found=of_qemu(_tun),
        needed=lambda guests, facts: 1,
        remedy=_load("tun"),
        advisory=True,
        shown=named({0: "not there", 1: "there"}),
    ),
    Limit(
        name="hugepages",
        title="reserved huge pages",
        source="Documentation/admin-guide/mm/hugetlbpage: kept from everybody else; no guest of "
        "ours asks for them",
        found=of_qemu(lambda facts, qemu: qemu.hugepages_bytes),
        needed=lambda guests, facts: 0,
        remedy=lambda guests, facts: by_hand(
            "sysctl vm.nr_hugepages=0, unless another program of this host uses them"
        ),
        advisory=True,
        most=True,
        shown=memory,
    ),
    Limit(
        name="ksm",
        title="merging of equal pages (KSM)",
        source="Documentation/admin-guide/mm/ksm; measured: 50 emulated guests of 80 MiB went from "
        "128 to 89 MiB each in 70 s, clones of a template nothing, which share from the start; "
        "wanted where memory is short",
        found=of_qemu(_ksm),
        needed=lambda guests, facts: int(_is_short(guests, facts)),
        remedy=_merge,
        advisory=True,
        shown=named({0: "off", 1: "on"}),
    ),
)
