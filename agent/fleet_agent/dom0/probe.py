"""Reads a dom0's facts. Nothing that is missing or broken ends the reading: it is unread."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet_agent.core.domain.disks import CloneWay
from fleet_agent.core.limits.dom0_facts import (
    ASSUMED,
    Dom0Facts,
    Footprint,
    Process,
    Qemu,
    Version,
    Xen,
    options_of,
)
from fleet_agent.core.limits.qemu import KSM_FILE
from fleet_agent.core.limits.remedies import (
    BLOCK_PROGRAM,
    BLOCK_SCRIPT,
    MODPROBE_FILE,
    SYSCTL_FILE,
    UDEV_FILE,
)
from fleet_agent.dom0.cpu_pressure import FILE, pressure_of
from fleet_agent.dom0.host_tree import CannotRead, HostTree
from fleet_agent.dom0.processes import daemons
from fleet_agent.dom0.qemu_probe import read_qemu

MIB = 1024 * 1024

SYSCTLS = (
    "fs.aio-max-nr",
    "fs.inotify.max_user_instances",
    "kernel.pid_max",
    "kernel.pty.max",
    "kernel.pty.reserve",
    "net.ipv4.neigh.default.gc_thresh1",
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv4.neigh.default.gc_thresh3",
    "vm.max_map_count",
)
PARAMETERS = (
    "xen_blkback/max_persistent_grants",
    "xen_blkback/max_queues",
    "zfs/zfs_arc_max",
    "zfs/zvol_threads",
    "zfs/zvol_volmode",
)
UDEV_FOLDERS = ("/etc/udev/rules.d", "/run/udev/rules.d")
# include/public/features.h: XENFEAT_dom0.
DOM0_FEATURE = 1 << 11
# kernel/irq/internals.h before Linux 6.5: IRQ_BITMAP_BITS is NR_IRQS and so many.
SPARSE_IRQS, SPARSE_KERNEL = 8196, (3, 0)
# A link of this name is a fast path, ours or the site's own.
FAST_SCRIPT = re.compile(r"^(block-fast|block-phy|megafleet-block)")


@dataclass(frozen=True, slots=True)
class ProbeInputs:
    """What the agent knows beside the host's files."""

    accelerator: str = ""  # of QEMU, kvm or tcg; empty: guests are not QEMU's
    qemu_disks: bool = False
    zvols: bool = True
    pool_bytes: int | None = None
    pool_free_bytes: int | None = None
    clone_way: CloneWay | None = None
    pool_trouble: str = ""
    footprint: Footprint = ASSUMED
    clone_bytes: int = 0  # what a copy of a template takes, as measured
    own_pid: int = field(default_factory=os.getpid)


def read_facts(tree: HostTree, around: ProbeInputs) -> Dom0Facts:
    """Everything the limits are judged from. Blocking; seconds on a slow host."""
    return _Reading(tree, around).facts()


class _Reading:
    """One reading, and what of it failed."""

    def __init__(self, tree: HostTree, around: ProbeInputs) -> None:
        self._tree = tree
        self._around = around
        self._unread: dict[str, str] = {}
        self._log: str | None = None
        self.kernel = _version(self._or_none("kernel", "/proc/sys/kernel/osrelease") or "")

    def facts(self) -> Dom0Facts:
        tree, around = self._tree, self._around
        found = daemons(tree, around.own_pid, self._unread)
        xen = self._xen()
        libvirt_conf = f"/etc/libvirt/{found.libvirt or 'libvirtd'}.conf"
        workers, requests = self._libvirt(libvirt_conf, bool(found.libvirt))
        if around.pool_trouble:
            self._unread["pool"] = around.pool_trouble
        return Dom0Facts(
            kernel=self.kernel,
            xen=xen,
            qemu=self._qemu(libvirt_conf),
            qemu_disks=around.qemu_disks or xen is None,
            zvols=around.zvols,
            cpus=self._cpus(),
            tells_pressure=pressure_of(tree.text_or_none(str(FILE)) or "") is not None,
            dom0_memory_bytes=self._dom0_memory(),
            two_level_events=self._two_level_events() if xen else None,
            nr_irqs=self._nr_irqs() if xen else None,
            sysctls=self._numbers(SYSCTLS, lambda key: "/proc/sys/" + key.replace(".", "/")),
            parameters=self._parameters(),
            processes=found.processes,
            xenstored=found.xenstored,
            xenstored_nodes=self._quota() if found.xenstored else None,
            autoballoon=self._setting("/etc/xen/xl.conf", "autoballoon"),
            libvirt_workers=workers,
            libvirt_requests=requests,
            libvirt=found.libvirt or "libvirtd",
            libvirt_conf=libvirt_conf,
            fast_block_script=self._fast_script(),
            fast_block_program=tree.at(BLOCK_PROGRAM).is_file(),
            skips_blkid=self._skips_blkid(),
            pool_bytes=around.pool_bytes,
            pool_free_bytes=around.pool_free_bytes,
            clone_way=around.clone_way,
            own_files=self._own_files(found.processes),
            footprint=around.footprint,
            unread=self._unread,
        )

    def _qemu(self, libvirt_conf: str) -> Qemu | None:
        kind = self._around.accelerator
        if not kind:
            return None
        clone_bytes = self._around.clone_bytes
        return read_qemu(self._tree, kind == "tcg", libvirt_conf, clone_bytes)

    # Xen ----------------------------------------------------------------------------------

    def _xen(self) -> Xen | None:
        if not self._is_dom0():
            return None
        info = self._xl_info()
        version = self._xen_version(info)
        command_line, total = info.get("xen_commandline"), info.get("total_memory", "")
        return Xen(
            version,
            None if command_line is None else options_of(command_line),
            int(total) * MIB if total.isdecimal() else None,
        )

    def _is_dom0(self) -> bool:
        tree = self._tree
        if "control_d" in (tree.text_or_none("/proc/xen/capabilities") or ""):
            return True
        if (tree.text_or_none("/sys/hypervisor/type") or "").strip() != "xen":
            return False
        try:
            features = int(tree.text("/sys/hypervisor/properties/features").strip(), 16)
        except (CannotRead, ValueError):
            return False
        return bool(features & DOM0_FEATURE)

    def _xl_info(self) -> dict[str, str]:
        """Empty when xl does not answer."""
        try:
            printed = self._tree.run(["xl", "info"])
        except CannotRead as error:
            self._unread["xen_options"] = str(error)
            return {}
        pairs = (line.partition(":") for line in printed.splitlines())
        return {key.strip(): value.strip() for key, colon, value in pairs if colon}

    def _xen_version(self, info: dict[str, str]) -> Version:
        try:
            folder = "/sys/hypervisor/version"
            return self._tree.number(f"{folder}/major"), self._tree.number(f"{folder}/minor")
        except CannotRead:
            return _version(f"{info.get('xen_major', '')}.{info.get('xen_minor', '')}")

    def _two_level_events(self) -> bool:
        if "Using FIFO-based ABI" in self._kernel_log:
            return False
        if "Using 2-level ABI" in self._kernel_log:
            return True
        options = options_of(self._tree.text_or_none("/proc/cmdline") or "")
        return options.get("xen.fifo_events", "1").lower() in ("0", "n", "no", "false", "off")

    def _nr_irqs(self) -> int | None:
        sparse = self.kernel >= SPARSE_KERNEL
        found = re.search(r"\bNR_IRQS:\s*(\d+)", self._kernel_log)
        if found:
            return int(found[1]) + (SPARSE_IRQS if sparse else 0)
        if sparse and (most := self._number_or_none("/sys/devices/system/cpu/kernel_max")):
            # arch/x86/include/asm/irq_vectors.h: 256 vectors, and 64 for each possible CPU.
            return 256 + 64 * (most + 1) + SPARSE_IRQS
        self._unread["nr_irqs"] = "the kernel's log no longer says NR_IRQS"
        return None

    @property
    def _kernel_log(self) -> str:
        if self._log is None:
            self._log = self._tree.kernel_log()
        return self._log

    # The rest of the host -----------------------------------------------------------------

    def _cpus(self) -> int | None:
        text = self._or_none("cpus", "/sys/devices/system/cpu/online")
        ranges = [part.partition("-") for part in (text or "").strip().split(",") if part]
        try:
            return sum(int(last or first) - int(first) + 1 for first, _, last in ranges) or None
        except ValueError:
            return None

    def _dom0_memory(self) -> int | None:
        folder = "/sys/devices/system/xen_memory/xen_memory0/info"
        held = self._number_or_none(f"{folder}/current_kb")
        if held is not None:
            return held * 1024
        meminfo = self._or_none("dom0_memory", "/proc/meminfo") or ""
        total = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
        return int(total[1]) * 1024 if total else None

    def _numbers(self, names: tuple[str, ...], path_of: Callable[[str], str]) -> dict[str, int]:
        found = {}
        for name in names:
            try:
                found[name] = self._tree.number(path_of(name))
            except CannotRead as error:
                self._unread[name] = str(error)
        return found

    def _parameters(self) -> dict[str, int]:
        """Of modules that are loaded: those of others are no trouble."""
        names = [
            one for one in PARAMETERS if self._tree.at(f"/sys/module/{one.split('/')[0]}").is_dir()
        ]
        return self._numbers(
            tuple(names), lambda name: "/sys/module/" + name.replace("/", "/parameters/")
        )

    def _libvirt(self, conf: str, runs: bool) -> tuple[int | None, int | None]:
        """(max_workers, max_client_requests); libvirtd's defaults where its file says nothing."""
        if not runs and self._tree.text_or_none(conf) is None:
            self._unread["libvirt_conf"] = "no libvirtd is running"
            return None, None
        workers, requests = (
            self._setting(conf, key) for key in ("max_workers", "max_client_requests")
        )
        return (
            int(workers) if workers.isdecimal() else 20,
            int(requests) if requests.isdecimal() else 5,
        )

    def _quota(self) -> int:
        """tools/xenstored and oxenstored: 1,000 nodes a domU unless told otherwise."""
        setting = self._setting("/etc/xen/oxenstored.conf", "quota-maxentity")
        return int(setting) if setting.isdecimal() else 1000

    def _setting(self, file: str, key: str) -> str:
        """The last `key = value` of a file, without quotes; empty where there is none."""
        text = self._tree.text_or_none(file) or ""
        found = re.findall(rf"^\s*{re.escape(key)}\s*=\s*(.*?)\s*$", text, re.MULTILINE)
        return found[-1].strip("\"'") if found else ""

    def _fast_script(self) -> bool | None:
        script = self._tree.at(BLOCK_SCRIPT)
        if script.is_symlink():
            return bool(FAST_SCRIPT.match(os.path.basename(os.readlink(script))))
        if script.is_file():
            return False
        self._unread["block_hotplug"] = f"there is no {BLOCK_SCRIPT}"
        return None

    def _skips_blkid(self) -> bool:
        for folder in UDEV_FOLDERS:
            for name in self._tree.names(folder):
                text = self._tree.text_or_none(f"{folder}/{name}") or ""
                if 'KERNEL=="zd*"' in text and "UDEV_DISABLE_PERSISTENT_STORAGE_RULES" in text:
                    return True
        return False

    def _own_files(self, processes: dict[str, Process]) -> dict[str, str]:
        units = {one.unit for one in processes.values() if one.unit}
        drop_ins = (f"/etc/systemd/system/{unit}.d/megafleet.conf" for unit in sorted(units))
        texts = (
            (path, self._tree.text_or_none(path))
            for path in (SYSCTL_FILE, MODPROBE_FILE, UDEV_FILE, KSM_FILE, *drop_ins)
        )
        return {path: text for path, text in texts if text is not None}

    def _or_none(self, name: str, path: str) -> str | None:
        try:
            return self._tree.text(path)
        except CannotRead as error:
            self._unread[name] = str(error)
            return None

    def _number_or_none(self, path: str) -> int | None:
        try:
            return self._tree.number(path)
        except CannotRead:
            return None


def _version(text: str) -> Version:
    """(0, 0) when the text begins with none."""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
