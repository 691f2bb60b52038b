"""Doctor and Tune over real gRPC: of a dom0 made of files, and of a hollow host."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from fleet.transport import Role, detail_of
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.api.service import AgentApi
from fleet_agent.core.limits.dom0_facts import Dom0Facts, Qemu
from fleet_agent.core.limits.table import LIMITS
from fleet_agent.core.limits.verdicts import judge
from fleet_agent.daemon.facts_keeper import bound_by_limits
from fleet_agent.daemon.server import AgentServer, SharedServices
from fleet_agent.dom0.doctor import Doctor, Dom0Doctor, Examination, HollowDoctor
from fleet_agent.dom0.probe import ProbeInputs
from fleet_agent.dom0.tuning_record import TuningRecordFile
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from tests.certificates import identity
from tests.doubles.dom0_trees import AGENT_PID, Tree, modern_dom0
from tests.processes.agent.agent_caller import DEADLINE, Caller

HOST = "dom0-1"
V = wire.LimitVerdict


@asynccontextmanager
async def serving(doctor: Doctor) -> AsyncIterator[Caller]:
    behaviour = Behaviour.of()
    agent = Agent(
        HOST,
        types.HostFacts(machine_id="m", boot_id="b"),
        HollowStorage(behaviour),
        HollowHypervisor(behaviour),
        MemoryLedger(),
        clock=time.monotonic,
        wall_clock=time.time,
        jitter=random.Random(1).random,
        settings=LoopSettings(),
        incarnation="i",
    )
    await agent.open()
    credentials = identity(Role.AGENT, HOST).for_server()
    server = AgentServer(AgentApi(agent, doctor=doctor), SharedServices(), credentials)
    port = server.listen("127.0.0.1:0")
    await server.start()
    try:
        async with Caller(HOST, f"127.0.0.1:{port}") as caller:
            yield caller
    finally:
        await server.stop()


class Dom0:
    def __init__(self, root: Path) -> None:
        self.made: Tree = modern_dom0(root)
        for folder in ("sysctl.d", "modprobe.d", "udev/rules.d"):
            (root / "etc" / folder).mkdir(parents=True)
        self.record = root.parent / "tuning.json"
        self.around = ProbeInputs(own_pid=AGENT_PID, pool_bytes=100, pool_free_bytes=60)
        self.tuned: list[bool] = []
        self.doctor = Dom0Doctor(
            HOST, 250, self._circumstances, self.made.tree, TuningRecordFile(self.record),
            tuned=lambda: self.tuned.append(True),
        )  # fmt: skip

    async def _circumstances(self) -> ProbeInputs:
        return self.around


@pytest.fixture
def dom0(tmp_path: Path) -> Dom0:
    (tmp_path / "root").mkdir()
    return Dom0(tmp_path / "root")


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), detail_of(caught.value).reason


def term(revision: int) -> types.Term:
    return types.Term(store_generation=1, revision=revision)


async def test_a_dom0_is_examined_for_its_setting_or_as_asked(dom0: Dom0) -> None:
    dom0.made.put("/var/log/xen/xl-a.log", "(XEN) Failed to obtain maptrack handle")
    async with serving(dom0.doctor) as caller:
        told = await caller.stub.Doctor(wire.DoctorRequest(), timeout=DEADLINE)
        assert (told.guests, told.admits_guests) == (250, 198)
        assert told.binding_limit == "persistent_grants"
        assert told.summary == (
            "this host admits 198 guests: persistent grants of a disk; "
            "run 'fleetctl tune dom0-1 --apply' for 250"
        )
        (row,) = [one for one in told.verdicts if one.limit == "persistent_grants"]
        assert (row.value, row.needed, row.verdict, row.admits_guests) == (
            "1,056", "at most 784", V.VERDICT_FIXABLE, 198,
        )  # fmt: skip
        assert row.change == "options xen_blkback max_persistent_grants=352"
        assert row.file == "/etc/modprobe.d/megafleet.conf" and row.title and row.source
        assert [(one.limit, one.where) for one in told.met] == [
            ("maptrack_frames", "/var/log/xen/xl-a.log")
        ]
        told = await caller.stub.Doctor(wire.DoctorRequest(guests=100), timeout=DEADLINE)
        assert (told.guests, told.binding_limit) == (100, "")
        told = await caller.stub.Doctor(wire.DoctorRequest(guests=1000), timeout=DEADLINE)
        (row,) = [one for one in told.verdicts if one.limit == "maptrack_frames"]
        assert row.verdict == V.VERDICT_NEEDS_REBOOT
        assert row.change.splitlines()[1] == "# then update-grub, then reboot"


async def test_a_dom0_is_tuned_and_brought_back(dom0: Dom0) -> None:
    before = dict(dom0.made.contents())
    async with serving(dom0.doctor) as caller:
        plan = await caller.stub.Tune(wire.TuneRequest(), timeout=DEADLINE)
        assert plan.changes and not any(one.done for one in plan.changes)
        assert not plan.HasField("after") and dict(dom0.made.contents()) == before
        assert not dom0.tuned
        done = await caller.stub.Tune(wire.TuneRequest(apply=True, term=term(1)), timeout=DEADLINE)
        assert not [one.error for one in done.changes if one.error]
        assert done.after.binding_limit == "" and done.after.admits_guests == 384
        back = await caller.stub.Tune(wire.TuneRequest(undo=True, term=term(1)), timeout=DEADLINE)
        assert back.after.admits_guests == 198 and dict(dom0.made.contents()) == before
        assert len(dom0.tuned) == 2


async def test_refusals(dom0: Dom0) -> None:
    bad = (grpc.StatusCode.INVALID_ARGUMENT, "BAD_REQUEST")
    failed = grpc.StatusCode.FAILED_PRECONDITION
    async with serving(dom0.doctor) as caller:
        stub: Any = caller.stub
        assert await refusal(stub.Doctor(wire.DoctorRequest(guests=65_537))) == bad
        assert await refusal(stub.Tune(wire.TuneRequest(apply=True, undo=True))) == bad
        await caller.describe(term=5)
        stale = wire.TuneRequest(apply=True, term=term(4))
        assert await refusal(stub.Tune(stale)) == (failed, "STALE_TERM")
        dom0.record.write_text("{")
        broken = wire.TuneRequest(undo=True, term=term(5))
        assert await refusal(stub.Tune(broken)) == (failed, "TUNING_RECORD")


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER, Role.AGENT])
async def test_only_controllers_may_ask(dom0: Dom0, role: Role) -> None:
    denied = (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    async with serving(dom0.doctor) as caller:
        address = caller.address
        async with Caller(HOST, address, identity(role, "somebody")) as other:
            stub: Any = other.stub
            assert await refusal(stub.Doctor(wire.DoctorRequest())) == denied
            assert await refusal(stub.Tune(wire.TuneRequest(apply=True))) == denied


async def test_a_hollow_host_takes_what_it_was_told_to_take() -> None:
    async with serving(HollowDoctor("hollow-00001", 250)) as caller:
        told = await caller.stub.Doctor(wire.DoctorRequest(), timeout=DEADLINE)
        assert (told.guests, told.admits_guests, told.binding_limit) == (250, 250, "")
        assert [one.verdict for one in told.verdicts] == [
            V.VERDICT_PASS, V.VERDICT_NOT_APPLICABLE
        ]  # fmt: skip
        told = await caller.stub.Doctor(wire.DoctorRequest(guests=300), timeout=DEADLINE)
        assert (told.admits_guests, told.binding_limit) == (250, "hollow")
        tuned = await caller.stub.Tune(wire.TuneRequest(apply=True, term=term(1)))
        assert not tuned.changes and tuned.after.admits_guests == 250


# ---- capacity ----------------------------------------------------------------------------


def facts(guests: int = 250, limit: str = "") -> types.HostFacts:
    return types.HostFacts(capacity=types.Capacity(guests=guests, binding_limit=limit))


async def test_capacity_follows_the_limits(dom0: Dom0) -> None:
    bound = await bound_by_limits(facts(), dom0.doctor, facts())
    assert bound == facts(198, "persistent grants of a disk")
    dom0.made.put("/sys/module/xen_blkback/parameters/max_persistent_grants", "352")
    assert await bound_by_limits(facts(), dom0.doctor, bound) == facts()
    assert await bound_by_limits(facts(1000), dom0.doctor, bound) == facts(
        384, "open files of libvirtd"
    )


async def test_a_host_too_busy_to_tell_keeps_its_capacity(dom0: Dom0) -> None:
    class Silent(HollowDoctor):
        async def examine(
            self, guests: int = 0, *, logs: bool = True, clones: bool | None = None
        ) -> Any:
            raise TimeoutError

    busy, known = Silent(HOST, 1), facts(198, "dynamic IRQs")
    assert await bound_by_limits(facts(), busy, known) == known
    assert await bound_by_limits(facts(100), busy, known) == facts(100)


async def test_a_host_without_vms_admits_more_clones_than_such_that_boot() -> None:
    laptop = Dom0Facts(qemu=Qemu(emulated=True), dom0_memory_bytes=24 << 30, cpus=2)

    class Laptop(HollowDoctor):
        async def examine(
            self, guests: int = 0, *, logs: bool = True, clones: bool | None = None
        ) -> Examination:
            assert clones is not None, "it is assigned nothing"
            assumed = replace(laptop.footprint, clones=clones)
            judged = judge(LIMITS, replace(laptop, footprint=assumed), guests)
            return Examination(HOST, guests, judged)

    asked = facts(600)
    assert (await bound_by_limits(asked, Laptop(HOST, 1), facts())).capacity == types.Capacity(
        guests=144, binding_limit="memory for QEMU's guests"
    )
    asked.clones.possible = True
    assert (await bound_by_limits(asked, Laptop(HOST, 1), facts())).capacity == types.Capacity(
        guests=600, boots=144
    )
    known = facts()
    known.capacity.boots = 7

    class Silent(HollowDoctor):
        async def examine(
            self, guests: int = 0, *, logs: bool = True, clones: bool | None = None
        ) -> Any:
            raise TimeoutError

    kept = await bound_by_limits(asked, Silent(HOST, 1), known)
    assert (kept.capacity.guests, kept.capacity.boots) == (250, 7)


async def test_vms_that_take_more_make_the_host_admit_fewer(dom0: Dom0) -> None:
    first = await dom0.doctor.examine(250)
    large = replace(dom0.around.footprint, memory_bytes=2**30)
    dom0.around = replace(dom0.around, footprint=large)
    second = await dom0.doctor.examine(250)
    assert first.admits == 198 and second.admits == 55
    assert second.binding is not None and second.binding.limit.name == "memory_fit"


async def test_calls_at_once_are_done_one_after_the_other(dom0: Dom0) -> None:
    async with serving(dom0.doctor) as caller:
        stub: Any = caller.stub
        asked = wire.TuneRequest(apply=True, term=term(1))
        answers = await asyncio.gather(
            *(stub.Tune(asked, timeout=DEADLINE) for _ in range(3)),
            stub.Doctor(wire.DoctorRequest(), timeout=DEADLINE),
        )
    assert not [one.error for answer in answers[:3] for one in answer.changes if one.error]
