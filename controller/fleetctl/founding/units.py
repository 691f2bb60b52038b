"""etcd and the controller as units of systemd, or as commands for a terminal where that is not
running."""

from __future__ import annotations

import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fleetctl.founding.machine import CONTROLLER_USER, ETCD_USER, Machine
from fleetctl.outcome import Failed, one_line

RUNNING = Path("/run/systemd/system")
# A controller is ready when its store answers; etcd when it has a leader, which may need others.
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Unit:
    """`user`: whom it runs as; `line`: what it runs, for a shell."""

    name: str
    user: str
    line: str


def etcd_unit(machine: Machine) -> Unit:
    settings = shlex.quote(str(machine.etcd_settings))
    return Unit("etcd", ETCD_USER, f"set -a; . {settings}; exec etcd")


def controller_unit(machine: Machine) -> Unit:
    settings = shlex.quote(str(machine.controller_settings))
    return Unit(
        "fleet-controller",
        CONTROLLER_USER,
        f'. {settings}; exec fleet-controller --listen "$LISTEN" --advertise "$ADVERTISE"'
        ' --replica "$REPLICA" --identity "$IDENTITY" --store "$STORE"'
        ' --store-identity "$STORE_IDENTITY" $OPTIONS',
    )


def foreground(machine: Machine, unit: Unit) -> str:
    """The line that runs it in a terminal."""
    line = f"sh -c {shlex.quote(unit.line)}"
    if machine.is_whole and os.geteuid() == 0:
        return f"runuser -u {unit.user} -- {line}"
    return line


def has_systemd(machine: Machine) -> bool:
    return machine.is_whole and RUNNING.is_dir()


def start(unit: Unit, *, anew: bool, until_ready: bool = False) -> None:
    """Now and at each boot; returns when it has begun, since a member of etcd is ready only once
    others are. `anew`: with settings that it has not read yet. `until_ready`: return
    when it serves: whoever is called next may need it. Raises Failed."""
    systemctl("daemon-reload")
    systemctl("enable", "--quiet", unit.name)
    meanwhile = () if until_ready else ("--no-block",)
    systemctl("restart" if anew else "start", *meanwhile, unit.name)


def restart_controller(machine: Machine, *, until_ready: bool = True) -> str:
    """It reads its settings and its certificate for etcd at its start. What was done, or is to be
    done by hand, in words. Without `until_ready` it may be that etcd gives no answer before other
    machines are seen to. Raises Failed."""
    if not has_systemd(machine):
        return "restart the controller here"
    start(controller_unit(machine), anew=True, until_ready=until_ready)
    return "the controller here is restarted with it"


def systemctl(*arguments: str) -> None:
    try:
        done = subprocess.run(
            ["systemctl", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"systemctl {' '.join(arguments)} did not end: {error}") from error
    if done.returncode:
        said = one_line((done.stderr.strip() or done.stdout.strip())[:400])
        raise Failed(f"systemctl {' '.join(arguments)} failed: {said}")
