"""Boots the VMs of a real sandbox: how many, from which image, of which fleet file."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click
from msgspec.structs import replace

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.cli.arguments import image_name
from fleetctl.commands.fleets.apply import apply
from fleetctl.commands.fleets.scale import scale
from fleetctl.commands.hosts.images import import_image
from fleetctl.output import note
from fleetctl.sandbox.commands_shown import command_name, note_command, short
from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.planning.machine import Machine
from fleetctl.sandbox.processes.readiness import LOOK_SECONDS
from fleetctl.sandbox.real import host
from fleetctl.sandbox.real.guest import GOLDEN_BYTES, Guest
from fleetctl.sandbox.real.sizing import (
    GUEST_MEMORY,
    MIB,
    WORDS,
    Accel,
    Way,
    checked_number,
    default_number,
)
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.record import RealHost, Record
from fleetctl.session import Session

# The pressure on this machine's CPUs decides how many of these.
MOST_AT_ONCE = 64
PRESSURE = Path("/proc/pressure/cpu")
SCALE_SECONDS = 1800.0
FACTS_SECONDS = 90.0
# What a small kernel needs not look for saves a fifth of an emulated boot; and on a busy machine
# the check of its timer fails, by which a kernel without no_timer_check ends.
COMMAND_LINE = (
    "console=ttyS0 quiet no_timer_check rcupdate.rcu_expedited=1 cryptomgr.notests "
    "8250.nr_uarts=1 name={name} index={index}"
)


def boot(ctx: click.Context, folder: Folder, record: Record) -> Record:
    """Imports the golden image, applies the fleet and scales it, once in a sandbox's life; later
    the fleet is the user's. Raises Trouble."""
    session = ctx.find_root().ensure_object(Session)
    session.context = record.name
    session.__dict__.pop("cluster", None)
    if record.real is None or record.real.vms:
        return record
    record = host.keep_apart(record)
    real = record.real
    assert real is not None
    vms, why = _number(session, record, real)
    note(f"  {why}")
    record = replace(record, real=replace(real, vms=vms, why=why))
    file = folder.path / "fleet.yaml"
    start = _start_of(record)
    at_once = _at_once(start)
    file.write_text(fleet_file(real, Guest(real.guest), at_once, file, start))
    fleetctl = command_name()
    golden = str(Guest(real.guest).golden)
    note_command(f"{fleetctl} images import golden@1 {golden}")
    image = image_name("golden@1")
    one = {"hosts": (real.host,), "labels": (), "everything": False}
    ctx.invoke(import_image, image=image, source=golden, wanted="", size=0, **one)
    note_command(f"{fleetctl} apply -f {short(file)}")
    ctx.invoke(apply, filenames=(str(file),))
    # From here on it is the user's: a later up leaves the fleet as it is.
    folder.save(record)
    note_command(f"{fleetctl} scale {real.fleet} --total {vms}")
    ctx.invoke(
        scale,
        fleet=real.fleet,
        total=vms,
        plan_only=False,
        partial=False,
        token="",
        no_wait=False,
        timeout=SCALE_SECONDS,
    )
    return record


def fleet_file(real: RealHost, guest: Guest, at_once: int, file: Path, start: str = "boot") -> str:
    """What is in `file`: to be read, changed and applied again."""
    return f"""\
# Small Linux kernels on this machine, from one golden image. Change it, and
#
#   fleetctl apply -f {file}
#
# Every field and its bounds: docs/reference/fleet-file.md

name: {real.fleet}
image: {{name: golden, snapshot: "1"}}
memory: {GUEST_MEMORY // MIB}MiB

boot:
  kernel: {guest.kernel}
  initrd: {guest.initrd}
  cmdline: "{COMMAND_LINE}"

disk: {{target: vda}}

# The guest says so once its drivers are loaded and its own disk is written.
readiness:
  console: 'megafleet: ready name=\\S+ index=\\d+ disk=vda'
  timeout: 5m

# clone: all are copies of one that has booted and waits to be told who it is. boot: each boots.
start: {start}

# The most that start at once: how many of these, the agent decides by how busy the CPUs are.
admission: {{parallel: {at_once}, per_second: 0}}

# There is one host only.
on_loss: wait
"""


def _start_of(record: Record) -> str:
    """A sandbox of an earlier release boots its VMs."""
    return record.asked.start or "boot"


def _at_once(start: str) -> int:
    """Where the kernel does not tell how its CPUs are wanted, two boots a core: more would only
    wait for one another."""
    told = PRESSURE.exists()
    return MOST_AT_ONCE if told or start != "boot" else 2 * len(os.sched_getaffinity(0))


def _number(session: Session, record: Record, real: RealHost) -> tuple[int, str]:
    """How many VMs, and why. Only the agent knows what runs them: it has tried."""
    way: Way = _accelerator(session, real.host)
    if _start_of(record) == "clone":
        way = "clone"
    room = host.room_of(Machine.measured(), Path(real.files))
    asked = record.asked.real or 0
    if not asked:
        return default_number(room, way, GOLDEN_BYTES)
    most = checked_number(asked, room, way, GOLDEN_BYTES)
    return asked, f"{asked} VMs as asked for, {WORDS[way]}; memory and disk admit {most}"


def _accelerator(session: Session, host_id: str) -> Accel:
    """As its agent has tried. It says so once libvirt has answered it, and the first time libvirt
    asks QEMU for many seconds what it can do."""
    deadline = time.monotonic() + FACTS_SECONDS
    request = cluster.GetHostRequest(id=host_id)
    with Phases().phase("libvirt asks QEMU what it can do") as phase:
        while True:
            detail = session.cluster.call(lambda stub: stub.GetHost, request)
            label = detail.summary.labels.get("accel", "")
            if label in ("kvm", "tcg"):
                break
            if time.monotonic() > deadline:
                raise SandboxError(
                    f"the agent of {host_id} has told nothing of its libvirt within "
                    f"{FACTS_SECONDS:.0f} s: 'fleetctl sandbox status' names the folder of its log"
                )
            time.sleep(LOOK_SECONDS)  # what is asked here, nothing announces
        phase.outcome = f"{host_id} is a host of {detail.facts.hypervisor.partition(',')[0]}"
    if why := detail.facts.hypervisor.partition(", ")[2]:
        note(f"  {why}")
    return "kvm" if label == "kvm" else "tcg"
