"""The emulated machine: QEMU running Xen, with a fresh overlay and an empty `tank` disk a start."""

import json
import socket
import subprocess
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..building.disk_image import Image
from ..commands import read_output
from ..errors import LabError
from ..folders import Folders
from .process import Process

# The agent's port inside the dom0; outside it is a free loopback port.
AGENT_PORT = 7441
# SMAP as emulated by QEMU 7.2 crashes dom0 at boot; nested SVM has no use here. With AVX, which
# that QEMU emulates for the first time, programs of a busy dom0 ended at random with segmentation
# faults (systemd, libvirtd twice).
_CPU = "max,-svm,-smap,-xsave,-avx,-avx2,-f16c,-fma,-pku"
# Mitigations cost a great deal of time under emulation and protect nobody here.
_XEN_OPTIONS = (
    "console=com1 com1=115200,8n1 loglvl=info guest_loglvl=warning "
    "xpti=off pv-l1tf=off spec-ctrl=no ucode=off cpufreq=none"
)
_KERNEL_OPTIONS = (
    "root=/dev/vda rw console=hvc0 net.ifnames=0 mitigations=off audit=0 quiet loglevel=4"
)
_START_ATTEMPTS = 5
_START_SECONDS = 30.0


@dataclass(frozen=True)
class Size:
    """What the machine has; memory in MiB, the tank disk (sparse) in GiB."""

    memory: int = 8192
    dom0_memory: int = 2048
    cpus: int = 2
    tank: int = 20


@dataclass(frozen=True)
class Machine:
    """A started machine, as remembered in the run folder. Ports are on 127.0.0.1."""

    process: Process
    ssh_port: int
    agent_port: int
    image: str
    started_at: float
    size: Size = field(default_factory=Size)

    def save(self, folders: Folders) -> None:
        fresh = _state_file(folders).with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self), indent=2) + "\n")
        fresh.rename(_state_file(folders))


def _state_file(folders: Folders) -> Path:
    return folders.run / "machine.json"


def running_machine(folders: Folders) -> Machine | None:
    """The machine that the run folder remembers, if it still runs."""
    try:
        state = json.loads(_state_file(folders).read_text())
    except FileNotFoundError:
        return None
    state["process"] = Process(**state["process"])
    state["size"] = Size(**state["size"])
    machine = Machine(**state)
    return machine if machine.process.alive() else None


def require_machine(folders: Folders) -> Machine:
    machine = running_machine(folders)
    if machine is None:
        raise LabError("the lab does not run; start it with: make lab")
    return machine


def start_machine(folders: Folders, image: Image, size: Size) -> Machine:
    """Boot the image on free ports; returns when QEMU runs, long before the dom0 is up."""
    _make_disks(folders, image, size)
    for _ in range(_START_ATTEMPTS):
        ssh_port, agent_port = _free_ports(2)
        process = _launch(folders, image, size, ssh_port, agent_port)
        if process is not None:
            machine = Machine(process, ssh_port, agent_port, image.key, time.time(), size)
            machine.save(folders)
            return machine
    raise LabError(f"QEMU does not start; it says: {_qemu_log(folders)}")


def stop_machine(folders: Folders) -> bool:
    """Stop the machine and drop its disks; says whether one ran."""
    machine = running_machine(folders)
    if machine is not None:
        machine.process.stop()
    for name in ("machine.json", "overlay.qcow2", "tank.raw"):
        (folders.run / name).unlink(missing_ok=True)
    return machine is not None


def serial_log(folders: Folders) -> Path:
    """What Xen and the dom0's kernel say on the serial line."""
    return folders.run / "serial.log"


def _qemu_log(folders: Folders) -> str:
    return (folders.run / "qemu.log").read_text(errors="replace").strip() or "nothing"


def _make_disks(folders: Folders, image: Image, size: Size) -> None:
    overlay, tank = folders.run / "overlay.qcow2", folders.run / "tank.raw"
    overlay.unlink(missing_ok=True)
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"]
    read_output([*create, "-b", str(image.disk), str(overlay)])
    with open(tank, "wb") as disk:
        disk.truncate(size.tank << 30)


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on at this moment; who loses the race for one tries again."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def _launch(
    folders: Folders, image: Image, size: Size, ssh_port: int, agent_port: int
) -> Process | None:
    """None when QEMU ended at once, as it does when a port is taken."""
    pid_file = folders.run / "qemu.pid"
    pid_file.unlink(missing_ok=True)
    command = _qemu_command(folders, image, size, ssh_port, agent_port)
    # QEMU detaches itself once its devices are made and its ports are bound, and ends with an
    # error before that if it cannot.
    with open(folders.run / "qemu.log", "wb") as log:
        try:
            done = subprocess.run(
                [*command, "-daemonize", "-pidfile", str(pid_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_START_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LabError(f"cannot start QEMU: {error}") from error
    if done.returncode == 0:
        return Process.of(int(pid_file.read_text()))
    if "host forwarding" in _qemu_log(folders):
        return None
    raise LabError(f"QEMU does not start; it says: {_qemu_log(folders)}")


def _qemu_command(
    folders: Folders, image: Image, size: Size, ssh_port: int, agent_port: int
) -> list[str]:
    dom0 = f"dom0_mem={size.dom0_memory}M,max:{size.dom0_memory}M dom0_max_vcpus={size.cpus}"
    forward = "hostfwd=tcp:127.0.0.1"
    disk = "cache=unsafe,aio=threads"
    # fmt: off
    return [
        "qemu-system-x86_64", "-name", "megafleet-lab", "-machine", "q35",
        "-accel", "tcg,thread=multi", "-cpu", _CPU,
        "-smp", str(size.cpus), "-m", f"{size.memory}M",
        "-display", "none", "-vga", "none", "-monitor", "none", "-parallel", "none", "-no-reboot",
        "-kernel", str(image.hypervisor),
        # Xen takes the first word for its own name.
        "-append", f"xen {dom0} {_XEN_OPTIONS}",
        "-initrd", f"{image.kernel} {_KERNEL_OPTIONS},{image.initramfs}",
        "-drive", f"if=none,id=root,file={folders.run / 'overlay.qcow2'},format=qcow2,{disk}",
        "-device", "virtio-blk-pci,drive=root",
        "-drive", f"if=none,id=tank,file={folders.run / 'tank.raw'},format=raw,{disk},"
                  "discard=unmap,detect-zeroes=unmap",
        "-device", "virtio-blk-pci,drive=tank",
        "-netdev", f"user,id=lan,{forward}:{ssh_port}-:22,{forward}:{agent_port}-:{AGENT_PORT}",
        "-device", "virtio-net-pci,netdev=lan,romfile=",
        "-device", "virtio-rng-pci",
        "-serial", f"file:{serial_log(folders)}",
    ]
    # fmt: on
