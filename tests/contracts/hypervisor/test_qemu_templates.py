"""Templates as they are kept: whose folder it is, when one is made, when it goes."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.qemu.machine import Emulator, Guest
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.qemu import starts as starts_module
from fleet_agent.drivers.qemu import template_making, templates
from fleet_agent.drivers.qemu.emulation import Emulation
from fleet_agent.drivers.qemu.folders import Folders
from fleet_agent.drivers.qemu.monitor import MonitorError
from fleet_agent.drivers.qemu.starts import Starts
from fleet_agent.drivers.qemu.template_making import CannotClone, Template
from fleet_agent.drivers.qemu.templates import Templates
from fleet_agent.drivers.qemu.vms import Vms
from tests.contracts.hypervisor.hypervisor_hosts import SPEC, batch, disk_of

EMULATOR = Emulator("qemu", "1", "cpu", Flavour.TCG)
GUEST = Guest("spv-0", "uuid", 16 << 20, 1, "/boot/tiny", "", "quiet")


class Made:
    """Templates of a host whose guests wait at once, and what was made."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.short = ""
        self.asked: list[int] = []
        self.made: list[str] = []
        self.templates = Templates(
            root, Emulation(lambda: EMULATOR), lambda: 0.0, shortage=self._shortage
        )
        monkeypatch.setattr(template_making, "_freeze", self._freeze)
        monkeypatch.setattr(template_making, "started", lambda *_: _Process())
        monkeypatch.setattr(template_making, "_ended", self._ended)

    def _shortage(self, needed: int) -> str:
        self.asked.append(needed)
        return self.short

    async def _freeze(self, making: Path, guest: Guest, state: int) -> None:
        os.write(state, b"state")
        self.made.append(making.name)
        assert self.templates.being_made() == [making], "whose console is bounded meanwhile"
        assert os.stat(making / "ram").st_blocks == 0, "its memory is counted as the agent's"

    async def _ended(self, process: object) -> None:
        pass

    async def get(self, key: str = "key") -> Template:
        return await self.templates.get(key, EMULATOR, GUEST)


class _Process:
    def ends_within(self, seconds: float) -> bool:
        return True


@pytest.fixture
async def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Made]:
    made = Made(tmp_path / "templates", monkeypatch)
    await made.templates.open()
    yield made


async def test_a_templates_memory_is_taken_by_its_qemu_and_not_by_the_agent(host: Made) -> None:
    template = await host.get()
    assert template.ram.stat().st_size == GUEST.memory_bytes
    assert (await host.get(), host.made) == (template, [".making-key"])


@pytest.mark.parametrize("whose", ["a link", "a file", "another's", "another's within"])
async def test_a_folder_that_is_not_the_agents_alone_is_not_used_and_nothing_in_it_is_removed(
    whose: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, elsewhere = tmp_path / "templates", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".making-key").mkdir()
    (elsewhere / "precious").write_text("of somebody else")
    match whose:
        case "a link":
            root.symlink_to(elsewhere)
        case "a file":
            root.write_text("")
        case _:
            if os.geteuid() != 0:
                pytest.skip("only root gives a folder to another")
            elsewhere.rename(root)
            root.chmod(0o777)
            os.chown(root / ".making-key" if "within" in whose else root, 65534, 65534)
            elsewhere = root
    host = Made(root, monkeypatch)
    await host.templates.open()
    await host.templates.keep([])
    with pytest.raises(CannotClone, match=f"templates cannot be kept in {root}"):
        await host.get()
    assert (elsewhere / "precious").exists() and (elsewhere / ".making-key").exists()
    assert (host.made, host.templates.bytes()) == ([], 0)

    root.rename(tmp_path / "put aside")  # by an administrator: nobody need restart the agent
    assert (await host.get()).ram.exists()


async def test_a_file_system_that_was_mounted_there_is_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "templates"
    root.mkdir()
    root.chmod(0o1777)
    host = Made(root, monkeypatch)
    await host.templates.open()
    assert root.stat().st_mode & 0o7777 == 0o711
    assert (await host.get()).ram.exists()


async def test_none_is_made_into_the_memory_that_is_to_stay_free(host: Made) -> None:
    host.short = "nothing is left"
    with pytest.raises(CannotClone, match="nothing is left"):
        await host.get()
    assert host.made == [] and host.asked[0] > GUEST.memory_bytes
    host.short = ""
    await host.get()  # at once: it was not the template that failed
    host.short = "nothing is left"
    await host.get()  # what is there takes no more


async def test_room_that_is_gone_when_qemu_takes_it_is_named_as_any(
    host: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ended(making: Path, guest: Guest, state: int) -> None:
        said = "qemu_prealloc_mem: preallocating memory failed: Bad address"
        (making / "qemu.log").write_text(f"qemu-system-x86_64: {said}\n")
        raise MonitorError("")

    monkeypatch.setattr(template_making, "_freeze", ended)
    with pytest.raises(CannotClone, match="MiB left, and a template takes 16 MiB"):
        await host.get()
    assert os.listdir(host.templates.root) == []


async def test_what_is_not_used_is_gone_at_once_and_given_back_beside_the_loop(
    host: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = await host.get()
    other = await host.get("other")
    threads: list[int] = []
    going = threading.Event()
    removed = templates._remove

    def remove(folders: list[Path]) -> None:
        threads.append(threading.get_ident())
        assert going.wait(20)
        removed(folders)

    monkeypatch.setattr(templates, "_remove", remove)
    dropping = asyncio.create_task(host.templates.keep(["key"]))
    await asyncio.sleep(0)
    assert not other.folder.exists() and template.folder.exists()
    assert host.templates.bytes() == 2 * GUEST.memory_bytes, "it takes its memory until it is freed"
    again = asyncio.create_task(host.get("other"))  # while the old one is on its way out
    going.set()
    await dropping
    assert (await again).folder.exists()
    assert threads and threading.get_ident() not in threads
    assert sorted(os.listdir(host.templates.root)) == ["key", "other"]


async def test_what_an_agent_was_removing_when_it_ended_is_removed_by_the_next(
    host: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = await host.get()
    os.rename(template.folder, host.templates.root / ".gone-key-1234")
    following = Made(host.templates.root, monkeypatch)
    await following.templates.open()
    assert os.listdir(host.templates.root) == []


async def test_a_template_that_the_agent_has_no_file_left_to_read_is_kept(
    host: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = await host.get()

    def none_left(*_: object) -> bytes:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Path, "read_bytes", none_left)
    with pytest.raises(OSError, match="Too many open files"):
        await host.get()
    monkeypatch.undo()
    assert template.folder.exists() and host.made == [".making-key"]


async def test_a_template_is_the_vms_from_the_moment_that_it_is_made(
    host: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others go meanwhile, and take with them what no VM is made of."""
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    spec.start, spec.disk.target = types.START_CLONE, ""
    one = batch(IndexSet.of([0]), spec)
    vms = Vms(Folders(tmp_path / "vms"), "boot-1", lambda _: "uuid", lambda: None)
    vms.folders.root.mkdir()
    emulation = Emulation(lambda: EMULATOR, missing=lambda guest: None)
    starts = Starts(vms, host.templates, emulation, lambda _: "")
    monkeypatch.setattr(starts_module, "file_stamps", lambda guest: [])
    await starts.define(one, disk_of, 0)
    loop = asyncio.get_running_loop()

    def launched(*_: object) -> None:
        asyncio.run_coroutine_threadsafe(starts.drop_unused(), loop).result(20)
        assert (host.templates.root / host.made[0].removeprefix(".making-")).exists()
        raise failing.pop()

    # What says nothing of the template leaves it; what may be its fault has it made anew.
    failing = [OSError(errno.EIO, "far enough"), OSError(errno.EMFILE, "no file is left")]
    monkeypatch.setattr(starts, "_launched", launched)
    for why, there in (("no file is left", True), ("far enough", False)):
        with pytest.raises(ActFailed, match=why):
            await starts.start(one, 0)
        assert bool(os.listdir(host.templates.root)) is there
    assert len(host.made) == 1
