"""A real etcd of a test's own: on free loopback ports, in a folder of its own, killable."""

from __future__ import annotations

import os
import platform
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 20.0
# Below those that a sandbox takes (from 7,000), hollow hosts (from 10,000), and outgoing
# connections (net.ipv4.ip_local_port_range): a port that was free a moment ago still is. Of
# processes that test at the same time each has its own.
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_UNASSIGNED = range(3_000 + _WORKER % _WORKERS, 7_000, _WORKERS)
_left = random.sample(_UNASSIGNED, len(_UNASSIGNED))
# etcd 3.4 starts on ARM only when told that one means it.
_ARCHITECTURE = {"ETCD_UNSUPPORTED_ARCH": "arm64"} if platform.machine() == "aarch64" else {}
# A tenth of the defaults: elections end in 0.1 s, and leases may be as short as one second.
_QUICK = ("--heartbeat-interval=10", "--election-timeout=100")


@dataclass(frozen=True, slots=True)
class EtcdTls:
    """PEM files; clients must show a certificate of the authority."""

    ca: Path
    certificate: Path
    key: Path


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, of those that the kernel gives to nobody unasked: so
    they are free again when a server that was killed comes back. None is given twice, since
    whoever was given it may not listen yet, or may come back."""
    found: list[int] = []
    while len(found) < count:
        port = _left.pop()
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found


class EtcdProcess:
    """One member. `start`, `kill` and `stop` block: call them from a thread in async tests."""

    def __init__(self, folder: Path, tls: EtcdTls | None = None, *options: str) -> None:
        """The folder is made when absent, and kept; data and log are in it."""
        self.folder = folder
        self.tls = tls
        self._options = options
        self._client_port, self._peer_port = free_ports(2)
        self._token = str(self._peer_port)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._client_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> EtcdProcess:
        """Return when it serves. On the same data and ports after a kill."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _readiness(self.folder / "ready") as ready, (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                env={**os.environ, **_ARCHITECTURE, "NOTIFY_SOCKET": str(self.folder / "ready")},
                stdout=log,
                stderr=log,
            )
            self._await(ready, self._process)
        return self

    def kill(self) -> None:
        """SIGKILL, and gone on return."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def forget(self, token: str = "") -> None:
        """Of a killed one, remove all data. With another token it comes back as another cluster;
        without, etcd derives the same cluster id again from the same ports."""
        shutil.rmtree(self.folder / "data")
        self._token = token or self._token

    def restore_options(self) -> list[str]:
        """What `fleetctl restore` must be told of this member."""
        name, peer = f"member-{self._peer_port}", f"http://127.0.0.1:{self._peer_port}"
        return [
            f"--name={name}",
            f"--data-dir={self.folder / 'data'}",
            f"--peer-urls={peer}",
            f"--initial-cluster={name}={peer}",
        ]

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _await(self, ready: socket.socket, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if b"READY=1" in ready.recv(4096):
                    return
            except TimeoutError:
                code = process.poll()
                if code is not None or time.monotonic() > deadline:
                    self.kill()
                    tail = (self.folder / "log").read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"etcd did not start (exit {code}):\n{tail}") from None

    def _command(self) -> list[str]:
        scheme = "http" if self.tls is None else "https"
        client = f"{scheme}://{self.endpoint}"
        peer = f"http://127.0.0.1:{self._peer_port}"
        return [
            etcd_binary(),
            f"--name=member-{self._peer_port}",
            f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=member-{self._peer_port}={peer}",
            f"--initial-cluster-token={self._token}",
            *_QUICK,
            *self._tls_options(),
            *self._options,
        ]

    def _tls_options(self) -> list[str]:
        if self.tls is None:
            return []
        return [
            f"--cert-file={self.tls.certificate}",
            f"--key-file={self.tls.key}",
            f"--trusted-ca-file={self.tls.ca}",
            "--client-cert-auth",
        ]


@contextmanager
def _readiness(path: Path) -> Iterator[socket.socket]:
    """Where etcd says that it serves, as it would to systemd."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
        ready.bind(str(path))
        ready.settimeout(0.2)
        yield ready


def etcd_binary() -> str:
    found = shutil.which("etcd", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin")
    if found is None:
        raise RuntimeError("etcd is not installed: apt-get install etcd-server")
    return found
