"""Clones of one real kernel: figures, to be told beside boots and shell loops of one run."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from fleet.template.clones import templates_folder
from fleet_agent.drivers.qemu.processes import connected
from fleetctl.sandbox.processes.parts import AGENT
from fleetctl.sandbox.real.clones import running
from fleetctl.sandbox.real.qemu_processes import kill
from tests.bench.measures import Measured
from tests.bench.processes_seen import pids_of, pss_mib, resident_mib, seconds_of
from tests.real.real_sandbox import RealSandbox, until

Say = Callable[[str], None]
FORKED = 50
_IDLE_SECONDS = 10.0
_NETWORK = "\nnetwork: {bridge: mfbench0, create: true, prefix: 10.77.0.0/16}\n"
# Shell builtins alone: a program that is started costs an emulated guest a tenth of a second.
_TYPED = b"read -r h < /proc/sys/kernel/hostname; echo it is $((40 + 2)) $h.\n"


def measure(real: RealSandbox, clones: int, held: int, say: Say, out: Measured) -> float:
    """A sandbox that is not up yet. Returns the CPU seconds of a clone."""
    say("a sandbox of clones")
    real.up("--real", "1")
    fleet = real.real.fleet
    real.fleetctl("scale", fleet, "--total", "0")
    file = real.folder.path / "fleet.yaml"
    file.write_text(file.read_text() + _NETWORK)
    real.fleetctl("apply", "-f", str(file))
    say(f"{FORKED} clones, with their template")
    out.notes[f"seconds_of_{FORKED}_clones_with_template"] = round(_scaled(real, FORKED), 1)
    real.fleetctl("scale", fleet, "--total", "0")
    say(f"0 -> {clones} clones")
    started = time.monotonic()
    real.fleetctl("scale", fleet, "--total", str(clones))
    running_at = time.monotonic() - started
    pids = pids_of(real, clones)
    cpu = statistics.mean(map(seconds_of, pids))
    answered = _answering(real, clones)
    out.add(f"nothing -> {clones} clones running", running_at, "s", 180, 60)
    out.add(f"of {clones} clones, answer on their console", answered, "", clones, clones, more=True)
    out.add(f"memory of a clone at {clones} (PSS)", _pss(pids), "MiB", 45, 30)
    for what in ("name", "machine_id", "random", "mac", "address"):
        found = len({_told(real, index, what) for index in range(clones)})
        out.add(
            f"different values of {what} in {clones} clones", found, "", clones, clones, more=True
        )
    out.notes["cpu_seconds_a_clone"] = round(cpu, 3)
    _idle(real, clones, out)
    agent_killed(real, clones, say, out)
    if held > clones:
        _hold(real, held, say, out)
    _removed(real, clones, out)
    return cpu


def ready_seconds(real: RealSandbox, vms: int, say: Say) -> float:
    """From nothing to so many clones, their template included: as a loop of boots beside it."""
    real.fleetctl("scale", real.real.fleet, "--total", "0")
    say(f"0 -> {vms} clones, with their template")
    return _scaled(real, vms)


def fork_seconds(real: RealSandbox, say: Say) -> float:
    """Of so many further clones, of a template that is there."""
    have = len(real.clones())
    say(f"{have} -> {have + FORKED} clones")
    return _scaled(real, have + FORKED)


def agent_killed(real: RealSandbox, vms: int, say: Say, out: Measured) -> None:
    say("the agent is killed, and started again")
    first = real.qemus(vms)
    kill(real.pid("agent"))
    started = time.monotonic()
    real.up()
    real.fleetctl("scale", real.real.fleet, "--total", str(vms))
    taken = time.monotonic() - started
    after = real.qemus(vms)
    out.add(f"agent killed at {vms} clones: started, all adopted", taken, "s", 10, 3)
    out.add("clones restarted by that", sum(first[vm] != after[vm] for vm in first), "", 0, 0)


def _scaled(real: RealSandbox, vms: int) -> float:
    started = time.monotonic()
    real.fleetctl("scale", real.real.fleet, "--total", str(vms))
    return time.monotonic() - started


def _hold(real: RealSandbox, held: int, say: Say, out: Measured) -> None:
    say(f"{held} clones at once")
    real.fleetctl("scale", real.real.fleet, "--total", str(held))
    out.add(
        f"held at once, all answering, of {held}", _answering(real, held), "", 400, 700, more=True
    )
    out.notes["held"] = {"clones": held, "pss_mib": round(_pss(pids_of(real, held)), 1)}
    _idle(real, held, out)


def _answering(real: RealSandbox, vms: int) -> int:
    """How many answer what is typed on their consoles, typed to one after another."""
    for index in range(vms):
        with connected(Path(real.real.clones) / real.vm(index), "console") as console:
            console.setblocking(True)
            console.sendall(_TYPED)
            until(partial(_answers, real, index), f"{real.vm(index)} answers", 60)
    return sum(_answers(real, index) for index in range(vms))


def _answers(real: RealSandbox, index: int) -> bool:
    said = real.real.console_of(real.vm(index)).read_text(errors="replace")
    return f"it is 42 {real.vm(index)}." in said


def _told(real: RealSandbox, index: int, what: str) -> str:
    said = real.real.console_of(real.vm(index)).read_text(errors="replace")
    found = re.findall(rf"megafleet: ready .*\b{what}=(\S*)", said)
    return str(found[-1]) if found else ""


def _pss(pids: list[int]) -> float:
    return statistics.mean(map(pss_mib, pids))


def _idle(real: RealSandbox, vms: int, out: Measured) -> None:
    pids = pids_of(real, vms)
    agent, before = real.pid("agent"), sum(map(seconds_of, pids))
    of_agent = seconds_of(agent)
    time.sleep(_IDLE_SECONDS)  # what is measured
    spent = sum(map(seconds_of, pids)) - before
    out.add(
        f"idle load of a clone at {vms}", spent / vms / _IDLE_SECONDS * 100, "% of a core", 0.24,
        0.12,
    )  # fmt: skip
    out.add(
        f"idle CPU of the agent at {vms} clones",
        (seconds_of(agent) - of_agent) / _IDLE_SECONDS * 100, "%", 10, 3,
    )  # fmt: skip
    out.add(f"memory of the agent at {vms} clones", resident_mib(agent), "MiB", 150, 80)


def _removed(real: RealSandbox, clones: int, out: Measured) -> None:
    started = time.monotonic()
    real.fleetctl("scale", real.real.fleet, "--total", "0")
    out.notes[f"seconds_{clones}_clones_to_0"] = round(time.monotonic() - started, 1)
    folder = Path(real.real.clones)
    templates = Path(templates_folder(real.folder.state_of(AGENT) / "ledger"))
    taps = [
        one for one in Path("/sys/class/net").iterdir() if re.fullmatch("mf[0-9a-f]{12}", one.name)
    ]
    left = [*running(folder), *folder.iterdir(), *real.clones(), *templates.iterdir(), *taps]
    out.add(f"{clones} -> 0: processes, folders, disks, templates, taps left", len(left), "", 0, 0)
