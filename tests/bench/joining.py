"""Thousands of bare hosts join by one token, and renew all their certificates while VMs run."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc

from fleet.transport import Identity, Role
from fleet.v1 import cluster_pb2 as wire
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleetctl.local import authority_rotation as rotation
from megafleet.fleet_file.parser import parse_fleet_file
from tests.bench.cluster_under_test import cpu_seconds, until
from tests.bench.machine_speed import loop_ms
from tests.bench.measures import SAMPLE, Measured
from tests.certificates import authority, identity, issue
from tests.doubles.joining_hosts import issuing_folder
from tests.processes.daemons import Controller, Daemon, channel_to, stub_for
from tests.processes.etcd_process import EtcdProcess, free_ports
from tests.processes.fleetctl_process import Fleetctl

PROCESSES = os.cpu_count() or 1  # of hollow hosts
_IDLE_SECONDS = 20.0
# Seconds between two questions. They are the controller's work, too: where its CPU is measured they
# are few.
_PAUSE, _LONG_PAUSE = 0.5, 5.0
# Each host has a disk of its own. Here they would share one, and the time to make their files
# would be that of its file system: they are in memory where there is such a folder.
_MEMORY = Path("/dev/shm")


class Bare(Daemon):
    """A process of hollow hosts without certificates: it has a token."""

    def __init__(self, folder: Path, first: int, last: int, token: Path, where: str) -> None:
        super().__init__(f"bare-{first}", folder)
        (folder / "certificates").mkdir()
        self._span, self._token, self._where = f"{first}-{last}", token, where

    def start(self, endpoint: str) -> None:
        self.launch(
            "fleet-hollow", "--hosts", self._span, "--certificates",
            str(self.folder / "certificates"), "--endpoints", endpoint,
            "--state", str(self.folder / "state"), "--join-token", str(self._token),
            "--join-endpoints", self._where,
        )  # fmt: skip


def joining(
    home: Path, hosts: int, say: Callable[[str], None], out: Measured, *, replace: bool
) -> None:
    """One controller, one etcd; all on this machine. `replace`: also the authority."""
    with _disks(home) as (disks, kind), _controller(home) as (controller, where, stub):
        operator = issue(home / "operator", Role.OPERATOR, "tester")
        fleetctl = Fleetctl(home, (controller.address,), operator)
        token = home / "token"
        made = fleetctl("tokens", "create", "--name", "hollow-*", "--uses", str(hosts))
        token.write_text(made.out)
        bare = list(_bare(disks, hosts, token, where))
        try:
            say(f"{hosts:,} hosts join by one token")
            speed = loop_ms()
            began, before = time.monotonic(), cpu_seconds(controller.pid)
            for one in bare:
                one.start(controller.address)
            until(lambda: _live(stub) == hosts, "all are live", 600.0, _PAUSE)
            took, used = time.monotonic() - began, cpu_seconds(controller.pid) - before
            theirs = sum(cpu_seconds(one.pid) for one in bare)
            what = f"{hosts:,} hosts join by one token, from nothing to live"
            out.add(what, took, "s", 60, 25)
            out.notes["joining"] = {
                "controller_cpu_s": round(used, 2),
                "hosts_cpu_s": round(theirs, 2),
                "hosts_files": kind,
                "loop_ms_before_and_after": [speed, loop_ms()],
            }
            _renew(home, hosts, controller.pid, stub, say, out)
            if replace:
                _replace_authority(home, hosts, stub, say, out)
        finally:
            for one in bare:
                one.kill()


def _renew(
    home: Path,
    hosts: int,
    pid: int,
    stub: ClusterServiceStub,
    say: Callable[[str], None],
    out: Measured,
) -> None:
    million = min(1_000_000, hosts * 250 * 25 // 28)
    fleet = parse_fleet_file(SAMPLE.read_text(), str(SAMPLE))
    stub.ApplyFleet(wire.ApplyFleetRequest(name=fleet.name, spec=fleet.spec), timeout=30)
    say(f"scale to {million:,}")
    stub.Scale(wire.ScaleRequest(fleet=fleet.name, total=million), timeout=60)
    until(lambda: _status(stub).fleets[0].converged, "all VMs run", 600.0, _PAUSE)
    began, before = time.monotonic(), cpu_seconds(pid)
    time.sleep(_IDLE_SECONDS)  # what it takes while nothing happens
    idle = (cpu_seconds(pid) - before) / (time.monotonic() - began)
    events = _kinds(stub)
    say("another issuing key: all renew")
    began, before = time.monotonic(), cpu_seconds(pid)
    issuing_folder(home / "issuing")
    until(lambda: _status(stub).hosts_to_renew > 0, "it is noticed", 60.0, _PAUSE)
    until(lambda: _status(stub).hosts_to_renew == 0, "all have renewed", 600.0, _LONG_PAUSE)
    took = time.monotonic() - began
    used = cpu_seconds(pid) - before - idle * took
    after, status = _kinds(stub), _status(stub).fleets[0]
    broken = sum(after[kind] - events[kind] for kind in ("host_unreachable", "host_live"))
    many = f"all {hosts:,} certificates renewed while {million:,} VMs run"
    out.add(f"{many}: the controller's CPU", used, "s", 30, 10)
    out.add(f"{many}: streams broken", broken, "", 0, 0)
    out.add(f"{many}: VMs not running", million - status.as_wanted, "", 0, 0)
    out.notes["renewing"] = {"seconds": round(took, 1), "idle_cpu_share": round(idle, 3)}


def _replace_authority(
    home: Path,
    hosts: int,
    stub: ClusterServiceStub,
    say: Callable[[str], None],
    out: Measured,
) -> None:
    """The three steps; a change is asked for in each."""
    authority().save(home / "ca")
    folders = [home / "controller" / "identity", home / "operator"]
    year, events = timedelta(days=365), _kinds(stub)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("begin", lambda: rotation.begin(home / "ca", folders, "Next", year)),
        ("reissue", lambda: rotation.reissue(home / "ca", [*folders, home / "issuing"], year)),
        ("finish", lambda: rotation.finish(home / "ca", folders)),
    ]
    seconds, refused, total = {}, 0, _status(stub).fleets[0].total
    for name, step in steps:
        say(f"another authority: {name}")
        began = time.monotonic()
        step()
        until(lambda: _status(stub).hosts_to_renew > 0, "it is noticed")
        total -= 1
        try:
            stub.Scale(wire.ScaleRequest(fleet=_status(stub).fleets[0].fleet, total=total))
        except grpc.RpcError:
            refused += 1
        until(lambda: _status(stub).hosts_to_renew == 0, "all hold it", 600.0, _PAUSE)
        seconds[name] = round(time.monotonic() - began, 1)
    until(lambda: _status(stub).fleets[0].converged, "all VMs run", 600.0, _PAUSE)
    after, status = _kinds(stub), _status(stub).fleets[0]
    broken = sum(after[kind] - events[kind] for kind in ("host_unreachable", "host_live"))
    what = f"an authority replaced, {hosts:,} hosts"
    out.add(f"{what}: streams broken", broken, "", 0, 0)
    out.add(f"{what}: VMs not running", total - status.as_wanted, "", 0, 0)
    out.add(f"{what}: changes refused, of 3", refused, "", 0, 0)
    out.notes["replacing_the_authority_s"] = seconds


@contextmanager
def _controller(home: Path) -> Iterator[tuple[Controller, str, ClusterServiceStub]]:
    etcd = EtcdProcess(home / "etcd", None, "--quota-backend-bytes=1073741824").start()
    controller = Controller(home / "controller", f"etcd://{etcd.endpoint}")
    where = f"127.0.0.1:{free_ports(1)[0]}"
    issuing = issuing_folder(home / "issuing")
    controller.options = ("--issuing", str(issuing), "--join-listen", where)
    controller.lease_seconds = 6
    try:
        controller.start()
        with channel_to(controller.address, _operator()) as channel:
            stub = stub_for(channel)
            until(lambda: _leads(stub), "it leads")
            yield controller, where, stub
    finally:
        controller.kill()
        etcd.kill()


@contextmanager
def _disks(home: Path) -> Iterator[tuple[Path, str]]:
    """A folder for what hosts write, and what it is."""
    if not os.access(_MEMORY, os.W_OK):
        yield home, "on disk"
        return
    with tempfile.TemporaryDirectory(prefix="megafleet-bench-", dir=_MEMORY) as folder:
        yield Path(folder), "in memory"


def _bare(home: Path, hosts: int, token: Path, where: str) -> Iterator[Bare]:
    share = -(-hosts // PROCESSES)
    for first in range(1, hosts + 1, share):
        folder = home / f"bare-{first}"
        folder.mkdir()
        yield Bare(folder, first, min(hosts, first + share - 1), token, where)


def _status(stub: ClusterServiceStub) -> wire.StatusResponse:
    return stub.Status(wire.StatusRequest(), timeout=30)


def _live(stub: ClusterServiceStub) -> int:
    return _status(stub).hosts.live


def _leads(stub: ClusterServiceStub) -> bool:
    return stub.Version(wire.VersionRequest(), timeout=10).leader


def _kinds(stub: ClusterServiceStub) -> Counter[str]:
    """How often each kind of event was told."""
    found = stub.ListEvents(wire.ListEventsRequest(limit=10_000), timeout=30).events
    kinds: Counter[str] = Counter()
    for event in found:
        kinds[event.kind] += max(1, event.count)
    return kinds


def _operator() -> Identity:
    return identity(Role.OPERATOR, "tester")
