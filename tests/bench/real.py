"""make real-bench: real kernels on this machine, beside a shell loop and beside bare QEMU.

Everything is measured in one run, one after another, so that ratios say something on a machine
that is busy with other work.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tty as tty_of
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet_agent.core.domain.domain_xml import TRANSLATION_CACHE_MIB
from fleet_agent.core.start_pace import LEAST_A_CORE
from fleetctl.sandbox.booting import COMMAND_LINE
from fleetctl.sandbox.real.packages import required_program
from fleetctl.sandbox.real.qemu_processes import kill
from tests.bench import clones
from tests.bench.cpu_until_ready import says_ready, watched
from tests.bench.measures import Measured
from tests.bench.processes_seen import pids_of, pss_mib, resident_mib, seconds_of
from tests.bench.table import conditions_here, tell
from tests.real.real_sandbox import RealSandbox, sandbox, until, why_not_here

_IDLE_SECONDS = 20.0
Say = Callable[[str], None]


def main() -> None:
    """Exit status 1 when a figure misses what it must be."""
    parser = argparse.ArgumentParser("make real-bench")
    parser.add_argument("--vms", type=int, default=20, help="VMs that boot; 0: clones alone")
    parser.add_argument("--held", type=int, default=0, help="so many held at once, each typed to")
    parser.add_argument("--clones", type=int, default=250, help="copies of one kernel; 0: none")
    parser.add_argument("--held-clones", type=int, default=0, help="then so many of them at once")
    parser.add_argument("--restores", type=int, default=3, help="by virsh, beside clones")
    parser.add_argument("--json", type=Path, default=Path("real-bench.json"))
    given = parser.parse_args()
    if why := why_not_here():
        raise SystemExit(f"real-bench: {why}")
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", file=sys.stderr, flush=True)

    out, conditions = Measured(), conditions_here()
    try:
        with tempfile.TemporaryDirectory(prefix="megafleet-real-bench-") as folder:
            booted = None
            if given.vms:
                with sandbox(Path(folder), "real-bench") as real:
                    booted = _measure(real, given.vms, given.held, say, out)
            if given.clones:
                with sandbox(Path(folder), "real-bench-clones") as real:
                    _measure_clones(
                        real, given.vms, given.clones, given.held_clones, given.restores, booted,
                        say, out,
                    )  # fmt: skip
    except BaseException:
        tell(out, conditions, given.json)  # what was measured before that
        raise
    raise SystemExit(tell(out, conditions, given.json))


@dataclass(frozen=True, slots=True)
class Booted:
    """CPU seconds of a VM that boots, and seconds until as many are ready that a shell loop of this
    tool starts."""

    cpu: float
    tool: str
    loop: float


def _measure_clones(
    real: RealSandbox,
    vms: int,
    count: int,
    held: int,
    restores: int,
    booted: Booted | None,
    say: Say,
    out: Measured,
) -> None:
    cpu = clones.measure(real, count, held, say, out)
    if booted is None:
        return
    out.add("CPU of a boot / of a clone of the same guest", booted.cpu / cpu, "x", 5, 15, more=True)
    ours = clones.ready_seconds(real, vms, say)
    what = f"{vms} VMs ready: a loop of {booted.tool} / our clones, with their template"
    out.add(what, booted.loop / ours, "x", 2, 4, more=True)
    out.notes["seconds_of_clones"] = {"loop": round(booted.loop, 1), "ours": round(ours, 1)}
    fork = clones.fork_seconds(real, say)
    each = _restore_seconds(real, restores, say)
    what = f"{clones.FORKED} restores by virsh (by {restores}) / {clones.FORKED} clones"
    out.add(what, each * clones.FORKED / fork, "x", 5, 15, more=True)
    out.notes["seconds_of_a_restore_and_of_the_clones"] = (round(each, 2), round(fork, 1))


def _restore_seconds(real: RealSandbox, restores: int, say: Say) -> float:
    """Of one restore by virsh, of the same guest that a loop has booted and saved, until it answers
    what is typed on its console, as a clone has answered before it counts as running."""
    say(f"virsh save, and {restores} times virsh restore")
    virsh, uri = required_program("virsh"), real.real.uri

    def said(*arguments: str) -> None:
        subprocess.run([virsh, "-q", "-c", uri, *arguments], check=True, timeout=300)

    def restored(folder: Path) -> float:
        taken = []
        said("save", "bench-loop-0", str(folder / "saved"))
        for _ in range(restores):
            started = time.monotonic()
            said("restore", str(folder / "saved"))
            _await_answer(virsh, uri, "bench-loop-0", folder)
            taken.append(time.monotonic() - started)
            said("destroy", "bench-loop-0")
        return statistics.mean(taken)

    return _in_shell_loop(real, 1, "virsh", restored)[1]


def _await_answer(virsh: str, uri: str, domain: str, folder: Path) -> None:
    asked = [virsh, "-q", "-c", uri, "ttyconsole", domain]
    tty = subprocess.run(asked, check=True, capture_output=True, text=True, timeout=60).stdout
    log = folder / f"{domain}.log"
    begun = log.stat().st_size
    descriptor = os.open(tty.strip(), os.O_RDWR | os.O_NOCTTY)
    try:
        tty_of.setraw(descriptor)
        os.write(descriptor, b"echo it is $((40 + 2)).\n")
        until(lambda: b"it is 42." in log.read_bytes()[begun:], f"{domain} answers", 60)
    finally:
        os.close(descriptor)


def _measure(real: RealSandbox, vms: int, held: int, say: Say, out: Measured) -> Booted:
    say(f"sandbox up --real {vms}")
    started = time.monotonic()
    real.up("--real", str(vms), "--start", "boot")
    out.add(f"nothing -> {vms} VMs running", time.monotonic() - started, "s", 90, 45)
    pss = [pss_mib(pid) for pid in pids_of(real, vms)]
    out.add("memory of a VM (PSS)", statistics.mean(pss), "MiB", 135, 100)
    _idle(real, vms, say, out)
    _command_in_all(real, vms, say, out)
    _agent_killed(real, vms, say, out)
    say("all removed, and booted again")
    fleet = real.real.fleet
    real.fleetctl("scale", fleet, "--total", "0")
    before = seconds_of(real.pid("agent")) + _libvirtd_seconds()
    started = time.monotonic()
    with watched(real, vms) as ready:
        real.fleetctl("scale", fleet, "--total", str(vms))
        ours = time.monotonic() - started
    spent = sum(ready.values())
    around = seconds_of(real.pid("agent")) + _libvirtd_seconds() - before
    if held:
        _held(real, held, say, out)
    real.fleetctl("scale", fleet, "--total", "0")
    # With more at once each costs more: they share the cores' caches.
    at_once = LEAST_A_CORE * (os.cpu_count() or 1)
    say(f"bare QEMU: 3 times {at_once} at once, as the agent starts them on a busy host")
    bare = statistics.mean(_bare_seconds(real, at_once) for _ in range(3))
    out.add(
        "CPU of a VM until it is ready / bare QEMU's", (spent + around) / vms / bare, "x", 1.3, 1.1
    )
    out.notes["cpu_seconds_a_vm"] = {
        "QEMU": round(spent / vms, 2),
        "agent and libvirtd": round(around / vms, 2),
        "bare QEMU": round(bare, 2),
    }
    seconds = {"ours": ours}
    for tool in ("virsh", "virt-install"):
        if shutil.which(tool):
            say(f"a shell loop of {tool} for {vms} VMs")
            seconds[tool] = _shell_loop(real, vms, tool)
    out.notes["seconds"] = {what: round(one, 1) for what, one in seconds.items()}
    # Without virtinst (Debian) the bare calls of libvirt stand for it.
    tool = "virt-install" if "virt-install" in seconds else "virsh"
    # As many boots cost what they cost, whoever starts them: what is faster is not to boot each.
    out.notes["a_loops_time_beside_our_boots"] = round(seconds[tool] / ours, 2)
    return Booted(spent / vms, tool, seconds[tool])


def _idle(real: RealSandbox, vms: int, say: Say, out: Measured) -> None:
    say(f"idle for {_IDLE_SECONDS:.0f} s")
    agent, before = real.pid("agent"), seconds_of(real.pid("agent"))
    qemus = sum(seconds_of(pid) for pid in pids_of(real, vms))
    time.sleep(_IDLE_SECONDS)  # what is measured
    out.add("idle CPU of the agent", (seconds_of(agent) - before) / _IDLE_SECONDS * 100, "%", 10, 3)
    out.add(f"memory of the agent at {vms} VMs", resident_mib(agent), "MiB", 150, 80)
    spent = sum(seconds_of(pid) for pid in pids_of(real, vms)) - qemus
    out.notes["idle_percent_of_a_core_a_vm"] = round(spent / vms / _IDLE_SECONDS * 100, 2)


def _agent_killed(real: RealSandbox, vms: int, say: Say, out: Measured) -> None:
    say("the agent is killed, and started again")
    first = real.qemus(vms)
    kill(real.pid("agent"))
    started = time.monotonic()
    real.up()
    real.fleetctl("scale", real.real.fleet, "--total", str(vms))
    taken = time.monotonic() - started
    restarted = sum(first[vm] != pid for vm, pid in real.qemus(vms).items())
    out.add(f"agent killed at {vms} VMs: started, all adopted", taken, "s", 10, 3)
    out.add("VMs restarted by that", restarted, "", 0, 0)


def _held(real: RealSandbox, held: int, say: Say, out: Measured) -> None:
    say(f"{held} VMs at once")
    real.fleetctl("scale", real.real.fleet, "--total", str(held))
    _command_in_all(real, held, say, out)
    answered = 0
    for index in range(held):
        vm = real.vm(index)
        answered += f"Linux {vm} " in real.fleetctl("console", vm, typed="uname -a\n")
    pss = statistics.mean(pss_mib(pid) for pid in pids_of(real, held))
    out.notes["held"] = {"vms": held, "pss_mib": round(pss, 1)}
    resident = resident_mib(real.pid("agent"))
    out.add(f"memory of the agent at {held} VMs", resident, "MiB", 150, 80)
    _agent_killed(real, held, say, out)
    out.add(
        f"of {held} VMs held at once, answer on their console", answered, "", held, held, more=True
    )


def _command_in_all(real: RealSandbox, vms: int, say: Say, out: Measured) -> None:
    """One command in all of them, beside a shell loop that does the same over their consoles."""
    say(f"a command in {vms} VMs")
    started = time.monotonic()
    told = real.fleetctl("vms", "run", real.real.fleet, "--", "uname", "-r")
    ours = time.monotonic() - started
    assert told.startswith(f"{vms} VMs: ") and len(told.splitlines()) == 1, told
    started = time.monotonic()
    for index in range(vms):
        assert told.split()[-1] in real.fleetctl("console", real.vm(index), typed="uname -r\n")
    loop = time.monotonic() - started
    out.notes[f"seconds_of_a_command_in_{vms}"] = {"ours": round(ours, 2), "loop": round(loop, 2)}
    what = f"a command in {vms} VMs: a shell loop over consoles / vms run"
    out.add(what, loop / ours, "x", 10, 30, more=True)


def _shell_loop(real: RealSandbox, vms: int, tool: str) -> float:
    """Seconds until as many VMs of the same kernel are ready that a script copies, and imports with
    virt-install or defines and starts with virsh, one after another."""
    return _in_shell_loop(real, vms, tool, lambda folder: 0.0)[0]


def _in_shell_loop(
    real: RealSandbox, vms: int, tool: str, then: Callable[[Path], float]
) -> tuple[float, float]:
    """That, and what is measured while they run."""
    with tempfile.TemporaryDirectory(prefix="megafleet-loop-", dir=_beside(real)) as name:
        folder = Path(name)
        folder.chmod(0o755)
        script = folder / "loop.sh"
        script.write_text(_LOOP)
        environment = {
            **os.environ, "FOLDER": name, "GUEST": str(real.real.guest), "COUNT": str(vms),
            "COMMAND_LINE": COMMAND_LINE.partition(" name=")[0],
            "URI": real.real.uri, "VIRSH": required_program("virsh"), "TOOL": tool,
        }  # fmt: skip
        logs = [folder / f"bench-loop-{index}.log" for index in range(vms)]
        started = time.monotonic()
        try:
            subprocess.run(["sh", "-eu", script, "up"], env=environment, check=True, timeout=600)
            until(lambda: all(says_ready(log) for log in logs), "the shell loop's VMs are ready")
            taken = time.monotonic() - started
            return taken, then(folder)
        finally:
            subprocess.run(["sh", script, "down"], env=environment, timeout=600, check=False)


_LOOP = """
for i in $(seq 0 $((COUNT - 1))); do
  vm=bench-loop-$i
  if [ "$1" = down ]; then
    $VIRSH -q -c $URI destroy $vm; $VIRSH -q -c $URI undefine $vm; continue
  fi
  cp "$GUEST/golden.raw" "$FOLDER/$vm.raw"
  if [ "$TOOL" = virt-install ]; then
    boot="kernel=$GUEST/vmlinuz,initrd=$GUEST/initrd.img"
    virt-install -q --connect $URI --virt-type qemu --name $vm --memory 80 --vcpus 1 --import \
      --disk path="$FOLDER/$vm.raw",format=raw,bus=virtio --network none --graphics none \
      --serial pty,log.file="$FOLDER/$vm.log" --osinfo generic --noautoconsole \
      --boot "$boot,kernel_args=$COMMAND_LINE name=$vm index=$i"
    continue
  fi
  cat > "$FOLDER/$vm.xml" <<XML
<domain type='qemu'><name>$vm</name><memory unit='MiB'>80</memory><vcpu>1</vcpu>
<os><type arch='x86_64'>hvm</type><kernel>$GUEST/vmlinuz</kernel><initrd>$GUEST/initrd.img</initrd>
<cmdline>$COMMAND_LINE name=$vm index=$i</cmdline></os>
<features><acpi/><apic/></features>
<devices><disk type='file' device='disk'><driver name='qemu' type='raw'/>
<source file='$FOLDER/$vm.raw'/><target dev='vda' bus='virtio'/></disk>
<serial type='pty'><log file='$FOLDER/$vm.log'/></serial>
<memballoon model='virtio'/></devices></domain>
XML
  $VIRSH -q -c $URI define "$FOLDER/$vm.xml" > "$FOLDER/said"
  $VIRSH -q -c $URI start $vm > "$FOLDER/said"
done
"""


def _beside(real: RealSandbox) -> Path:
    """A folder that QEMU may look into, as the sandbox's own."""
    return Path(real.real.files)


def _bare_seconds(real: RealSandbox, count: int) -> float:
    """CPU seconds of each of so many QEMUs at once without libvirt, with the machine and devices of
    ours, until its guest is ready."""
    with tempfile.TemporaryDirectory(prefix="megafleet-bare-") as name, ExitStack() as stack:
        started = {}
        for number in range(count):
            log, disk = Path(name) / f"log-{number}", Path(name) / f"disk-{number}"
            shutil.copyfile(real.real.guest / "golden.raw", disk)
            pid = stack.enter_context(_running(_bare_command(real.real.guest, disk, log)))
            started[pid] = log
        return statistics.mean(_seconds_until_ready(started))


def _bare_command(guest: Path, disk: Path, log: Path) -> list[str]:
    return [
        required_program("qemu-system-x86_64"), "-machine", "pc,usb=off",
        "-accel", f"tcg,tb-size={TRANSLATION_CACHE_MIB}", "-m", "80", "-nodefaults",
        "-no-user-config", "-display", "none", "-serial", f"file:{log}",
        "-drive", f"file={disk},format=raw,if=virtio",
        "-kernel", str(guest / "vmlinuz"), "-initrd", str(guest / "initrd.img"),
        "-append", COMMAND_LINE.replace("{name}", "bare").replace("{index}", "0"),
    ]  # fmt: skip


def _seconds_until_ready(started: dict[int, Path]) -> list[float]:
    """Of each process, as its guest says in its log that it is ready."""
    found: dict[int, float] = {}

    def all_ready() -> bool:
        for pid, log in started.items():
            if pid not in found and says_ready(log):
                found[pid] = seconds_of(pid)
        return len(found) == len(started)

    until(all_ready, "the guests of bare QEMU are ready")
    return list(found.values())


@contextmanager
def _running(command: list[str]) -> Iterator[int]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def _libvirtd_seconds() -> float:
    """Of whatever libvirtd runs; it serves others too, whom a quiet machine has not."""
    found = subprocess.run(["pgrep", "-x", "libvirtd"], capture_output=True, text=True).stdout
    return sum(seconds_of(int(pid)) for pid in found.split())


if __name__ == "__main__":
    main()
