#!/usr/bin/env python3
"""Writes screens.md from a real sandbox: `.venv/bin/python docs/screens.py`.

A sandbox of four hosts is brought up in a folder of its own, VMs are started of which some fail,
and each command is run on a terminal of its own, 80 columns wide. What differs from run to run is
made alike afterwards: moments, ages, ports, ids, and the last digits of what was measured.
"""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from fcntl import ioctl
from itertools import count
from pathlib import Path
from termios import TIOCSWINSZ

HERE = Path(__file__).parent
FLEETCTL = Path(sys.executable).with_name("fleetctl")
SAMPLE = HERE.parent / "deploy" / "samples" / "spv.yaml"
_MOMENT = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
COLUMNS, ROWS = 80, 40
SECONDS = 120.0

# Which VMs fail follows from the fleet's id, and so from chance.
PROFILE = """\
[[faults]]
step = "start"
rate = 0.01
kind = "no_memory"
message = "4 MiB more are wanted than the host has"
"""

# What is done before the screens are taken. The second template makes a rollout possible.
STEPS = (
    "sandbox up --name screens --hosts 4 --profile {folder}/profile.toml",
    "apply -f {folder}/spv.yaml",
    "scale spv --total 600",
    "vms stop spv --index 40-49 --yes",
    "wait spv --for converged --timeout 30s",
    "hosts cordon hollow-00003",
    "apply -f {folder}/larger.yaml",
)
# Heading, sentence, command.
SCREENS = (
    ("Status", "How fleets and hosts stand, and why VMs fail.", "status"),
    ("Check", "One line and an exit code, for scripts and for Nagios.", "status --check"),
    ("Fleets", "A line each; `-o wide` has more.", "fleets"),
    ("Hosts", "What does not fit is left out, the least important first.", "hosts"),
    ("One host", "What it is, what it runs, what troubles it.", "hosts show hollow-00001"),
    ("VMs", "Those that failed, each with its reason.", "vms --state failed --limit 5"),
    ("One VM", "Where it is, and what follows from its index.", "vms show spv-250"),
    ("Columns", "Only these, sorted.", "hosts --columns host,running,failed --sort -failed"),
    ("Events", "What happened, the latest last.", "events --limit 5"),
    ("History", "Which changes were accepted, and whose they were.", "history"),
    ("Top", "What VMs use: the greatest users first.", "top --once --limit 5"),
    ("Images", "Golden images of all hosts.", "images"),
    ("Plan", "What a scale would do, and what is in its way.", "plan spv --total 1200 --partial"),
    ("Rollout", "What it would mean to make VMs anew.", "rollout start spv --plan"),
    ("Doctor", "Which limits of a host are in the way.", "doctor hollow-00001"),
    ("Help", "Commands in groups; each page has examples.", "--help"),
    ("A page of help", "Options of all commands are in one line.", "scale --help"),
)

PAGE = """\
# What fleetctl shows

Each screen as a terminal of 80 columns has it, without its colours; where there is more room, lists
show more. They are taken from a sandbox by `.venv/bin/python docs/screens.py`; moments, addresses
and what was measured are made alike; which VMs fail is chance. Live screens
(`watch`, `top`, `scale`, lists with `--watch`) show the same, again and again; the wall has
[a page of its own](wall.md).
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="megafleet-screens-") as name:
        folder = Path(name)
        environment = {
            **os.environ,
            "XDG_STATE_HOME": f"{folder}/state",
            "XDG_CONFIG_HOME": f"{folder}/config",
            "NO_COLOR": "1",
            "TERM": "xterm",
            "TZ": "UTC",
        }
        (folder / "profile.toml").write_text(PROFILE)
        (folder / "spv.yaml").write_text(SAMPLE.read_text())
        larger = SAMPLE.read_text().replace("memory: 16MiB", "memory: 24MiB")
        (folder / "larger.yaml").write_text(larger)
        try:
            for step in STEPS:
                run(step.format(folder=folder), environment)
            shown = [on_a_terminal(command, environment) for _, _, command in SCREENS]
        finally:
            run("sandbox down --name screens", environment)
    (HERE / "screens.md").write_text(PAGE + "".join(blocks(alike(shown))))


def run(command: str, environment: dict[str, str]) -> None:
    """What it says is of no matter, nor how it ends: VMs that fail are wanted here."""
    print(f"fleetctl {command}", file=sys.stderr)
    words = [str(FLEETCTL), *command.split()]
    subprocess.run(words, env=environment, timeout=SECONDS, stdout=subprocess.DEVNULL)


def on_a_terminal(command: str, environment: dict[str, str]) -> str:
    """What a terminal shows once the command has ended."""
    ours, its = pty.openpty()
    ioctl(its, TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    words = [str(FLEETCTL), *command.split()]
    with subprocess.Popen(words, env=environment, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        text = b"".join(read(ours)).decode()
        process.wait(SECONDS)
    os.close(ours)
    lines = [line.rpartition("\r")[2] for line in text.replace("\r\n", "\n").split("\n")]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(line.rstrip() for line in lines)).strip("\n")


def read(file: int) -> Iterator[bytes]:
    while True:
        try:
            content = os.read(file, 65536)
        except OSError:  # nobody has the other end any more
            return
        if not content:
            return
        yield content


def numbered(screen: str) -> str:
    """Its moments, each a minute after the one before: some are of one second, by chance."""
    minutes = count()
    return re.sub(_MOMENT, lambda _: f"2026-03-01 09:{next(minutes):02}:00", screen)


def alike(screens: list[str]) -> list[str]:
    """The same without what differs from run to run; as wide as it was, so that columns stay."""
    screens = [numbered(one) for one in screens]
    everything = "\x00".join(screens)
    ports: dict[str, str] = {}

    def port(match: re.Match[str]) -> str:
        return ports.setdefault(match[0], f"127.0.0.1:{17441 + len(ports)}")

    for pattern, stable in (
        (r"ends on 20\d\d-\d\d-\d\d \d\d:\d\d", "ends on 2027-03-01 09:00"),
        (r"127\.0\.0\.1:\d+", port),
        (r"\d+(\.\d)? s ago", "2 s ago"),
        (r"(\bCPU [\d,]+)\.\d %", r"\1.0 %"),
        (r"over \d\.\d s", "over 2.0 s"),
        (r"read in [\d.]+ ms", "read in 0.6 ms"),
        (r"\d+ [KM]iB( of [\d.]+ GiB)? used, read", "24 KiB used, read"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "6930e9d8-a32c-514f-beec-f90deaf2d203"),
        (r"--token [0-9a-f]+", "--token aceda05b0378b80381"),
        (r"(failed for +)[\d.:]+( s)?", r"\g<1>2.0 s"),
    ):
        everything = re.sub(pattern, stable, everything)
    return everything.split("\x00")


def blocks(shown: list[str]) -> Iterator[str]:
    for (heading, sentence, command), text in zip(SCREENS, shown, strict=True):
        yield f"\n## {heading}\n\n{sentence}\n\n```text\n$ fleetctl {command}\n{text}\n```\n"


if __name__ == "__main__":
    main()
