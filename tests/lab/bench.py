"""Figures of a dense dom0, on the lab's: `make lab-bench`. Everything is emulated, so seconds say
little; both ways of each comparison run one after the other in one run, and ratios are told.

Prints one table, and writes it with the conditions as lab-bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
SAMPLE = CHECKOUT / "deploy" / "samples" / "lab-tiny.yaml"
PROGRAM = CHECKOUT / "deploy" / "lab" / "lab.py"
IN_DOM0 = Path(__file__).with_name("in_dom0.py")
RESULTS = CHECKOUT / "lab-bench.json"
FLEET = "lab"
LONGEST = 7200.0

# Sources of the agent in the lab's dom0, and its environment.
PYTHON = (
    "PYTHONPATH=/opt/megafleet/src/proto:/opt/megafleet/src/agent /opt/megafleet/venv/bin/python"
)


@dataclass
class Table:
    """Figures as they come: printed at once, kept for the JSON."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, what: str, seen: float | str, must: str = "", aim: str = "") -> None:
        self.rows.append({"what": what, "seen": seen, "must": must, "aim": aim})
        shown = f"{seen:,.4g}" if isinstance(seen, float) else str(seen)
        print(f"{what:<72} {shown:>14}  {must:<10} {aim}", flush=True)


def ssh(command: str, text: str = "") -> str:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), "ssh", command],
        input=text,
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )
    if done.returncode:
        raise SystemExit(f"lab-bench: {command[:80]}: {done.stderr[-2000:]}{done.stdout[-500:]}")
    return done.stdout


def fleetctl(*arguments: str) -> Any:
    program = str(CHECKOUT / ".venv" / "bin" / "fleetctl")
    command = [program, "--context", "lab", "-o", "json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    if done.returncode:
        raise SystemExit(f"lab-bench: fleetctl {arguments[0]}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def until(holds: Callable[[], object], pause: float = 0.5) -> float:
    """Seconds until it held; what is asked here, nothing announces."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > LONGEST:
            raise SystemExit("lab-bench: something that was awaited did not come")
        time.sleep(pause)
    return time.monotonic() - began


def scale(total: int) -> float:
    began = time.monotonic()
    fleetctl("scale", FLEET, "--total", str(total), "--timeout", str(LONGEST))
    return time.monotonic() - began


def measured(what: str, count: int) -> dict[str, float]:
    answer = ssh(f"{PYTHON} - {what} {count}", IN_DOM0.read_text())
    seen: dict[str, float] = json.loads(answer.splitlines()[-1])
    return seen


def clones(table: Table, count: int) -> None:
    seen = measured("clones", count)
    for way, seconds in seen.items():
        table.add(f"{count} clones, {way}, s", seconds)
    table.add("clones: shell loop / agent", seen["shell"] / seen["agent"], "5 x", "20 x")
    table.add("clones: pyzfs one by one / agent", seen["one by one"] / seen["agent"])
    table.add("destroy: shell loop / agent", seen["shell destroy"] / seen["agent destroy"])


def domains(table: Table, count: int) -> None:
    seen = measured("domains", count)
    for way, seconds in seen.items():
        table.add(f"{count} domUs defined, started, ready: {way}, s", seconds)
    stock, fast = seen["shell, Xen's script"], seen["shell, our hotplug path"]
    table.add("domUs: shell loop with Xen's script / agent", stock / seen["agent"], "6 x", "10 x")
    table.add("domUs: shell loop with our path / agent", fast / seen["agent"], "1.3 x", "2 x")


def starts(table: Table, running: int, count: int) -> None:
    seen = measured("starts", count)
    xl = (seen["xl"] + seen["xl again"]) / 2
    table.add(f"a start with {running} running: xl create, s each", xl / count)
    table.add(f"a start with {running} running: agent, s each", seen["agent"] / count)
    table.add("start: agent / xl", seen["agent"] / xl, "1.2 x", "< 1 x")


def consoles(table: Table, count: int) -> None:
    """How many run, and how many answer what is typed on their consoles."""
    running = sum(name.startswith(f"{FLEET}-") for name in ids())
    table.add(f"of {count} domUs: running, as xl tells", running, str(count))
    answered = measured("answers", count)["answered"]
    table.add(f"of {count} domUs: consoles that answer what is typed", int(answered), str(count))


def ids() -> dict[str, str]:
    rows = [line.split() for line in ssh("xl list").splitlines()[1:]]
    return {row[0]: row[1] for row in rows if row[0].startswith(f"{FLEET}-")}


def killed_agent(table: Table, total: int) -> None:
    """From SIGKILL until the restarted agent has told the controller that all of them run."""
    before = ids()
    ssh("systemctl kill -s KILL fleet-agent")
    began = time.monotonic()
    until(lambda: _host()["health"] != "live", 0.1)
    scale(total)  # one process that follows, where asking again and again takes time from the dom0
    table.add("agent killed and restarted: all adopted after, s", time.monotonic() - began, "10 s")
    table.add("domUs restarted by that", _restarted(before), "0")


def _restarted(before: dict[str, str]) -> int:
    now = ids()
    return sum(now.get(name) != life for name, life in before.items())


def _host() -> Any:
    (host,) = fleetctl("hosts", "list")["hosts"]
    return host


def _agent() -> dict[str, float]:
    """The agent's resident memory in MiB, CPU seconds, descriptors; and others' of the dom0."""
    script = (
        "P=$(systemctl show -P MainPID fleet-agent); X=$(pgrep xenconsoled); "
        "L=$(pgrep -x libvirtd); O=$(pgrep xenstored); "
        "memory() { grep VmRSS /proc/$1/status | tr -dc '0-9\\n'; }; "
        "memory $P; cut -d' ' -f14,15 /proc/$P/stat; "
        "for p in $P $X $L $O; do ls /proc/$p/fd | wc -l; memory $p; done; "
        "ls /dev/pts | wc -l; xenstore-ls | wc -l"
    )
    lines = ssh(script).split("\n")
    user, system = lines[1].split()
    names = ("agent", "xenconsoled", "libvirtd", "xenstored")
    seen = {"memory MiB": int(lines[0]) / 1024, "cpu s": (int(user) + int(system)) / 100}
    for at, name in enumerate(names):
        seen[f"{name} fds"] = int(lines[2 + 2 * at])
        seen[f"{name} MiB"] = int(lines[3 + 2 * at]) / 1024
    seen["ptys"], seen["xenstore nodes"] = int(lines[10]), int(lines[11])
    return seen


def at_rest(table: Table, total: int, seconds: float = 60.0) -> None:
    before, began = _agent(), time.monotonic()
    time.sleep(seconds)  # the measurement is of what happens while nothing is asked
    after, took = _agent(), time.monotonic() - began
    table.add(f"agent's memory at {total} domUs, MiB", after["memory MiB"], "150", "80")
    idle = 100 * (after["cpu s"] - before["cpu s"]) / took
    table.add(f"agent's idle CPU at {total} domUs, % of an emulated core", idle, "10", "3")


def soak(table: Table, minutes: float) -> None:
    """Nothing restarts, and nothing grows."""
    lives, first = ids(), _agent()
    time.sleep(minutes * 60)  # the soak
    last = _agent()
    table.add(f"soak of {minutes:g} min: domUs restarted", _restarted(lives), "0")
    for name in first:
        if name != "cpu s":
            table.add(f"soak: {name}, before and after", f"{first[name]:.4g} {last[name]:.4g}")


def leftovers(table: Table) -> None:
    ssh("udevadm settle --timeout=60 || true")  # who takes links away does it in its own time
    left = {
        "domains": f"virsh -q -c xen:///system list --all --name | grep -c '^{FLEET}-' || true",
        "clones": f"zfs list -H -o name -t volume | grep -c '^tank/{FLEET}-' || true",
        "xenstore entries": f"xenstore-ls /local/domain | grep -c '\"{FLEET}-' || true",
        "ptys": "ls /dev/pts | grep -vc ptmx || true",
        "nodes": f"ls /dev/zvol/tank | grep -c '^{FLEET}-' || true",
    }
    for what, command in left.items():
        table.add(f"left after the scale to 0: {what}", int(ssh(command).split()[0]), "0")


def conditions() -> dict[str, str]:
    versions = ssh("xl info xen_version; uname -r; cat /sys/module/zfs/version; nproc").split()
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    cpus = len(re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
    return {"dom0": " ".join(versions), "load": load, "machine": f"{cpus} cpus"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab-bench", description=__doc__)
    parser.add_argument("--domus", type=int, default=250)
    parser.add_argument("--soak", type=float, default=0, help="minutes")
    asked = parser.parse_args()
    table, before = Table(), conditions()
    print(f"conditions: {before}", flush=True)
    scale_ready()
    clones(table, asked.domus)
    domains(table, min(50, asked.domus))
    table.add(f"0 -> {asked.domus} domUs on clones, all ready, s", scale(asked.domus))
    consoles(table, asked.domus)
    starts(table, asked.domus, 8)
    at_rest(table, asked.domus)
    killed_agent(table, asked.domus)
    if asked.soak:
        soak(table, asked.soak)
    table.add(f"{asked.domus} -> 0, s", scale(0))
    leftovers(table)
    after = conditions()
    RESULTS.write_text(json.dumps({"before": before, "after": after, "rows": table.rows}, indent=1))


def scale_ready() -> None:
    """The sample's fleet, empty."""
    fleetctl("apply", "-f", str(SAMPLE))
    scale(0)


if __name__ == "__main__":
    main()
