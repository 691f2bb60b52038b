"""Guests that run the real qemu-guest-agent, as processes of this machine: what libvirt and a
channel are between it and us, a socket is here."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fleet.ranges import IndexSet
from fleet_agent.core.domain.domain_xml import domain_xml
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.drivers.libvirt import binding as libvirt_binding
from fleet_agent.drivers.libvirt.binding import Binding
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, SPEC, batch, disk_of

PROGRAM = shutil.which("qemu-ga", path="/usr/sbin:/usr/bin:/sbin:/bin")
_SECONDS = 20.0
UNRESPONSIVE = 86


def libvirt_error(code: int, message: str) -> Exception:
    error = libvirt_binding.load().libvirtError(message)
    error.err = (code, 0, message)  # type: ignore[attr-defined]
    return error


class AgentGuest:
    """A domain of libvirt, as far as agents look at it. Without an agent until it is started."""

    def __init__(self, folder: Path, index: int, *, channel: bool = True) -> None:
        spec = type(SPEC)()
        spec.CopyFrom(SPEC)
        spec.guest_agent = channel
        vms = batch(IndexSet.span(index, index + 1), spec)
        self.xml = domain_xml(vms, index, disk_of(vms, index), Flavour.KVM)
        self._path = folder / f"agent-{index}"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._lines: Any = None
        self.asked: list[dict[str, Any]] = []

    def XMLDesc(self, flags: int = 0) -> str:
        return self.xml

    def isActive(self) -> int:
        return 1

    def start(self) -> None:
        assert PROGRAM is not None
        state = self._path.with_suffix(".state")
        state.mkdir()
        self._process = subprocess.Popen(
            [
                PROGRAM, "-m", "unix-listen", "-p", str(self._path), "-t", str(state),
                "-f", str(state / "pid"), "-l", str(state / "log"),
            ]
        )  # fmt: skip
        deadline = time.monotonic() + _SECONDS
        connected = self._socket = socket.socket(socket.AF_UNIX)
        connected.settimeout(_SECONDS)
        while True:
            try:
                connected.connect(str(self._path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < deadline
                time.sleep(0.01)  # it does not say when it listens
        self._lines = connected.makefile("rw")

    def ask(self, request: str) -> str:
        if self._lines is None:
            raise libvirt_error(UNRESPONSIVE, "QEMU guest agent is not connected")
        with self._lock:
            self.asked.append(json.loads(request))
            self._lines.write(request + "\n")
            self._lines.flush()
            reply: str = self._lines.readline()
        if "error" in json.loads(reply):
            raise libvirt_error(1, reply)
        return reply

    def end(self) -> None:
        if self._process is not None:
            self._lines.close()
            self._socket.close()
            self._process.kill()
            self._process.wait()


class AgentLink:
    """The connection to libvirt that knows these guests."""

    def __init__(self, guests: dict[int, AgentGuest]) -> None:
        self._by_uuid = {str(FLEET.domain_uuid(index)): one for index, one in guests.items()}

    @property
    def binding(self) -> Binding:
        return libvirt_binding.load()

    @contextlib.contextmanager
    def talk(self) -> Iterator[AgentLink]:
        yield self

    def lookupByUUIDString(self, uuid: str) -> AgentGuest:
        if uuid not in self._by_uuid:
            raise libvirt_error(self.binding.VIR_ERR_NO_DOMAIN, "no domain")
        return self._by_uuid[uuid]


def ask(domain: Any, request: str, seconds: int) -> str:
    guest: AgentGuest = domain
    return guest.ask(request)
