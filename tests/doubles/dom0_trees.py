"""Hosts as trees of files, with the output of their commands beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fleet_agent.dom0.host_tree import CannotRead, HostTree

COMMANDS = "commands"

SYSCTLS = {
    "fs/aio-max-nr": "65536",
    "fs/inotify/max_user_instances": "128",
    "kernel/pid_max": "32768",
    "kernel/pty/max": "4096",
    "kernel/pty/reserve": "1024",
    "net/ipv4/neigh/default/gc_thresh1": "128",
    "net/ipv4/neigh/default/gc_thresh2": "512",
    "net/ipv4/neigh/default/gc_thresh3": "1024",
    "vm/max_map_count": "65530",
}
XL_INFO = """\
host                   : dom0-1
release                : {release}
nr_cpus                : 16
total_memory           : {memory}
free_memory            : 60000
xen_major              : {major}
xen_minor              : {minor}
xen_extra              : .3
xen_version            : {major}.{minor}.3
xen_commandline        : {command_line}
"""
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max cpu time              unlimited            unlimited            seconds
Max open files            {soft:<20} {hard:<20} files
Max locked memory         8388608              8388608              bytes
"""
AGENT_PID = 900


class Tree:
    """Files below a folder; `tree` reads them as a host's."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ran: list[tuple[str, ...]] = []

    @property
    def tree(self) -> HostTree:
        return HostTree(self.root, self.run)

    def run(self, command: Sequence[str]) -> str:
        self.ran.append(tuple(command))
        try:
            return (self.root / COMMANDS / "-".join(command[:2])).read_text()
        except OSError as error:
            raise CannotRead(f"there is no {command[0]} here") from error

    def put(self, path: str, text: str) -> None:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n" if text and not text.endswith("\n") else text)

    def text(self, path: str) -> str:
        return (self.root / path.lstrip("/")).read_text()

    def process(self, pid: int, name: str, soft: int, hard: int = 0, unit: str = "") -> None:
        self.put(f"/proc/{pid}/comm", name)
        self.put(f"/proc/{pid}/limits", LIMITS.format(soft=soft, hard=hard or soft))
        self.put(f"/proc/{pid}/cgroup", f"0::/system.slice/{unit}" if unit else "0::/")
        self.put(f"/proc/{pid}/stat", f"{pid} ({name} x) S {' '.join(['1'] * 18)} {pid}00 7")

    def contents(self) -> Mapping[str, str]:
        """Every file and link below the root: to tell whether something is as it was."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_file():
                found[name] = path.read_text()
            else:
                found[name] = "folder"
        return found


def linux(root: Path, release: str) -> Tree:
    made = Tree(root)
    made.put("/proc/sys/kernel/osrelease", release)
    for key, value in SYSCTLS.items():
        made.put(f"/proc/sys/{key}", value)
    made.put("/sys/devices/system/cpu/online", "0-7")
    made.put("/proc/meminfo", "MemTotal:        8388608 kB\nMemFree:  100 kB")
    made.put("/proc/pressure/cpu", "some avg10=5.57 avg60=6.01 avg300=8.56 total=20516099788")
    made.put("/proc/cmdline", "placeholder root=/dev/sda1 ro")
    made.process(AGENT_PID, "fleet-agent", 1_048_576, unit="fleet-agent.service")
    return made


def xen(made: Tree, release: str, version: tuple[int, int], command_line: str, memory: int) -> None:
    """`memory` of the whole host in MiB."""
    made.put("/sys/hypervisor/type", "xen")
    made.put("/sys/hypervisor/version/major", str(version[0]))
    made.put("/sys/hypervisor/version/minor", str(version[1]))
    made.put("/proc/xen/capabilities", "control_d")
    told = XL_INFO.format(
        release=release, memory=memory, major=version[0], minor=version[1],
        command_line=command_line,
    )  # fmt: skip
    made.put(f"/{COMMANDS}/xl-info", told)
    made.put("/etc/xen/scripts/block", "#!/bin/bash")


def modern_dom0(
    root: Path,
    command_line: str = "placeholder dom0_mem=8G,max:8G dom0_max_vcpus=8 conring_size=1M",
) -> Tree:
    """Debian 13 as it is installed, with 64 GiB, nothing tuned."""
    release = "6.12.57+deb13-amd64"
    made = linux(root, release)
    xen(made, release, (4, 20), command_line, 65_536)
    made.put(
        "/dev/kmsg",
        "6,0,0,-;NR_IRQS: 524544, nr_irqs: 1024\n"
        "6,1,0,-;xen:events: Using FIFO-based ABI\n SUBSYSTEM=x\n",
    )
    for key, value in {
        "xen_blkback/parameters/max_persistent_grants": "1056",
        "xen_blkback/parameters/max_queues": "8",
        "zfs/parameters/zfs_arc_max": "0",
        "zfs/parameters/zvol_threads": "0",
        "zfs/parameters/zvol_volmode": "1",
    }.items():
        made.put(f"/sys/module/{key}", value)
    made.process(500, "oxenstored", 1_048_576, unit="xen.service")
    made.process(510, "xenconsoled", 132_008, unit="xen.service")
    made.process(520, "libvirtd", 1024, 524_288, unit="libvirtd.service")
    made.put("/etc/libvirt/libvirtd.conf", "#max_workers = 20\n")
    made.put("/etc/xen/xl.conf", '#autoballoon="auto"\n')
    return made


def dom0_of_2009(root: Path) -> Tree:
    """Xen 3.3 under a 2.6.18 kernel, as one was found to be at its limits."""
    release = "2.6.18-xen"
    made = linux(root, release)
    xen(made, release, (3, 3), "dom0_mem=2048M xenheap_megabytes=256", 32_768)
    made.put("/dev/kmsg", "<6>NR_IRQS:768\n")
    made.process(500, "xenstored", 1024)
    made.process(510, "xenconsoled", 1024)
    return made


def kvm_host(root: Path) -> Tree:
    made = linux(root, "6.1.0-38-amd64")
    made.process(520, "libvirtd", 8192, 524_288, unit="libvirtd.service")
    made.process(530, "virtlogd", 1024, 524_288, unit="virtlogd.service")
    made.put("/etc/libvirt/virtlogd.conf", "#max_clients = 1024\nmax_clients = 64\n")
    made.put("/sys/kernel/mm/ksm/run", "0")
    made.put("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8")
    made.put("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "1")
    made.put("/dev/net/tun", "")
    return made
