"""A store, controllers that let machines join, and machines that do: all of them processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import DEVNULL

import grpc

from fleet.transport import Identity, Role
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import joining_pb2 as joining
from tests.certificates import issue
from tests.doubles.joining_hosts import issuing_folder
from tests.processes.agent.agent_processes import NODE
from tests.processes.daemons import Controller, Daemon, channel_to, eventually, stub_for
from tests.processes.etcd_process import EtcdProcess, free_ports
from tests.processes.fleetctl_process import Fleetctl

SECONDS = 20.0


class Machine(Daemon):
    """A bare one. After `join` it may be started as the agent of a host."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(name, folder)
        self.identity = folder / "identity"
        self.token = folder / "token"
        self._node = folder / "node.xml"
        self._node.write_text(NODE)

    @property
    def places(self) -> list[str]:
        return ["--identity", str(self.identity), "--ledger", str(self.folder / "ledger")]

    def join(
        self, token: str, endpoint: str, *options: str, stdin: int = DEVNULL
    ) -> subprocess.CompletedProcess[str]:
        self.token.write_text(token)
        program = str(Path(sys.executable).parent / "fleet-agent")
        return subprocess.run(
            [
                program, "join", "--controllers", endpoint, "--token-file", str(self.token),
                "--name", self.name, "--timeout", "5", *self.places, *options,
            ],
            stdin=stdin, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def begin(self, *options: str) -> None:
        """Without endpoints: it knows the controllers from having joined."""
        self.launch(
            "fleet-agent", *self.places, "--listen", "127.0.0.1:0", "--metrics-listen", "",
            "--hypervisor", f"test://{self._node}", "--log-json",
            "--storage", f"reflink:{self.folder / 'storage'}", *options,
        )  # fmt: skip

    @property
    def certificate(self) -> bytes:
        return (self.identity / "cert.pem").read_bytes()

    @property
    def authorities(self) -> bytes:
        return (self.identity / "ca.pem").read_bytes()


class JoiningCluster:
    """etcd and so many controllers."""

    def __init__(self, folder: Path, controllers: int = 1, days: float = 14.0) -> None:
        self.folder = folder
        self.etcd = EtcdProcess(folder / "etcd", None)
        self.issuing = issuing_folder(folder / "issuing")
        names = [f"controller-{number}" for number in range(1, controllers + 1)]
        store = f"etcd://{self.etcd.endpoint}"
        self.controllers = [Controller(folder / name, store, name) for name in names]
        self.join_addresses = {name: f"127.0.0.1:{free_ports(1)[0]}" for name in names}
        for one in self.controllers:
            one.options = (
                "--issuing", str(self.issuing), "--join-listen", self.join_addresses[one.name],
                "--host-certificate-days", str(days),
            )  # fmt: skip
        operator = issue(folder / "operator", Role.OPERATOR, "tester")
        endpoints = tuple(one.address for one in self.controllers)
        self.fleetctl = Fleetctl(folder, endpoints, operator)

    @property
    def operator(self) -> Identity:
        """As its files are now."""
        return Identity.load(self.folder / "operator")

    def start(self) -> None:
        self.etcd.start()
        for one in self.controllers:
            one.start()
        self.leader()

    def leader(self) -> Controller:
        def found() -> Controller | None:
            for one in self.controllers:
                if one.running and self._leads(one):
                    return one
            return None

        leader = eventually(found, "a controller leads")
        assert leader is not None
        return leader

    def standby(self) -> Controller:
        leader = self.leader()
        return next(one for one in self.controllers if one is not leader)

    def create_token(self, *options: str) -> str:
        said = self.fleetctl("tokens", "create", *options)
        assert said.code == 0, said.err
        return said.out.strip()

    def host(self, name: str) -> wire.HostSummary | None:
        with channel_to(self.leader().address, self.operator) as channel:
            try:
                request = wire.GetHostRequest(id=name)
                return stub_for(channel).GetHost(request, timeout=SECONDS).summary
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.NOT_FOUND, error
                return None

    def until_live(self, name: str) -> wire.HostSummary:
        def live() -> wire.HostSummary | None:
            found = self.host(name)
            return found if found and found.health == wire.HOST_HEALTH_LIVE else None

        host = eventually(live, f"{name} is live")
        assert host is not None
        return host

    def kinds_about(self, host: str) -> list[str]:
        """Of the events that the leader has told of the host."""
        events = self.fleetctl("events", "--host", host, "-o", "json").json["events"]
        return [one["kind"] for one in events]

    def _leads(self, controller: Controller) -> bool:
        with channel_to(controller.address, self.operator) as channel:
            try:
                return stub_for(channel).Version(wire.VersionRequest(), timeout=2.0).leader
            except grpc.RpcError:
                return False


@contextmanager
def joining_cluster(
    folder: Path, controllers: int = 1, days: float = 14.0
) -> Iterator[JoiningCluster]:
    made = JoiningCluster(folder, controllers, days)
    try:
        made.start()
        yield made
    finally:
        for one in made.controllers:
            one.kill()
        made.etcd.kill()


@contextmanager
def agent_of(machine: Machine, *options: str) -> Iterator[Machine]:
    machine.begin(*options)
    try:
        yield machine
    finally:
        machine.kill()


def join_by_hand(address: str, authority: bytes, request: joining.JoinRequest) -> str:
    """The reason of the refusal; empty where there is none."""
    from fleet.transport import CONTROLLER_NAME, channel_options, detail_of
    from fleet.v1.joining_pb2_grpc import JoinServiceStub

    credentials = grpc.ssl_channel_credentials(authority)
    options = channel_options(CONTROLLER_NAME)
    with grpc.secure_channel(address, credentials, options) as channel:
        try:
            JoinServiceStub(channel).Join(request, timeout=SECONDS)
        except grpc.RpcError as error:
            return detail_of(error).reason or str(error)
    return ""
