"""A sandbox of its own for the benchmark, and what can be read off its processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from fleet.transport import CONTROLLER_NAME, Identity, channel_options
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleet_controller.store.etcd.store import EtcdStore
from megafleet.connection.cluster import Cluster
from megafleet.contexts import ClusterContext

FLEETCTL = Path(sys.executable).with_name("fleetctl")
PATIENCE = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


def until(
    condition: Callable[[], bool], what: str, patience: float = PATIENCE, pause: float = 0.05
) -> None:
    """Ask again until it holds. Raises RuntimeError after so many seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {patience:.0f} s: {what}")
        time.sleep(pause)  # what is asked here, nothing announces


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since their start, and resident MiB, by kind of process."""

    cpu: dict[str, float]
    memory: dict[str, float]

    def since(self, before: Usage) -> dict[str, float]:
        return {kind: self.cpu[kind] - before.cpu.get(kind, 0.0) for kind in self.cpu}


class ClusterUnderTest:
    """A sandbox in a state folder of its own; nothing of the user's is touched."""

    def __init__(
        self, home: Path, hosts: int, profile: str = "instant", options: tuple[str, ...] = ()
    ) -> None:
        self._home = home
        self.hosts = hosts
        self._options = (f"--hosts={hosts}", f"--profile={profile}", *options)
        self.environment = {
            **os.environ,
            "XDG_STATE_HOME": str(home / "state"),
            "MEGAFLEET_CONFIG": str(home / "config.toml"),
        }
        self.up_seconds = 0.0
        self.description: dict[str, Any] = {}

    @contextmanager
    def running(self) -> Iterator[ClusterUnderTest]:
        started = time.monotonic()
        self.fleetctl("sandbox", "up", *self._options)
        self.up_seconds = time.monotonic() - started
        try:
            self.look()
            address = self.description["endpoints"][0]
            identity = Identity.load(self.certificates / "operator")
            options = channel_options(CONTROLLER_NAME)
            with grpc.secure_channel(address, identity.for_channel(), options) as channel:
                self.stub = ClusterServiceStub(channel)
                yield self
        finally:
            self.fleetctl("sandbox", "down")

    def look(self) -> None:
        """At its processes, which may be others by now."""
        self.description = self.asked("sandbox", "status")

    def client(self) -> Cluster:
        """What fleetctl reaches its controllers by."""
        operator = self.certificates / "operator"
        return Cluster(ClusterContext.with_identity(self.description["endpoints"], operator), 10.0)

    def fleetctl(self, *arguments: str) -> str:
        """What it prints; an error with what it said when it fails."""
        done = subprocess.run(
            [str(FLEETCTL), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode:
            raise RuntimeError(f"fleetctl {' '.join(arguments)}: {done.stderr.strip()[-500:]}")
        return done.stdout

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """A fleetctl that goes on until it is left."""
        command = [str(FLEETCTL), *arguments]
        with subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    def asked(self, *arguments: str) -> Any:
        return json.loads(self.fleetctl(*arguments, "-o", "json"))

    def timed(self, *arguments: str) -> float:
        """Seconds of the whole process."""
        started = time.monotonic()
        self.fleetctl(*arguments)
        return time.monotonic() - started

    def metric(self, name: str) -> float:
        """The leader's one series of this name, as it is scraped."""
        where = next(one["metrics"] for one in self.description["processes"] if one["leader"])
        with urllib.request.urlopen(f"http://{where}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        if found is None:
            raise RuntimeError(f"{where} tells no {name}")
        return float(found[1])

    def status(self, fleet: str) -> cluster.StatusResponse:
        return self.stub.Status(cluster.StatusRequest(fleet=fleet), timeout=30)

    def scale(self, fleet: str, total: int, limit: float = 300.0) -> tuple[float, float]:
        """Seconds until accepted, and from then until status says converged.

        Raises RuntimeError when it does not within `limit` seconds.
        """
        started = time.monotonic()
        self.stub.Scale(cluster.ScaleRequest(fleet=fleet, total=total), timeout=30)
        accepted = time.monotonic()
        watch = self.stub.WatchStatus(
            cluster.WatchStatusRequest(fleet=fleet, interval_ms=50), timeout=limit
        )
        for answer in watch:
            state = answer.fleets[0]
            if state.converged and state.total == total:
                watch.cancel()
                return accepted - started, time.monotonic() - accepted
        raise RuntimeError(f"{fleet} did not converge at {total:,} within {limit:.0f} s")

    def listed(self, uid: str) -> int:
        """VMs of the fleet that run, as the drivers of all hollow hosts list them."""
        return sum(
            _ask(process["listing"]).get(uid, {"running": 0})["running"]
            for process in self.description["processes"]
            if process["listing"]
        )

    def usage(self) -> Usage:
        cpu: dict[str, float] = {}
        memory: dict[str, float] = {}
        for process in self.description["processes"]:
            kind, pid = process["kind"], process["pid"]
            cpu[kind] = cpu.get(kind, 0.0) + cpu_seconds(pid)
            memory[kind] = memory.get(kind, 0.0) + _resident_mib(pid)
        return Usage(cpu, memory)

    def store(self) -> tuple[int, int]:
        """etcd's revision, which each transaction raises by one, and the number of keys."""
        return asyncio.run(self._read_store())

    async def _read_store(self) -> tuple[int, int]:
        endpoint = next(p["address"] for p in self.description["processes"] if p["kind"] == "etcd")
        identity = Identity.load(self.certificates / "etcd-client")
        store = await EtcdStore.connect([endpoint], identity=identity)
        try:
            snapshot = await store.read()
        finally:
            await store.close()
        return snapshot.revision, len(snapshot.entries)

    @property
    def certificates(self) -> Path:
        return Path(self.description["folder"]) / "certificates"


def _ask(path: str) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(path)
        connection.sendall(b"all\n")
        with connection.makefile() as answer:
            found: dict[str, Any] = json.loads(answer.readline())
            return found


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
