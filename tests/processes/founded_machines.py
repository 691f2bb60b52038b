"""Machines of a control plane: each is a folder, each etcd and controller a process on loopback,
started by the very line which fleetctl prints."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.processes.etcd_process import free_ports
from tests.processes.fleetctl_process import Fleetctl, Said

END_SECONDS = 20.0


class Machines:
    """A folder for each name. `fleetctl` is that of who founded the cluster, on the first one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.fleetctl = Fleetctl(folder / "operator")
        self._running: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._ports: dict[str, list[int]] = {}
        self._first_lines: dict[str, str] = {}

    def root(self, name: str) -> Path:
        return self.folder / name

    def where(self, name: str, address: str = "127.0.0.1") -> tuple[str, ...]:
        """Address and ports, as options."""
        if name not in self._ports:
            self._ports[name] = free_ports(4)
        port, client, peer, join = self._ports[name]
        return (
            *("--address", address),
            *("--port", str(port), "--client-port", str(client), "--peer-port", str(peer)),
            *("--join-port", str(join)),
        )

    def init(self, *options: str, address: str = "127.0.0.1") -> Said:
        root = ("--root", str(self.root("c1")))
        where = self.where("c1", address)
        return self.fleetctl("cluster", "init", "--name", "c1", *where, *root, *options)

    def cluster(self, *arguments: str, text: str = "") -> Said:
        return self.fleetctl("cluster", *arguments, "--root", str(self.root("c1")), text=text)

    def start_again(self, name: str) -> None:
        """Its etcd, which was killed."""
        self.start(name, self._first_lines[name])

    def start(self, name: str, line: str) -> None:
        self._first_lines.setdefault(name, line)
        log = (self.folder / f"{name}.log").open("ab")
        programs = str(Path(sys.executable).parent)
        path = f"{programs}:{os.environ['PATH']}:/usr/bin"
        with log:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {line}"],
                env={**os.environ, "PATH": path, "ETCD_HEARTBEAT_INTERVAL": "20",
                     "ETCD_ELECTION_TIMEOUT": "200"},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._running.setdefault(name, []).append(process)

    def kill(self, name: str) -> None:
        for process in self._running.pop(name, []):
            process.send_signal(signal.SIGKILL)
            process.wait(END_SECONDS)

    def kill_all(self) -> None:
        for name in list(self._running):
            self.kill(name)

    def found(self, address: str = "127.0.0.1") -> None:
        """The first one's etcd runs, with its access control."""
        said = self.init("-o", "json", address=address).json
        self.start("c1", said["commands"][0])
        for _ in range(600):
            if "fleet-controller" in self.init("-o", "json", address=address).json["commands"][0]:
                return
        raise AssertionError((self.folder / "c1.log").read_text())

    def begin(self) -> Said:
        """The first one's etcd and controller run; what init says then."""
        self.found()
        line = self.init("-o", "json").json["commands"][0]
        self.start("c1", line.replace("$OPTIONS", '$OPTIONS --metrics-listen ""'))
        for _ in range(600):
            said = self.init()
            if said.code == 0:
                return said
        raise AssertionError((self.folder / "c1.log").read_text()[-3000:])

    def join(self, name: str, line: str) -> None:
        """What the machine's own person does: its etcd alone is started."""
        given = line.split()[1]
        joined = Fleetctl(self.folder / f"{name}-person")(
            "cluster", "join", "-", "--root", str(self.root(name)), "-o", "json", text=given
        )
        assert joined.code == 0, joined.err
        self.start(name, joined.json["commands"][0])

    def add(self, name: str, address: str = "127.0.0.1") -> None:
        where = self.where(name, address)
        said = self.cluster("add-controller", name, *where, "-o", "json")
        assert said.code == 0, said.err
        self.join(name, said.json["line"])
        self._admitted(name, "add-controller", name, *where)

    def admitted(self, name: str, *command: str) -> None:
        """The same command again, which waits, promotes, and says so."""
        self._admitted(name, *command, *self.where(name))

    def _admitted(self, name: str, *command: str) -> None:
        for _ in range(100):
            said = self.cluster(*command, "--no-wait")
            if f"{name} is a member of etcd with a vote" in said.out:
                return
        raise AssertionError(said.err + (self.folder / f"{name}.log").read_text())

    def members(self) -> dict[str, dict[str, object]]:
        shown = self.cluster("status", "-o", "json").json
        return {one["name"] or one["peer_url"]: one for one in shown["members"]}
