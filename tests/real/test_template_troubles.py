"""Templates of a real kernel, damaged, outdated or without room: the VM runs all the same."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from fleet_agent.core.model import Phase
from fleet_agent.drivers.qemu import monitor, starts, templates
from fleet_agent.drivers.qemu.monitor import Monitor
from fleet_agent.drivers.qemu.processes import connected, running
from tests.contracts.hypervisor.hypervisor_hosts import FLEET, OTHER, gather
from tests.real.clone_host import CloneHost, host_folder
from tests.real.real_sandbox import until, why_not_here

pytestmark = [
    pytest.mark.real_long,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
]

SECOND = replace(OTHER, name="web", number=2)


@pytest.fixture
async def host() -> AsyncIterator[CloneHost]:
    with host_folder() as folder:
        made = CloneHost(folder)
        yield made
        await made.close()


@pytest.fixture
def full(host: CloneHost) -> Iterator[None]:
    """Templates have 32 MiB."""
    host.templates.mkdir()
    size = ("-t", "tmpfs", "-o", "size=32m", "none")
    subprocess.run(["mount", *size, str(host.templates)], check=True)
    yield
    subprocess.run(["umount", str(host.templates)], check=True)


async def test_what_is_damaged_or_of_another_qemu_is_made_anew_and_goes_unused(
    host: CloneHost,
) -> None:
    (first,) = await host.run(0)
    assert first.way == "clone"
    folder = host.templates / first.template
    for file, content in (("state", b"damaged"), ("ram", b"cut"), ("template.json", b"{")):
        before = (folder / file).stat().st_ino
        (folder / file).write_bytes(content)
        await gather(host.driver.stop(host.vms(0)))
        assert await host.run(0) == [first], f"with another {file}"
        assert (folder / file).stat().st_ino != before

    # QEMU was upgraded: what runs goes on, what starts next is made of a template of the new one.
    host.emulator = replace(host.emulator, version="another build")
    (second,) = await host.run(1)
    assert second.way == "clone" and second.template != first.template
    # So it is where the processor is another: a host that was moved, or resumed elsewhere.
    host.emulator = replace(host.emulator, cpu="another processor")
    (third,) = await host.run(2)
    assert third.way == "clone" and third.template not in (first.template, second.template)
    assert len(list(host.templates.iterdir())) == 3
    await gather(host.driver.undefine(host.vms(0, 1)))
    assert [one.name for one in host.templates.iterdir()] == [third.template]


async def test_two_fleets_of_one_image_have_a_template_each(host: CloneHost) -> None:
    (mine,) = await host.run(0)
    (other,) = await host.run(0, fleet=SECOND)
    assert mine.way == other.way == "clone" and mine.template != other.template
    await gather(host.driver.undefine(host.vms(0, fleet=SECOND)))
    assert [one.name for one in host.templates.iterdir()] == [mine.template]


async def test_a_clone_killed_between_its_restore_and_its_identity_is_copied_again(
    host: CloneHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starts.Starts, "tell", lambda self, vm, batch, index: None)
    vms = host.vms(0)
    await gather(host.driver.define(vms, host.disk))
    assert await gather(host.driver.start(vms)) == (vms.indices, ())
    vm = host.driver.vms.get(FLEET.domain_name(0))
    assert vm is not None and vm.process is not None and not vm.taken
    vm.process.kill()
    await vm.ended.wait()
    (run,) = await host.driver.listing()
    assert run.phase is Phase.DEFINED, "the agent starts it again"
    monkeypatch.undo()
    (life,) = await host.run(0)
    assert life.way == "clone" and f"ready name={FLEET.domain_name(0)} " in host.console(0)
    assert len(host.pids()) == 1


async def test_a_qemu_that_falls_silent_while_it_is_restored_is_named_and_copied_again(
    host: CloneHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.run(0)
    vms = host.vms(1)
    await gather(host.driver.define(vms, host.disk))
    asked = Monitor.ask

    async def stopped(self: Monitor, command: str, **arguments: object) -> object:
        if command == "migrate-incoming":
            _stop(host, 1)
        return await asked(self, command, **arguments)

    monkeypatch.setattr(Monitor, "ask", stopped)
    monkeypatch.setattr(monitor, "ANSWER_SECONDS", 1.0)
    done, (failure,) = await gather(host.driver.start(vms))
    assert not done and failure.kind == "hypervisor_error" and failure.retry
    assert "does not answer migrate-incoming" in failure.message
    assert len(host.pids()) == 1, "it was ended"
    monkeypatch.undo()
    (life,) = await host.run(1)
    assert life.way == "clone" and len(host.pids()) == 2


async def test_a_guest_that_never_waits_for_an_identity_boots_and_its_vm_says_why(
    host: CloneHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "BOOT_SECONDS", 0.2)
    (life,) = await host.run(0)
    monkeypatch.undo()
    assert life.way == "boot" and "did not wait for an identity within 0 s" in life.why
    assert list(host.templates.iterdir()) == []
    (run,) = await host.driver.listing()
    assert run.fallback == life.why


async def test_a_clock_that_jumped_while_it_was_frozen_is_the_hosts_when_it_wakes(
    host: CloneHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The template was frozen four hundred days ago; then the host's clock was set back."""
    await host.run(0)
    for index, days in ((1, 400), (2, -400)):
        jumped = time.time_ns() + days * 86_400 * 10**9
        monkeypatch.setattr(time, "time_ns", lambda jumped=jumped: jumped)
        (life,) = await host.run(index)
        monkeypatch.undo()
        assert life.way == "clone"
        with connected(host.folder / "clones" / FLEET.domain_name(index), "console") as console:
            console.setblocking(True)
            console.sendall(b"date +at=%s.\n")
            until(partial(_says, host, index, r"at=(\d+)\."), "the guest tells its time", 60)
        assert abs(_said(host, index, r"at=(\d+)\.") - jumped / 10**9) < 120


def _stop(host: CloneHost, index: int) -> None:
    """Its QEMU answers nothing any more, and lives."""
    folder = host.folder / "clones" / FLEET.domain_name(index)
    os.kill(running(host.folder / "clones")[Path(os.path.realpath(folder))], signal.SIGSTOP)


def _says(host: CloneHost, index: int, pattern: str) -> bool:
    return re.search(pattern, host.console(index)) is not None


def _said(host: CloneHost, index: int, pattern: str) -> int:
    return int(re.findall(pattern, host.console(index))[-1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system that is full")
@pytest.mark.usefixtures("full")
async def test_without_room_for_a_template_a_vm_boots_and_says_why(host: CloneHost) -> None:
    (life,) = await host.run(0)
    assert life.way == "boot" and "MiB left, and a template takes 80 MiB" in life.why
