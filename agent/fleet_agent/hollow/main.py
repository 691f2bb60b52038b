"""fleet-hollow: many hollow hosts in one process, each a whole agent on an address of its own."""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import random
import resource
import signal
import sys
import time
import uuid
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fleet.endpoints import BadEndpoint, dialled, listened
from fleet_agent.controllers.announcer import AnnounceSettings
from fleet_agent.daemon import logs
from fleet_agent.daemon.server import CannotListen, SharedServices
from fleet_agent.drivers.hollow.profile import BadProfile, load_profile
from fleet_agent.drivers.ports.errors import first_error
from fleet_agent.hollow.host import (
    HollowEnvironment,
    HollowHost,
    HollowSettings,
    Remembered,
    host_id,
)
from fleet_agent.hollow.joining import join_all
from fleet_agent.hollow.listing import ListingServer
from fleet_agent.hollow.loopback import LOOPBACK, free_ports
from fleet_agent.joining.token_sources import Invitation, NoToken, token_in
from fleet_agent.reconcile.loop import LoopSettings
from fleet_agent.reconcile.runner import RunnerSettings

if TYPE_CHECKING:
    from fleet_agent.metrics.endpoint import MetricsEndpoint

# A listening socket, a controller's connection, another for announcing, and room for a second
# controller; the rest is gRPC's own, Python's, and the files it opens.
FILES_PER_HOST = 4
FILES_BESIDE = 256
# Handshakes at once: more only makes each of them slower.
ANNOUNCE_AT_ONCE = 32
# Hosts whose servers start together.
START_AT_ONCE = 64


class HollowError(Exception):
    """The process cannot run its hosts; one sentence."""


# What is no bug of ours.
MISTAKES = (HollowError, BadProfile, CannotListen, NoToken, OSError)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="fleet-hollow", description=__doc__)
    made.add_argument(
        "--hosts", required=True, type=host_range, metavar="FIRST-LAST", help="or a count"
    )
    made.add_argument("--per-host", type=count, default=250, metavar="VMS")
    made.add_argument("--address", default=LOOPBACK, help="on which its hosts serve")
    made.add_argument("--profile", default="instant", help="instant, dom0 or a TOML file")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--certificates", required=True, type=Path, metavar="FOLDER")
    made.add_argument(
        "--join-token", type=Path, metavar="FILE", help="hosts without certificates join by it"
    )
    made.add_argument("--join-endpoints", type=endpoints, default=(), metavar="HOST:PORT,...")
    made.add_argument("--endpoints", required=True, type=endpoints, metavar="HOST:PORT,...")
    made.add_argument("--state", required=True, type=Path, metavar="FOLDER")
    made.add_argument("--racks", type=count, default=40, metavar="HOSTS", help="hosts in one rack")
    made.add_argument("--listing", type=Path, metavar="SOCKET")
    made.add_argument(
        "--metrics-listen",
        type=served,
        default="",
        metavar="HOST:PORT",
        help="their /metrics together",
    )
    made.add_argument("--audit", type=float, default=600.0, metavar="SECONDS")
    made.add_argument("--batch-size", type=count, default=RunnerSettings().batch_size)
    made.add_argument("--log-level", choices=logs.LEVELS, default="warning")
    return made


def endpoints(text: str) -> tuple[str, ...]:
    """From "HOST:PORT,...". For argparse."""
    try:
        return tuple(map(dialled, text.split(",")))
    except BadEndpoint as bad:
        raise argparse.ArgumentTypeError(str(bad)) from None


def served(text: str) -> str:
    """An endpoint to serve on, or none. For argparse."""
    try:
        return listened(text) if text else ""
    except BadEndpoint as bad:
        raise argparse.ArgumentTypeError(str(bad)) from None


def host_range(text: str) -> range:
    """From "1-2240" or "2240". For argparse."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is neither a count nor FIRST-LAST")
    numbers = range(int(first), int(last) + 1) if dash else range(1, int(first) + 1)
    if not numbers or numbers[0] < 1:
        raise argparse.ArgumentTypeError(f"{text!r} names no hosts; they are counted from 1")
    return numbers


def count(text: str) -> int:
    """A number of at least 1. For argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def main() -> None:
    options = parser().parse_args()
    logs.configure(options.log_level)
    try:
        raise_file_limit(len(options.hosts))
        # A thousand agents live as long as the process: walking over them at every few hundred
        # new objects is a quarter of its time.
        gc.set_threshold(50_000, 20, 100)
        asyncio.run(run(options))
    except (*MISTAKES, ExceptionGroup) as error:
        sys.exit(f"fleet-hollow: {sentence_of(error)}")


def sentence_of(error: Exception) -> str:
    """What went wrong, from the first error of a group of them. Raises what is a bug of ours."""
    first = first_error(error)
    if not isinstance(first, MISTAKES):
        raise first
    if isinstance(first, OSError):
        where = f"{first.filename}: " if first.filename else ""
        return f"{where}{first.strerror or first}"
    return str(first)


def raise_file_limit(hosts: int) -> None:
    """Up to what the system allows. Raises HollowError when that is too little."""
    needed = hosts * FILES_PER_HOST + FILES_BESIDE
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        fit = max(0, (hard - FILES_BESIDE) // FILES_PER_HOST)
        raise HollowError(
            f"{hosts} hosts need {needed} open files and this system allows {hard} (ulimit -Hn): "
            f"raise that, or run at most {fit} hosts in one process"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run(options: argparse.Namespace) -> None:
    """Until SIGTERM or SIGINT."""
    settings = HollowSettings(
        certificates=options.certificates,
        endpoints=options.endpoints,
        address=options.address,
        per_host=options.per_host,
        profile=load_profile(options.profile),
        seed=options.seed,
        hosts_per_rack=options.racks,
        boot_id=str(uuid.uuid4()),
        agent=LoopSettings(
            runner=RunnerSettings(batch_size=options.batch_size), audit_interval=options.audit
        ),
        announce=AnnounceSettings(),
    )
    metrics = _metrics(options.metrics_listen) if options.metrics_listen else None
    around = HollowEnvironment(
        clock=time.monotonic,
        jitter=random.Random(f"{options.seed}/{options.hosts[0]}").random,
        gate=asyncio.Semaphore(ANNOUNCE_AT_ONCE),
        measures=metrics.counters if metrics else None,
        services=SharedServices(),
        # The processes of one sandbox begin side by side, those of another elsewhere.
        ports=free_ports(
            zlib.crc32(",".join(options.endpoints).encode()) / 2.0**32,
            options.hosts[0] - 1,
            options.address,
        ),
    )
    await around.services.serving()
    memory = Memory(options.state)
    if options.join_token:
        invitation = Invitation(token_in(options.join_token), options.join_endpoints)
        names = [host_id(number) for number in options.hosts]
        await join_all(names, options.certificates, invitation, around.gate, around.jitter)
        print(json.dumps({"event": "joined", "hosts": len(names)}), flush=True)
    # Hosts that have joined have their own.
    ca = b"" if options.join_token else (options.certificates / "ca.pem").read_bytes()
    hosts = [
        HollowHost(number, settings, around, ca, memory.of(host_id(number)))
        for number in options.hosts
    ]
    # Before any of them announces itself: a host that is killed in between keeps its name.
    memory.save()
    listing = ListingServer({host.id: host.drivers for host in hosts})
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as the agent, which reads nothing anew
    async with asyncio.TaskGroup() as group:
        if options.listing:
            await listing.start(options.listing)
        await bring_up(hosts, memory, group)
        if metrics:
            group.create_task(metrics.run([host.agent for host in hosts]))
        gc.freeze()
        print(json.dumps({"event": "listening", "hosts": len(hosts)}), flush=True)
        await stopping.wait()
        # Nothing of a hollow host is to be saved, and to stop thousands of servers one by one
        # takes seconds.
        os._exit(0)


def _metrics(address: str) -> MetricsEndpoint:
    from fleet_agent.metrics.endpoint import MetricsEndpoint  # what it needs takes long to load

    return MetricsEndpoint(address)


async def bring_up(hosts: list[HollowHost], memory: Memory, group: asyncio.TaskGroup) -> None:
    """In lots, so that those that serve already answer meanwhile."""
    for at in range(0, len(hosts), START_AT_ONCE):
        for host in hosts[at : at + START_AT_ONCE]:
            memory.hosts[host.id] = host.listen()
            await host.start()
        for host in hosts[at : at + START_AT_ONCE]:
            host.run(group)
    memory.save()


class Memory:
    """`hosts.json` in the state folder: the port and the incarnation of each host."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "hosts.json"
        self.hosts: dict[str, Remembered] = {}
        if self._path.exists():
            try:
                known = msgspec.json.decode(self._path.read_bytes(), type=dict[str, Remembered])
            except msgspec.MsgspecError as error:
                raise HollowError(f"{self._path} is broken ({error}); remove it") from error
            self.hosts = known

    def of(self, host: str) -> Remembered:
        if host not in self.hosts:
            self.hosts[host] = Remembered(0, uuid.uuid4().hex)
        return self.hosts[host]

    def save(self) -> None:
        beside = self._path.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(self.hosts))
        beside.replace(self._path)


if __name__ == "__main__":
    main()
