"""A guest over its port: what it says is heard, and nobody else waits while it says too much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.qemu.identity_message import (
    MOST_SAID,
    TAKEN,
    WAITING,
    Heard,
    TooMuchSaid,
)
from fleet_agent.core.qemu.machine import Emulator
from fleet_agent.drivers.qemu import starts
from fleet_agent.drivers.qemu.emulation import Emulation
from fleet_agent.drivers.qemu.folders import Definition, Folders, Life
from fleet_agent.drivers.qemu.processes import opened, received
from fleet_agent.drivers.qemu.readiness import ReadyWatch
from fleet_agent.drivers.qemu.starts import Starts
from fleet_agent.drivers.qemu.templates import Templates
from fleet_agent.drivers.qemu.vms import Vm, Vms
from tests.contracts.hypervisor.hypervisor_hosts import SPEC, batch

ONE = IndexSet.of([0])


def clones(pattern: str = "") -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.start = types.START_CLONE
    spec.boot.cmdline = "quiet"
    if pattern:
        spec.readiness.CopyFrom(types.Readiness(console_pattern=pattern, timeout_seconds=30))
    return spec


class Guest:
    """What stands behind the port of one VM; each connection is served by `behave` in a thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(folder / "identity.sock"))
        self.listening.listen()
        self.connections = 0
        self.flooding = threading.Event()
        self.takes = False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listening.accept()
                self.connections += 1
                threading.Thread(target=self._speak, args=(connection,), daemon=True).start()

    def _speak(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while self.flooding.is_set():
                connection.sendall(b"x" * 65536)
            if self.takes and connection.recv(9000).startswith(b"name="):
                connection.sendall(TAKEN)
            connection.recv(1)

    def close(self) -> None:
        self.flooding.clear()
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "vms")


@pytest.fixture
def guest(folders: Folders) -> Iterator[Guest]:
    made = Guest(folders.of(batch(ONE).fleet.domain_name(0)))
    yield made
    made.close()


def driver(folders: Folders) -> tuple[Vms, Starts, Vm]:
    """With one clone, whose process is this one."""
    uuid = "8e3a4f62-6a0c-4b3e-9d51-0f6a4c1b7d10"
    vms = Vms(folders, "boot-1", lambda _: uuid, lambda: None)
    emulation = Emulation(lambda: Emulator("qemu", "1", "cpu", Flavour.TCG))
    templates = Templates(folders.root / "templates", emulation, lambda: 0.0, lambda _: "")
    made = Starts(vms, templates, emulation, lambda _: "")
    vm = vms.add(batch(ONE).fleet.domain_name(0), Definition.of(batch(ONE), 0, None))
    vm.life = Life(way="clone")
    vm.process = opened(os.getpid())
    vm.stands = "running"
    return vms, made, vm


def test_a_word_is_heard_however_it_comes_and_answered_once() -> None:
    heard = Heard()
    for part in (b"noise" * 300, WAITING[:3], WAITING[3:]):
        assert not heard.has(WAITING)
        heard.add(part)
    assert heard.has(WAITING)
    heard.answered()
    assert not heard.has(WAITING)
    heard.add(b"x" * 2000 + TAKEN + b"y" * 2000)
    assert heard.has(TAKEN)


def test_a_guest_says_only_so_much() -> None:
    heard = Heard()
    heard.add(bytes(MOST_SAID))
    with pytest.raises(TooMuchSaid):
        heard.add(b"x")


async def test_while_a_guest_floods_its_port_others_have_their_turn() -> None:
    """What it has said already is enough to be read on and on."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    said = 0
    while said <= MOST_SAID:
        said += theirs.send(b"x" * 4096)
    turns = reads = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    with ours, theirs, pytest.raises(TooMuchSaid):
        heard = Heard()
        while True:
            heard.add(await received(ours))
            reads += 1
    beside.cancel()
    assert turns >= reads >= 8


async def test_a_vm_that_floods_its_port_is_left_alone_and_told_later(
    folders: Folders, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    vms, made, vm = driver(folders)
    guest.flooding.set()
    guest.takes = True
    rested = asyncio.Event()
    sleep = asyncio.sleep

    async def rest(seconds: float) -> None:
        if seconds == starts.TELL_AGAIN_SECONDS:
            rested.set()
            await sleep(0.01)
        else:
            await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", rest)
    for _ in range(3):  # as readiness does it while it waits
        made.tell(vm, batch(ONE, clones()), 0)
    async with asyncio.timeout(20):
        await rested.wait()
    assert not vm.taken and vm.told is not None
    guest.flooding.clear()
    async with asyncio.timeout(20):
        await vm.told
    assert vm.taken
    await vms.close()


async def test_without_a_pattern_a_clone_is_ready_once_it_is_who_it_was_told_to_be(
    folders: Folders, guest: Guest
) -> None:
    """The one that was adopted before it was told, as well."""
    guest.takes = True
    vms, made, vm = driver(folders)
    watch = ReadyWatch(vms, made, batch(ONE, clones()))
    ready, _ = await watch.look(0.0)
    assert not ready and not vm.ready and vm.told is not None
    async with asyncio.timeout(20):
        await vm.told
    assert vm.taken and vm.ready  # written down at once: it does not say so twice
    ready, failures = await watch.look(0.1)
    assert (ready, failures) == (ONE, [])
    await vms.close()


async def test_one_that_boots_and_was_adopted_is_told_though_it_said_before_that_it_waits(
    folders: Folders, guest: Guest
) -> None:
    guest.takes = True
    vms, made, vm = driver(folders)
    vm.life, vm.adopted = Life(way="boot"), True
    made.tell(vm, batch(ONE, clones()), 0)
    assert vm.told is not None
    async with asyncio.timeout(20):
        await vm.told
    assert vm.taken
    await vms.close()


async def test_a_pattern_tells_by_itself_that_a_clone_is_ready(folders: Folders) -> None:
    """It may have been told by an agent that has ended since."""
    vms, made, vm = driver(folders)
    folders.of(vm.name).mkdir(parents=True)
    (folders.of(vm.name) / "console.log").write_text("it is ready\n")
    ready, _ = await ReadyWatch(vms, made, batch(ONE, clones("is ready"))).look(0.0)
    assert ready == ONE
    await vms.close()
