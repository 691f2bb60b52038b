"""Domains of QEMU in trouble, under a libvirtd of the test's own: QEMU killed, libvirtd killed, a
disk full, a domain suspended, saved and restored, and one of our name that is not ours."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.domain.flavour import Flavour
from fleet_agent.core.model import StepKind, VmState
from fleet_agent.core.plan.plan import Step
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.libvirt.hypervisor import LibvirtHypervisor
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from tests.agent.agent_host import HOST, give, in_state
from tests.doubles.assignments import SPV, assignment, indices, kin, shard
from tests.processes.qemu.private_libvirt import PrivateLibvirt, can_be_had
from tests.processes.qemu.small_kernel import small_kernel

pytestmark = pytest.mark.skipif(
    not can_be_had(), reason="a libvirtd of one's own needs root, libvirt and QEMU"
)

KIN = kin(10)
MIB = 1 << 20
PATIENCE = 60.0  # seconds, on a machine that is busy with other things
# Seconds: at the latest by the audit, where the hint of a change was lost with the connection.
FOUND_AGAIN = 90.0


@pytest.fixture(scope="module")
def libvirtd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateLibvirt]:
    mine = PrivateLibvirt(tmp_path_factory.mktemp("libvirt"))
    try:
        yield mine
    finally:
        mine.stop()


@dataclass
class Dom0:
    """An agent over real domains; `steps` is what it has done since the test looked last."""

    libvirtd: PrivateLibvirt
    folder: Path
    agent: Agent
    steps: list[Step]

    def qemus(self, which: str) -> dict[int, int]:
        return {i: self.libvirtd.qemu(SPV.domain_name(i)) for i in indices(which)}

    def domain(self, index: int) -> libvirt.virDomain:
        return libvirt.open(self.libvirtd.uri).lookupByName(SPV.domain_name(index))

    def started(self) -> list[str]:
        return [str(step.indices) for step in self.steps if step.kind is StepKind.START]

    def having(self, state: VmState) -> str:
        return ",".join(f"{a}-{b - 1}" for a, b in in_state(self.agent, KIN, state).ranges)

    def problem(self, kind: str) -> wire.Problem | None:
        return next((one for one in self.agent.board.problems if one.kind == kind), None)

    async def give(self, which: str, spec: types.FleetSpec, revision: int = 10) -> None:
        await give(self.agent, assignment(shard(which, 10), template=spec), revision)

    async def up(self, which: str) -> None:
        await until(lambda: in_state(self.agent, KIN, VmState.RUNNING) == indices(which))


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - of another program
            await asyncio.sleep(0.05)


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


def within(libvirtd: PrivateLibvirt, *words: str) -> None:
    """Where libvirtd sees its folders."""
    run("nsenter", "--mount", "--target", str(libvirtd.pid), *words)


def template(folder: Path, disk: str = "", sectors: int = 0) -> types.FleetSpec:
    (folder / "kernel").write_bytes(small_kernel(sectors))
    return types.FleetSpec(
        memory_bytes=16 * MIB,
        vcpus=1,
        boot=types.Boot(kernel=str(folder / "kernel")),
        readiness=types.Readiness(console_pattern="READY", timeout_seconds=PATIENCE),
        admission=types.Admission(parallel=2),
        more_disks=[types.ExtraDisk(target="vda", path=disk)] if disk else [],
    )


@asynccontextmanager
async def dom0(libvirtd: PrivateLibvirt, folder: Path) -> AsyncIterator[Dom0]:
    steps: list[Step] = []
    loop = asyncio.get_running_loop()
    # The folder of consoles is not there yet, as in a user's first session.
    hypervisor = LibvirtHypervisor(
        libvirtd.uri, flavour=Flavour.TCG, console_log=str(folder / "logs" / "{name}.log")
    )
    agent = Agent(
        HOST, types.HostFacts(boot_id="b"), HollowStorage(Behaviour.of()), hypervisor,
        MemoryLedger(), clock=loop.time, wall_clock=loop.time, jitter=random.Random(1).random,
        settings=LoopSettings(), incarnation="i", on_step=steps.append,
    )  # fmt: skip
    await agent.open()
    running = asyncio.create_task(agent.run())
    try:
        yield Dom0(libvirtd, folder, agent, steps)
    finally:
        running.cancel()
        await asyncio.wait([running])
        await hypervisor.close()
        with_domains = libvirt.open(libvirtd.uri)
        for domain in with_domains.listAllDomains():
            if domain.isActive():
                domain.destroy()
            domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)
        with_domains.close()


async def test_a_qemu_that_is_killed_is_seen_and_started_again_within_seconds(
    libvirtd: PrivateLibvirt, tmp_path: Path
) -> None:
    async with dom0(libvirtd, tmp_path) as host:
        await host.give("0-1", template(tmp_path))
        await host.up("0-1")
        before = host.qemus("0-1")
        host.steps.clear()
        os.kill(before[1], signal.SIGKILL)
        await until(lambda: host.problem("died"), 5)
        await host.up("0-1")
        after = host.qemus("0-1")
        assert after[0] == before[0] and after[1] != before[1]
        assert host.started() == ["1"]


async def test_libvirtd_that_is_killed_and_comes_back_restarts_nothing_that_runs(
    libvirtd: PrivateLibvirt, tmp_path: Path
) -> None:
    async with dom0(libvirtd, tmp_path) as host:
        await host.give("0-1", template(tmp_path))
        await host.up("0-1")
        before = host.qemus("0-1")
        host.steps.clear()
        libvirtd.kill()
        await until(lambda: host.problem("driver"), 10)
        assert host.having(VmState.RUNNING) == "0-1", "nothing is concluded about any VM"
        libvirtd.start()
        await until(
            lambda: not host.agent.board.problems and host.agent.board.converged, FOUND_AGAIN
        )
        await host.up("0-1")
        assert host.qemus("0-1") == before and not host.steps
        # What ends from now on is heard again.
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: host.problem("died"), FOUND_AGAIN)
        await host.up("0-1")
        assert host.started() == ["0"]


async def test_a_qemu_that_ends_while_libvirtd_is_away_is_found(
    libvirtd: PrivateLibvirt, tmp_path: Path
) -> None:
    async with dom0(libvirtd, tmp_path) as host:
        await host.give("0-1", template(tmp_path))
        await host.up("0-1")
        before = host.qemus("0-1")
        host.steps.clear()
        libvirtd.kill()
        os.kill(before[1], signal.SIGKILL)
        libvirtd.start()
        await until(lambda: host.started() == ["1"], FOUND_AGAIN)
        await host.up("0-1")
        assert host.qemus("0-1")[0] == before[0]


async def test_a_domain_paused_by_a_full_disk_is_failed_and_goes_on_once_there_is_room(
    libvirtd: PrivateLibvirt, tmp_path: Path
) -> None:
    """The disk lies on a file system of 2 MiB, and the guest writes 4 MiB."""
    small = libvirtd.folder / "run" / "small"
    small.mkdir()
    within(libvirtd, "mount", "-t", "tmpfs", "-o", "size=2m", "x", "/run/libvirt/small")
    within(libvirtd, "truncate", "--size", "8M", "/run/libvirt/small/spv-0.img")
    spec = template(tmp_path, "/run/libvirt/small/{name}.img", 8192)
    async with dom0(libvirtd, tmp_path) as host:
        await host.give("0", spec)
        await until(lambda: host.problem("paused"))
        assert host.having(VmState.FAILED) == "0-0"
        told = host.problem("paused")
        assert told is not None and told.example_message.startswith("I/O error")
        before = host.qemus("0")
        await until(lambda: host.steps[-1].kind in (StepKind.START, StepKind.AWAIT_READY), 10)
        within(libvirtd, "mount", "-o", "remount,size=16m", "/run/libvirt/small")
        await until(lambda: "FULL" in (tmp_path / "logs" / "spv-0.log").read_text())
        await host.up("0")
        assert host.qemus("0") == before, "it went on where it was"
        assert not host.agent.board.problems


async def test_a_domain_that_qemu_has_stopped_by_itself_is_started_anew(
    libvirtd: PrivateLibvirt, tmp_path: Path
) -> None:
    async with dom0(libvirtd, tmp_path) as host:
        await host.give("0", template(tmp_path))
        await host.up("0")
        before = host.qemus("0")
        # Behind libvirt's back: it knows no reason, as after an error inside QEMU.
        run("virsh", "-c", libvirtd.uri, "qemu-monitor-command", "spv-0", '{"execute": "stop"}')
        await until(lambda: host.problem("paused"), 5)
        assert host.having(VmState.FAILED) == "0-0"
        await host.up("0")
        assert host.qemus("0") != before


async def test_a_domain_that_somebody_has_suspended_is_left_alone_and_told(
    libvirtd: PrivateLibvirt, tmp_path: Path
) -> None:
    async with dom0(libvirtd, tmp_path) as host:
        await host.give("0-1", template(tmp_path))
        await host.up("0-1")
        host.steps.clear()
        host.domain(1).suspend()
        await until(lambda: host.problem("suspended"), 5)
        assert host.having(VmState.FAILED) == "1-1"
        await until(lambda: host.agent.board.converged)
        host.domain(1).resume()
        await until(lambda: not host.agent.board.problems, 5)
        await host.up("0-1")
        assert not host.steps


async def test_a_domain_that_was_saved_is_restored_and_not_waited_for_in_vain(
    libvirtd: PrivateLibvirt, tmp_path: Path
) -> None:
    async with dom0(libvirtd, tmp_path) as host:
        await host.give("0", template(tmp_path))
        await host.up("0")
        host.domain(0).managedSave()
        await until(lambda: host.problem("died"), 10)
        await host.up("0")
        state, reason = host.domain(0).state()
        assert (state, reason) == (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_RESTORED)
        log = tmp_path / "logs" / "spv-0.log"
        assert not log.exists() or "READY" not in log.read_text(), "it said so in its earlier life"


async def test_a_domain_of_our_name_that_is_not_ours_is_a_conflict_and_stays_as_it_is(
    libvirtd: PrivateLibvirt, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(small_kernel())
    xml = (
        "<domain type='qemu'><name>spv-0</name><memory unit='MiB'>16</memory><os><type>hvm</type>"
        f"<kernel>{tmp_path}/other</kernel></os></domain>"
    )
    connection = libvirt.open(libvirtd.uri)
    foreign = connection.createXML(xml)
    async with dom0(libvirtd, tmp_path) as host:
        qemu = host.qemus("0")
        await host.give("0-1", template(tmp_path))
        await until(lambda: host.problem("conflict"))
        await until(lambda: in_state(host.agent, KIN, VmState.RUNNING) == indices("1"))
        told = host.problem("conflict")
        assert told is not None and told.lasting and "spv-0" in told.example_message
        await host.give("1", template(tmp_path), 11)
        await until(lambda: host.agent.board.converged)
        assert foreign.isActive() and host.qemus("0") == qemu
        foreign.destroy()
    connection.close()
