#!/usr/bin/env python3
"""The emulated dom0 from the command line: packages, build, start, join, ssh, status, stop."""

import argparse
import json
import os
import signal
import sys
import time
from dataclasses import asdict

from emulated_dom0.building.disk_image import build_image, prune_cache
from emulated_dom0.commands import Stopwatch
from emulated_dom0.errors import LabError
from emulated_dom0.folders import Folders, lab_folders
from emulated_dom0.host_packages import install_missing
from emulated_dom0.running.agent_install import install_agent, wait_joined
from emulated_dom0.running.lab_cluster import NAME, cluster_down, cluster_up, issue_identity
from emulated_dom0.running.machine import (
    Size,
    require_machine,
    running_machine,
    start_machine,
    stop_machine,
)
from emulated_dom0.running.secure_shell import Dom0

_BOOT_SECONDS = 900.0
_JOIN_SECONDS = 300.0


def packages(folders: Folders, options: argparse.Namespace) -> int:
    install_missing(folders.logs / "apt.log")
    return 0


def build(folders: Folders, options: argparse.Namespace) -> int:
    with folders.locked():
        install_missing(folders.logs / "apt.log")
        image = build_image(folders, Stopwatch())
        machine = running_machine(folders)
        prune_cache(folders, image, machine.image if machine else None)
    print(f"lab: image {image.folder}")
    return 0


def start(folders: Folders, options: argparse.Namespace) -> int:
    watch = Stopwatch()
    with folders.locked():
        machine = running_machine(folders)
        if machine is None:
            install_missing(folders.logs / "apt.log")
            image = build_image(folders, watch)
            prune_cache(folders, image, in_use=None)
            cluster_down(folders)
            size = Size(options.memory, options.dom0_memory, options.cpus, options.tank)
            machine = start_machine(folders, image, size)
            watch.say(f"booting, ssh on 127.0.0.1:{machine.ssh_port}")
    Dom0(folders, machine).wait_ready(options.timeout)
    watch.say("the dom0 is up")
    return 0


def join(folders: Folders, options: argparse.Namespace) -> int:
    watch = Stopwatch()
    with folders.locked():
        machine = require_machine(folders)
        cluster = cluster_up(folders)
        watch.say(f"controller on {cluster.controller}, fleetctl's context is {NAME}")
        install_agent(Dom0(folders, machine), machine, cluster, issue_identity(folders, cluster))
        watch.say("the agent of this checkout runs in the dom0")
        wait_joined(folders, machine, options.timeout)
    watch.say("the controller sees the dom0 live")
    return 0


def stop(folders: Folders, options: argparse.Namespace) -> int:
    with folders.locked():
        machine = running_machine(folders)
        if machine is not None:
            Dom0(folders, machine).close()
        cluster_down(folders)
        print("lab: stopped" if stop_machine(folders) else "lab: was not running")
    return 0


def status(folders: Folders, options: argparse.Namespace) -> int:
    machine = running_machine(folders)
    if options.json:
        print(json.dumps({"running": machine is not None, **(asdict(machine) if machine else {})}))
    elif machine is None:
        print("lab: not running")
    else:
        print(
            f"lab: running for {time.time() - machine.started_at:.0f} s, image {machine.image}, "
            f"QEMU's pid {machine.process.pid}, ssh on 127.0.0.1:{machine.ssh_port}, "
            f"agent on 127.0.0.1:{machine.agent_port}"
        )
    return 0


def ssh(folders: Folders, options: argparse.Namespace) -> int:
    command = Dom0(folders, require_machine(folders)).ssh_command(*options.command)
    os.execvp(command[0], command)


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    needed = actions.add_parser("packages", help="install what the lab and the guests need here")
    needed.set_defaults(action=packages)
    actions.add_parser("build", help="build the image, once").set_defaults(action=build)
    starting = actions.add_parser("start", help="build if need be, boot, wait until it is up")
    default = Size()
    starting.add_argument("--memory", type=int, default=default.memory, help="MiB in all")
    starting.add_argument("--dom0-memory", type=int, default=default.dom0_memory, help="MiB")
    starting.add_argument("--cpus", type=int, default=default.cpus)
    starting.add_argument("--tank", type=int, default=default.tank, help="GiB of the pool's disk")
    starting.add_argument("--timeout", type=float, default=_BOOT_SECONDS, help="seconds")
    starting.set_defaults(action=start)
    joining = actions.add_parser("join", help="install the agent, join it to a controller here")
    joining.add_argument("--timeout", type=float, default=_JOIN_SECONDS, help="seconds")
    joining.set_defaults(action=join)
    stating = actions.add_parser("status", help="does it run, and on which ports")
    stating.add_argument("--json", action="store_true")
    stating.set_defaults(action=status)
    shell = actions.add_parser("ssh", help="a shell in the dom0, or one command")
    shell.add_argument("command", nargs=argparse.REMAINDER)
    shell.set_defaults(action=ssh)
    actions.add_parser("stop", help="stop it and drop its disks").set_defaults(action=stop)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.action(lab_folders(), options))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
