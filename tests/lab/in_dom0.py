"""What the lab's benchmark runs inside the dom0, in the agent's environment: one measurement a
call, printed as one JSON object. Sent over ssh as standard input; not imported anywhere."""

import asyncio
import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fleet.identity import Fleet
from fleet.keys import Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.model import Batch, Mark, StepResult
from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor
from fleet_agent.drivers.zfs.storage import ZfsStorage
from fleet_agent.drivers.zfs.udev_queue import UdevQueue

UID = "6f1d2f5e-5a0b-4c8e-9a57-2d1c3b4a5e6f"
POOL = "tank"
ORIGIN = f"{POOL}/golden@1"
KERNEL = "/var/lib/megafleet/guests/tiny.elf"
CONSOLE = "/var/log/xen/console/guest-{name}.log"
DEADLINE = 3600.0


def spec() -> types.FleetSpec:
    return types.FleetSpec(
        image=types.Image(name="golden", snapshot="1"),
        memory_bytes=4 << 20,
        vcpus=1,
        boot=types.Boot(kernel=KERNEL, cmdline="name={name} index={index}"),
        disk=types.Disk(target="xvda"),
        readiness=types.Readiness(console_pattern="megafleet: ready", timeout_seconds=600),
    )


def batch(name: str, first: int, count: int) -> Batch:
    fleet = Fleet(UID, name, 4000)
    indices = IndexSet(((first, first + count),))
    return Batch(fleet, Kin(UID, 1, 1), spec(), Mark(Term(1, 1), Epoch(1, 1)), indices)


async def whole(results: AsyncIterator[StepResult]) -> None:
    """Every index done; the first failure is told."""
    async for result in results:
        for failure in result.failures:
            raise SystemExit(f"{failure.index}: {failure.kind}: {failure.message}")


def open_all(names: list[str]) -> None:
    """Until each volume's node opens."""
    end = time.monotonic() + DEADLINE
    left = set(names)
    while left and time.monotonic() < end:
        for name in tuple(left):
            try:
                os.close(os.open(f"/dev/zvol/{POOL}/{name}", os.O_RDONLY))
            except OSError:
                continue
            left.discard(name)
        if left:
            time.sleep(0.05)
    if left:
        raise SystemExit(f"{len(left)} nodes did not come")


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE)


def settle() -> None:
    """Nothing of the measurement before may be left to do."""
    subprocess.run(["udevadm", "settle"], timeout=600)


def clones_by_shell(count: int) -> float:
    began = time.monotonic()
    loop = f"for i in $(seq 0 {count - 1}); do zfs clone {ORIGIN} {POOL}/shell-$i || exit 1; done"
    run("sh", "-c", loop)
    open_all([f"shell-{index}" for index in range(count)])
    return time.monotonic() - began


def clones_one_by_one(count: int) -> float:
    import libzfs_core

    began = time.monotonic()
    for index in range(count):
        libzfs_core.lzc_clone(f"{POOL}/shell-{index}".encode(), ORIGIN.encode())
    open_all([f"shell-{index}" for index in range(count)])
    return time.monotonic() - began


async def clones_by_agent(made: Batch) -> float:
    storage = ZfsStorage(POOL, udev=UdevQueue())
    began = time.monotonic()
    await whole(storage.clone(made))
    open_all([made.fleet.dataset_name(index) for index in made.indices])
    took = time.monotonic() - began
    await storage.close()
    return took


async def destroy(made: Batch) -> float:
    storage = ZfsStorage(POOL)
    began = time.monotonic()
    await whole(storage.destroy(made))
    took = time.monotonic() - began
    await storage.close()
    return took


def destroy_by_shell(count: int) -> float:
    began = time.monotonic()
    run("sh", "-c", f"for i in $(seq 0 {count - 1}); do zfs destroy {POOL}/shell-$i; done")
    return time.monotonic() - began


def measure_clones(count: int) -> dict[str, float]:
    """Each way with what it leaves behind taken away; seconds."""
    made = batch("bench", 0, count)
    seen = {}
    seen["shell"] = clones_by_shell(count)
    settle()
    seen["shell destroy"] = destroy_by_shell(count)
    settle()
    seen["one by one"] = clones_one_by_one(count)
    settle()
    destroy_by_shell(count)
    settle()
    seen["agent"] = asyncio.run(clones_by_agent(made))
    settle()
    seen["agent destroy"] = asyncio.run(destroy(made))
    settle()
    return seen


XML = """<domain type='xen'><name>{name}</name><memory unit='KiB'>4096</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='xenpv'>linux</type><kernel>{kernel}</kernel>
<cmdline>name={name} index={index}</cmdline></os><devices><disk type='block' device='disk'>
<driver name='phy'/><source dev='/dev/zvol/{pool}/{name}'/><target dev='xvda' bus='xen'/></disk>
<console type='pty'><target type='xen' port='0'/></console></devices></domain>
"""
XL = """name = "{name}"
kernel = "{kernel}"
cmdline = "name={name} index={index}"
memory = 4
vcpus = 1
disk = [ "phy:/dev/zvol/{pool}/{name},xvda,w" ]
"""


def ready_all(names: list[str]) -> None:
    """Until each guest has said so on its console."""
    end = time.monotonic() + DEADLINE
    left = set(names)
    while left and time.monotonic() < end:
        for name in tuple(left):
            log = Path(CONSOLE.format(name=name))
            if log.exists() and b"megafleet: ready" in log.read_bytes():
                left.discard(name)
        if left:
            time.sleep(0.05)
    if left:
        raise SystemExit(f"{len(left)} guests were not ready")


def domains_by_shell(made: Batch) -> float:
    names = [made.fleet.domain_name(index) for index in made.indices]
    forget_consoles(made)
    for index, name in zip(made.indices, names, strict=True):
        text = XML.format(name=name, kernel=KERNEL, pool=POOL, index=index)
        Path(f"/run/{name}.xml").write_text(text)
    began = time.monotonic()
    for name in names:
        run("virsh", "-q", "-c", "xen:///system", "define", f"/run/{name}.xml")
        run("virsh", "-q", "-c", "xen:///system", "start", name)
    ready_all(names)
    took = time.monotonic() - began
    for name in names:
        run("virsh", "-q", "-c", "xen:///system", "destroy", name)
        run("virsh", "-q", "-c", "xen:///system", "undefine", name)
    return took


def forget_consoles(made: Batch) -> None:
    for index in made.indices:
        Path(CONSOLE.format(name=made.fleet.domain_name(index))).unlink(missing_ok=True)


async def domains_by_agent(made: Batch) -> float:
    storage, hypervisor = ZfsStorage(POOL, udev=UdevQueue()), LibvirtHypervisor("xen:///system")
    began = time.monotonic()
    await whole(hypervisor.define(made, storage.disk))
    await whole(hypervisor.start(made))
    await whole(hypervisor.await_ready(made))
    took = time.monotonic() - began
    await whole(hypervisor.undefine(made))
    await hypervisor.close()
    await storage.close()
    return took


def choose_script(name: str) -> None:
    """Which program Xen runs for a disk: by the link that it calls."""
    link = Path("/etc/xen/scripts/block")
    fresh = link.with_name("block.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(name)
    fresh.rename(link)


def measure_domains(count: int) -> dict[str, float]:
    """The same domUs defined, started and ready, three ways; seconds."""
    made = batch("bench", 0, count)
    asyncio.run(clones_by_agent(made))
    settle()
    ours = os.readlink("/etc/xen/scripts/block")
    seen = {}
    try:
        choose_script("block.stock")
        seen["shell, Xen's script"] = domains_by_shell(made)
    finally:
        choose_script(ours)
    seen["shell, our hotplug path"] = domains_by_shell(made)
    forget_consoles(made)
    seen["agent"] = asyncio.run(domains_by_agent(made))
    asyncio.run(destroy(made))
    return seen


def xl_starts(made: Batch) -> float:
    names = [made.fleet.domain_name(index) for index in made.indices]
    forget_consoles(made)
    for index, name in zip(made.indices, names, strict=True):
        text = XL.format(name=name, kernel=KERNEL, pool=POOL, index=index)
        Path(f"/run/{name}.cfg").write_text(text)
    began = time.monotonic()
    for name in names:
        run("xl", "create", "-e", "-q", f"/run/{name}.cfg")
    ready_all(names)
    took = time.monotonic() - began
    for name in names:
        run("xl", "destroy", name)
    return took


def measure_starts(count: int) -> dict[str, float]:
    """So many more domUs beside those that run already, by bare xl and by the agent's driver;
    seconds, the define of the latter counted."""
    made = batch("bench", 0, count)
    asyncio.run(clones_by_agent(made))
    settle()
    seen = {"xl": xl_starts(made)}
    forget_consoles(made)
    seen["agent"] = asyncio.run(domains_by_agent(made))
    seen["xl again"] = xl_starts(made)
    asyncio.run(destroy(made))
    return seen


def measure_answers(count: int) -> dict[str, float]:
    """How many of the lab's guests answer what is typed on their consoles, each for itself."""
    logs = {index: Path(CONSOLE.format(name=f"lab-{index}")) for index in range(count)}
    before = {index: log.stat().st_size for index, log in logs.items()}
    for line in subprocess.check_output(["xl", "list"], text=True).splitlines():
        name, domain = line.split()[:2]
        if name.startswith("lab-"):
            path = f"/local/domain/{domain}/console/tty"
            tty = subprocess.check_output(["xenstore-read", path], text=True).strip()
            with open(tty, "wb", buffering=0) as terminal:
                terminal.write(b"id\r")
    end = time.monotonic() + 120
    silent = set(logs)
    while silent and time.monotonic() < end:
        for index in tuple(silent):
            said = logs[index].read_bytes()[before[index] :]
            if f"name=lab-{index} index={index}\r\n".encode() in said:
                silent.discard(index)
        time.sleep(0.1)
    return {"answered": count - len(silent)}


def main() -> None:
    what, count = sys.argv[1], int(sys.argv[2])
    with open("/run/megafleet-bench.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        measures = {
            "clones": measure_clones,
            "domains": measure_domains,
            "starts": measure_starts,
            "answers": measure_answers,
        }
        print(json.dumps({key: round(took, 2) for key, took in measures[what](count).items()}))


if __name__ == "__main__":
    main()
