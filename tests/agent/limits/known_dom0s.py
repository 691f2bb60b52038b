"""Dom0s of which every fact is known, and others that differ from them in one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.limits.dom0_facts import (
    Dom0Facts,
    Footprint,
    Process,
    Qemu,
    Xen,
    options_of,
)
from fleet_agent.core.limits.qemu import LIMITS as QEMU_LIMITS
from fleet_agent.core.limits.table import BY_NAME
from fleet_agent.core.limits.verdicts import (
    Standing,
    Verdict,
    judge,
)

MIB, GIB = 2**20, 2**30
PASS, FIXABLE, REBOOT = Standing.PASS, Standing.FIXABLE, Standing.NEEDS_REBOOT
ABSENT, UNKNOWN = Standing.NOT_APPLICABLE, Standing.UNKNOWN

MODERN = Dom0Facts(
    kernel=(6, 12),
    xen=Xen((4, 20), options_of("dom0_mem=16G,max:16G conring_size=1M"), 128 * GIB),
    zvols=True,
    cpus=8,
    dom0_memory_bytes=16 * GIB,
    two_level_events=False,
    sysctls={
        "fs.aio-max-nr": 1_048_576,
        "fs.inotify.max_user_instances": 1_048_576,
        "kernel.pid_max": 4_194_303,
        "kernel.pty.max": 8192,
        "kernel.pty.reserve": 1024,
        "net.ipv4.neigh.default.gc_thresh1": 1024,
        "net.ipv4.neigh.default.gc_thresh2": 2048,
        "net.ipv4.neigh.default.gc_thresh3": 4096,
        "vm.max_map_count": 262_144,
    },
    parameters={
        "xen_blkback/max_persistent_grants": 352,
        "xen_blkback/max_queues": 1,
        "zfs/zfs_arc_max": 4 * GIB,
        "zfs/zvol_threads": 0,
        "zfs/zvol_volmode": 2,
    },
    processes={
        name: Process(name, pid, 65_536, "xen.service")
        for pid, name in enumerate(("xenconsoled", "xenstored", "libvirtd", "fleet-agent"), 100)
    },
    xenstored="oxenstored",
    xenstored_nodes=1000,
    libvirt_workers=64,
    libvirt_requests=16,
    fast_block_script=True,
    skips_blkid=True,
    pool_bytes=1000,
    pool_free_bytes=500,
    clone_way=CloneWay.VOLUME,
)
OF_QEMU = {one.name for one in QEMU_LIMITS}
PLAIN_LINUX = replace(MODERN, xen=None, qemu_disks=True)
EMULATED = replace(
    PLAIN_LINUX,
    qemu=Qemu(emulated=True, ksm=0),
    cpus=2,
    dom0_memory_bytes=24 * GIB,
    processes={
        **PLAIN_LINUX.processes, "virtlogd": Process("virtlogd", 7, 1024, "virtlogd.service")
    },
)  # fmt: skip
KVM = replace(EMULATED, qemu=Qemu(ksm=1), cpus=32)


CLONES = Footprint(80 * MIB, assumed=False, clones=True)


def of_qemu(base: Dom0Facts = EMULATED, **changes: Any) -> Dom0Facts:
    assert base.qemu is not None
    return replace(base, qemu=replace(base.qemu, **changes))


def verdict(name: str, facts: Dom0Facts, guests: int) -> Verdict:
    return judge((BY_NAME[name],), facts, guests)[0]


def with_option(text: str, version: tuple[int, int] = (4, 20)) -> Dom0Facts:
    return replace(MODERN, xen=Xen(version, options_of(text), 128 * GIB))


def with_sysctl(key: str, value: int) -> Dom0Facts:
    return replace(MODERN, sysctls={**MODERN.sysctls, key: value})


def with_parameter(key: str, value: int) -> Dom0Facts:
    return replace(MODERN, parameters={**MODERN.parameters, key: value})


def with_files(name: str, files: int) -> Dom0Facts:
    process = Process(name, 7, files, "xen.service")
    return replace(MODERN, processes={**MODERN.processes, name: process})
