"""The real host of a sandbox as it is planned, brought up beside the processes, and taken away."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from msgspec.structs import replace

from fleetctl.output import counted
from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.planning.machine import Machine
from fleetctl.sandbox.processes.libvirt_daemons import DAEMONS, here, lift_core_limit
from fleetctl.sandbox.processes.parts import AGENT, daemon_part
from fleetctl.sandbox.processes.process import Process, daemon_environment, start, stop
from fleetctl.sandbox.processes.readiness import until
from fleetctl.sandbox.real import (
    binding,
    bridges,
    clones,
    domains,
    guest,
    packages,
    qemu_processes,
    sizing,
)
from fleetctl.sandbox.state.folder import Folder, base_folder
from fleetctl.sandbox.state.record import LibvirtDaemon, RealHost, Record

# Where QEMU, which is not root, may look: a home folder is closed to it.
SYSTEM_FILES = Path("/var/lib/megafleet/sandbox")
FLEET = "real"
_SYSTEMD = Path("/run/systemd/system")
_SYSTEMCTL_SECONDS = 120.0
_DAEMON_SECONDS = 60.0


def install(phases: Phases) -> None:
    """What is missing here. Raises SandboxError."""
    packages.install(packages.missing_packages(binding.has_binding()), phases)


def forget(folder: Folder) -> None:
    """The files of a sandbox that never came up. Raises SandboxError."""
    record = folder.load()
    if record is not None and record.real is not None:
        _remove_files(record.real)


def prepare(folder: Folder, record: Record, phases: Phases) -> Record:
    """Builds the guest, and plans the host. Raises SandboxError, OSError."""
    if record.store != "etcd":
        raise SandboxError(
            "a real host outlives its controller, and a store in memory does not: --real takes "
            "--store etcd"
        )
    binding.lend(folder.binding)
    libvirt = here()
    if libvirt.is_session:
        phases.note(
            "  as a plain user on libvirt's session: VMs have no network, since only root may "
            "give them one"
        )
    built = guest.cached(base_folder(os.environ).parent / "guest", phases)
    files = SYSTEM_FILES / record.id if not libvirt.is_session else folder.path / "host"
    room = room_of(Machine.measured(), files)
    wanted = record.asked.real or 0
    way: sizing.Way = "clone" if record.asked.start == "clone" else "kvm"
    sizing.checked_number(wanted, room, way, guest.GOLDEN_BYTES)
    capacity = max(wanted, sizing.most(room, way, guest.GOLDEN_BYTES), 1)
    planned = RealHost(
        host=f"real-{record.id[:8]}",
        uri=libvirt.uri,
        files=str(files),
        guests=min(capacity, sizing.MOST[way]),
        fleet=FLEET,
        clones=str(folder.state_of(AGENT) / "clones"),
    )
    _make_files(planned, built)
    return replace(record, real=planned, hosts=1)


def make_files(real: RealHost, phases: Phases) -> None:
    """What of its files is missing, made again. Raises SandboxError, OSError."""
    _make_files(real, guest.cached(base_folder(os.environ).parent / "guest", phases))


def with_daemons(record: Record, running: dict[str, Process], phases: Phases) -> Record:
    """The sandbox, with those daemons of libvirt that it must start itself, since nobody has.
    Raises SandboxError."""
    if record.real is None:
        return record
    silent = here().silent()
    if silent and is_chroot():
        raise SandboxError(
            "this is a chroot, which libvirt leaves for each QEMU, and would then make devices in "
            "the machine's own /dev: run it in a container, or outside"
        )
    if silent and record.real.uri.endswith("/system") and _SYSTEMD.is_dir():
        _ask_systemd(phases)
        silent = here().silent()
    mine = [one for one in DAEMONS if one in running or one in silent]
    return replace(record, real=replace(record.real, daemons=mine))


def keep_apart(record: Record) -> Record:
    """The sandbox's fleet under a name that no domain of this libvirt has, and no process."""
    if record.real is None:
        return record
    virsh = domains.Virsh(record.real.uri)
    named = domains.free_fleet_name(virsh, record.real.fleet, record.id[:4])
    if any(one.rpartition("-")[0] == named for one in qemu_processes.names()):
        named = f"{record.real.fleet}-{record.id[:4]}"  # as of another sandbox's clones
    return replace(record, real=replace(record.real, fleet=named))


def take_away(record: Record, folder: Folder, daemons: list[Process], phases: Phases) -> None:
    """Its domains and bridges, then the daemons it started, then its files; the agent has ended
    before. Where libvirt does not run any more it is started for that. Raises SandboxError,
    OSError."""
    real = record.real
    if real is None:
        return
    virsh = domains.Virsh(real.uri)
    running = {one.part: one for one in daemons}
    needed = with_daemons(record, running, phases).real
    for name in needed.daemons if needed else ():
        if name not in running:
            running[name] = _started(name, record, folder)
    ledger = folder.state_of(AGENT) / "ledger"
    clones.remove(folder.state_of(AGENT) / "clones", ledger, phases)
    domains.remove(virsh, real.consoles, phases)
    if gone := bridges.remove(ledger):
        phases.note(f"  {counted(len(gone), 'bridge')} removed: {', '.join(gone)}")
    _stop_daemons(virsh, list(running.values()), phases)
    _remove_files(real)


def _remove_files(real: RealHost) -> None:
    shutil.rmtree(real.files, ignore_errors=True)
    with contextlib.suppress(OSError):  # others' sandboxes are in there, or the machine's agent
        SYSTEM_FILES.rmdir()
        SYSTEM_FILES.parent.rmdir()


def is_chroot(root: Path = Path("/"), of_init: Path = Path("/proc/1/root")) -> bool:
    """Whether this process has another root than the first one of its process namespace."""
    try:
        return not os.path.samestat(root.stat(), of_init.stat())
    except OSError:
        return False  # not root, who alone could do harm


def room_of(machine: Machine, files: Path) -> sizing.Room:
    there = next(one for one in (files, *files.parents) if one.is_dir())
    return sizing.Room(machine.cores, machine.memory_bytes, shutil.disk_usage(there).free)


def _make_files(real: RealHost, built: guest.Guest) -> None:
    for folder in (real.storage, real.consoles):
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    guest.copied(built, real.guest)


def _started(name: LibvirtDaemon, record: Record, folder: Folder) -> Process:
    """A daemon that serves by now. Raises SandboxError."""
    part, log = daemon_part(name), folder.log_of(name)
    process = start(name, part.argv, record.id, log, daemon_environment(os.environ))
    lift_core_limit(process.pid)
    until(lambda: here().answers(name), process, _DAEMON_SECONDS, log, "served")
    return process


def _stop_daemons(virsh: domains.Virsh, daemons: list[Process], phases: Phases) -> None:
    if not daemons:
        return
    others = virsh.running()
    if others:
        names = " and ".join(one.part for one in daemons)
        phases.note(
            f"  {names} go on: {counted(len(others), 'other domain')} run, such as {others[0]}"
        )
        return
    # libvirtd before virtlogd, which it needs.
    for daemon in sorted(daemons, key=lambda one: one.part):
        stop([daemon])


def _ask_systemd(phases: Phases) -> None:
    """Under systemd the daemons are the machine's own: they are started as its units, and stay."""
    with phases.phase("systemd starts libvirt") as phase:
        command = ["systemctl", "start", "virtlogd.socket", "libvirtd.socket", "libvirtd.service"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMCTL_SECONDS)
        if done.returncode:
            why = done.stderr.strip().rpartition("\n")[2]
            raise SandboxError(f"'{' '.join(command)}' failed: {why}")
        phase.outcome = "systemd started libvirt"
