"""Real daemons of a small cluster: started, killed, paused and started again, each by its pid."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import grpc

from fleet.transport import CONTROLLER_NAME, Identity, Role, channel_options
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from tests.certificates import authority, identity, issue
from tests.processes.etcd_process import free_ports

PATIENCE_SECONDS = 45.0
_STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.02

Found = TypeVar("Found")


def eventually(look: Callable[[], Found], what: str, seconds: float = PATIENCE_SECONDS) -> Found:
    """What `look` gives as soon as it is true. RpcErrors while looking are waited out."""
    deadline = time.monotonic() + seconds
    last: object = None
    while True:
        try:
            last = found = look()
            if found:
                return found
        except grpc.RpcError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; at last: {last!r}"[:4000])
        time.sleep(_LOOK_SECONDS)


class Daemon:
    """A program of this environment with a log of its own."""

    def __init__(self, name: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.files = 0  # how many it may open; 0: as many as this process
        self.within: tuple[str, ...] = ()  # what it is run by, such as ip netns exec
        self._process: subprocess.Popen[bytes] | None = None

    def launch(self, *command: str) -> None:
        limit = ["sh", "-c", f'ulimit -n {self.files} && exec "$@"', "limited"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *self.within,
                    *(limit if self.files else ()),
                    str(Path(sys.executable).parent / command[0]),
                    *command[1:],
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONFAULTHANDLER": "1"},
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and gone on return."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(_STOP_SECONDS)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def must_run(self) -> bool:
        """Raises AssertionError with its last words when it has ended."""
        assert self.running, f"{self.name} has ended:\n{self.said()[-3000:]}"
        return True


class Controller(Daemon):
    """A fleet-controller on an address that it keeps."""

    def __init__(
        self, folder: Path, store: str, replica: str = "controller-1", address: str = ""
    ) -> None:
        super().__init__(replica, folder)
        self.address = address or f"127.0.0.1:{free_ports(1)[0]}"
        self._identity = issue(folder / "identity", Role.CONTROLLER, replica)
        self._ready = folder / "ready"
        self._store = store
        self.lease_seconds = 3
        self.store_identity: Path | None = None  # a client's, where etcd asks for one
        self.metrics = ""  # where it serves them
        self.options: tuple[str, ...] = ()  # further ones

    def start(self) -> None:
        """Return when it serves; whether it leads is another matter."""
        self.begin()
        self.until_serving()

    def until_serving(self) -> None:
        eventually(lambda: self.must_run() and self._ready.exists(), f"{self.name} serves")

    def begin(self) -> None:
        """Return at once."""
        self._ready.unlink(missing_ok=True)
        self.launch(
            "fleet-controller", "--listen", self.address, "--identity", str(self._identity),
            "--store", self._store, "--replica", self.name, "--ready-file", str(self._ready),
            "--lease-seconds", str(self.lease_seconds), "--metrics-listen", self.metrics,
            "--recover-after", "0",  # on loopback no order is held back
            *self.options,
            *(("--store-identity", str(self.store_identity)) if self.store_identity else ()),
        )  # fmt: skip


class Hollow(Daemon):
    """A process of hollow hosts `first` to `last`, counted from 1."""

    def __init__(
        self, folder: Path, first: int, last: int, endpoint: str, *options: str, name: str = ""
    ) -> None:
        super().__init__(name or f"hollow-{first}-{last}", folder)
        self.hosts = [f"hollow-{number:05d}" for number in range(first, last + 1)]
        self._span = f"{first}-{last}"
        self._endpoint = endpoint
        self._options = options
        self.metrics = ""  # where it serves them
        self._certificates = folder / "certificates"
        # Short: a socket's path has at most 107 characters, and pytest's folders take most of them.
        self._socket = folder / f"{name or first}.sock"
        _write_certificates(self._certificates, self.hosts)

    def start(self) -> None:
        """Return at once; its hosts are live some time later."""
        self.begin()

    def begin(self) -> None:
        self.launch(
            "fleet-hollow", "--hosts", self._span, "--certificates", str(self._certificates),
            "--endpoints", self._endpoint, "--state", str(self.folder / f"{self.name}-state"),
            "--racks", "6", "--listing", str(self._socket), "--metrics-listen", self.metrics,
            *self._options,
        )  # fmt: skip

    def listing(self, of: str = "all") -> dict[str, dict[str, Any]]:
        """What its drivers hold, past its agents: by fleet uid (see fleet_agent.hollow_listing)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as wire:
            wire.settimeout(PATIENCE_SECONDS)
            wire.connect(str(self._socket))
            wire.sendall(f"{of}\n".encode())
            with wire.makefile("rb") as answer:
                found: dict[str, dict[str, Any]] = json.loads(answer.read())
                return found


def _write_certificates(folder: Path, hosts: Iterable[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.pem").write_bytes(authority().certificate)
    for host in hosts:
        one = identity(Role.AGENT, host)
        (folder / f"{host}.pem").write_bytes(one.key + one.certificate)


def channel_to(address: str, who: Identity | None = None) -> grpc.Channel:
    """A channel to a controller, as an operator unless told otherwise."""
    who = who or identity(Role.OPERATOR, "tester")
    return grpc.secure_channel(address, who.for_channel(), channel_options(CONTROLLER_NAME))


def stub_for(channel: grpc.Channel) -> ClusterServiceStub:
    return ClusterServiceStub(channel)


def pause(daemon: Daemon) -> None:
    daemon.signal(signal.SIGSTOP)


def resume(daemon: Daemon) -> None:
    daemon.signal(signal.SIGCONT)
