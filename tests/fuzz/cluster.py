"""What is fuzzed: a controller with its store in memory and a process of hollow hosts, and a hollow
host of its own that no controller knows. Whatever a message has poisoned is made anew."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import grpc

from fleet.transport import Identity, Role, channel_options, dns_name
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet.v1.agent_pb2_grpc import AgentServiceStub
from tests.certificates import authority, identity
from tests.processes.daemons import Controller, Hollow, channel_to, eventually, stub_for
from tests.processes.small_cluster import spec

HOSTS = 4
CALL_SECONDS = 20.0
# What one process may grow by while it is fuzzed, beside what its first calls take.
MOST_GROWTH_MIB = 500.0
NOBODY = "nobody"  # a certificate of the right authority that gives no role
ROLES = (*(str(role) for role in Role), NOBODY)


def holder(role: str) -> Identity:
    """Who calls: an agent is a host that is known."""
    if role == NOBODY:
        return _nobody()
    return identity(Role(role), "hollow-00001" if role == Role.AGENT else "fuzz")


@cache
def _nobody() -> Identity:
    issued = authority().issue_server("fuzz", ["fuzz.example.org"])
    return Identity(authority().certificate, issued.certificate, issued.key)


class FuzzedCluster:
    """Both processes; `poisoned` says how often they had to be made anew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.poisoned = 0
        self._lives = 0
        self.uid = ""
        self._began: dict[int, float] = {}

    @contextmanager
    def running(self) -> Iterator[FuzzedCluster]:
        self._start()
        try:
            yield self
        finally:
            self._end()

    def _start(self) -> None:
        self._lives += 1
        folder = self._folder / f"life-{self._lives}"
        self.controller = Controller(folder / "controller", "memory:")
        self.controller.start()
        self.hollow = Hollow(folder / "hollow", 1, HOSTS, self.controller.address, "--per-host=20")
        self.hollow.start()
        with channel_to(self.controller.address) as channel:
            stub = stub_for(channel)
            eventually(
                lambda: stub.Status(cluster.StatusRequest(), timeout=5).hosts.live == HOSTS,
                "all hosts are live",
            )
            stub.ApplyFleet(cluster.ApplyFleetRequest(name="spv", spec=spec()), timeout=5)
            stub.Scale(cluster.ScaleRequest(fleet="spv", total=20), timeout=5)
            eventually(lambda: self._converged(stub), "the fleet runs")
            self.uid = stub.Status(cluster.StatusRequest(), timeout=5).fleets[0].uid
            listed = stub.ListHosts(cluster.ListHostsRequest(), timeout=5).hosts
            self.agent_host = listed[0].id
            self.agent_address = listed[0].address
        self._began = {pid: resident_mib(pid) for pid in self._pids()}

    @staticmethod
    def _converged(stub: object) -> bool:
        answer = stub.Status(cluster.StatusRequest(), timeout=5)  # type: ignore[attr-defined]
        return bool(answer.fleets[0].converged)

    def _end(self) -> None:
        self.hollow.kill()
        self.controller.kill()
        shutil.rmtree(self._folder / f"life-{self._lives}", ignore_errors=True)

    def anew(self) -> None:
        """Whatever was done to them is undone."""
        self.poisoned += 1
        self._end()
        self._start()

    def address(self, service: str) -> tuple[str, str]:
        """Where a service is, and whom its certificate names."""
        if service == "AgentService":
            return self.agent_address, dns_name(Role.AGENT, self.agent_host)
        return self.controller.address, "controller.megafleet"

    def wrong(self) -> str:
        """What an honest caller finds to be broken for good; empty when nothing is. Raises
        grpc.RpcError where a refusal says that it is poisoned, as it may be."""
        for daemon in (self.controller, self.hollow):
            if not daemon.running:
                return f"{daemon.name} has ended: {daemon.said()[-600:]}"
        for pid, before in self._began.items():
            if (now := resident_mib(pid)) > before + MOST_GROWTH_MIB:
                return f"memory of {pid} has grown from {before:.0f} to {now:.0f} MiB"
        return self._unanswered()

    def _unanswered(self) -> str:
        try:
            with channel_to(self.controller.address) as channel:
                stub_for(channel).Status(cluster.StatusRequest(), timeout=CALL_SECONDS)
            address, name = self.address("AgentService")
            mine = identity(Role.CONTROLLER, "fuzz").for_channel()
            with grpc.secure_channel(address, mine, channel_options(name)) as channel:
                request = wire.DescribeRequest()
                request.term.CopyFrom(types.Term())
                AgentServiceStub(channel).Describe(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            code = getattr(error, "code", lambda: None)()
            if code is not grpc.StatusCode.FAILED_PRECONDITION:  # of an agent: STALE_TERM
                return f"an honest call fails: {code} {getattr(error, 'details', str)()}"
        return ""

    def mended(self) -> bool:
        """Whether there is something to be reached again: the fleet, and most of its hosts. It is
        not where changes are refused by now: then all is to be made anew."""
        with channel_to(self.controller.address) as channel:
            stub = stub_for(channel)
            try:
                stub.ApplyFleet(cluster.ApplyFleetRequest(name="spv", spec=spec()), timeout=5)
                request = cluster.ScaleRequest(fleet="spv", total=20, partial=True)
                stub.Scale(request, timeout=5)
                answer = stub.Status(cluster.StatusRequest(fleet="spv"), timeout=5)
            except grpc.RpcError:
                return False
            self.uid = answer.fleets[0].uid
            return answer.hosts.live >= HOSTS // 2

    def _pids(self) -> list[int]:
        return [self.controller.pid, self.hollow.pid]


def resident_mib(pid: int) -> float:
    """0 for a process that has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next(
        (int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")),
        0.0,
    )
