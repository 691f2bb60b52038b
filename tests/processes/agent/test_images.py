"""Golden images of one agent over real gRPC: files on this machine, and who may change them."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from fleet.transport import Identity, Role, detail_of
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.api.service import AgentApi
from fleet_agent.core.images import ImportOrder
from fleet_agent.daemon.server import AgentServer, SharedServices
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.files.storage import FileStorage
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.images import content as image_content
from fleet_agent.drivers.ports.images import ImportProgress
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from tests.certificates import identity
from tests.contracts.images.image_hosts import disk_of
from tests.doubles.assignments import SPV, assignment, shard
from tests.processes.agent.agent_caller import DEADLINE, Caller

HOST = "dom0-1"
GOLDEN = types.Image(name="golden", snapshot="1")


class Images(FileImages):
    """Tells when an import is no longer watched."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.left = asyncio.Event()

    async def bring(self, order: ImportOrder) -> AsyncGenerator[ImportProgress, None]:
        try:
            async with aclosing(super().bring(order)) as importing:
                async for told in importing:
                    yield told
        finally:
            self.left.set()


@dataclass
class Served:
    address: str
    folder: Path
    images: Images

    def caller(self, by: Identity | None = None) -> Caller:
        return Caller(HOST, self.address, by)

    def source(self, name: str = "disk.raw", size: int = 1 << 20) -> str:
        file = self.folder / name
        file.write_bytes(disk_of(os.urandom(size)))
        return str(file)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    (tmp_path / "pool").mkdir()
    storage, images = FileStorage(tmp_path / "pool"), Images(tmp_path / "pool")
    agent = Agent(
        HOST,
        types.HostFacts(machine_id="m", boot_id="b"),
        storage,
        HollowHypervisor(Behaviour.of()),
        MemoryLedger(),
        clock=time.monotonic,
        wall_clock=time.time,
        jitter=random.Random(1).random,
        settings=LoopSettings(),
        incarnation="i",
    )
    await agent.open()
    api = AgentApi(agent, images=images)
    server = AgentServer(api, SharedServices(), identity(Role.AGENT, HOST).for_server())
    port = server.listen("127.0.0.1:0")
    task = asyncio.create_task(agent.run())
    await server.start()
    yield Served(f"127.0.0.1:{port}", tmp_path, images)
    await server.stop()
    task.cancel()
    await asyncio.wait([task])
    await images.close()
    await storage.close()


def term(revision: int = 1) -> types.Term:
    return types.Term(store_generation=1, revision=revision)


async def listed(caller: Caller) -> wire.ListImagesResponse:
    return await caller.stub.ListImages(wire.ListImagesRequest(), timeout=DEADLINE)


async def imported(caller: Caller, source: str, **fields: Any) -> list[wire.ImportImageProgress]:
    asked = {"term": term(), "image": GOLDEN, **fields}
    request = wire.ImportImageRequest(source=source, **asked)
    call: Any = caller.stub.ImportImage(request, timeout=DEADLINE)
    return [told async for told in call]


async def removed(caller: Caller, image: types.Image = GOLDEN, by: int = 1) -> None:
    request = wire.DeleteImageRequest(term=term(by), image=image)
    await caller.stub.DeleteImage(request, timeout=DEADLINE)


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    return error.code(), detail_of(error).reason, error.details() or ""


async def test_an_image_is_imported_listed_cloned_and_removed(served: Served) -> None:
    source = served.source()
    async with served.caller() as caller:
        last = (await imported(caller, source))[-1]
        assert last.done_bytes == last.total_bytes == last.image.size_bytes == 1 << 20
        assert last.image.source == source and last.image.image.digest.startswith("sha256:")

        wanted = assignment(shard("0-2", 10))
        wanted.specs[0].spec.image.CopyFrom(last.image.image)
        await caller.assign(wanted, 10)
        await caller.until_converged(10)
        held = await listed(caller)
        assert [(one.image.name, one.clones) for one in held.images] == [("golden", 3)]
        (fleet,) = held.fleets
        assert (fleet.fleet_uid, fleet.fleet, fleet.clones) == (SPV.uid, "spv", 3)
        assert 0 < held.pool.free_bytes <= held.pool.total_bytes

        code, reason, said = await refusal(removed(caller))
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_IN_USE")
        assert "3 clones" in said


async def test_refusals_carry_their_reason(served: Served) -> None:
    source, other = served.source(), served.source("other.raw")
    wrong = types.Image(name="golden", snapshot="2", digest=f"sha256:{'0' * 64}")
    escape = types.Image(name="../golden", snapshot="1")
    precondition, invalid = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT
    async with served.caller() as caller:
        await imported(caller, source)
        for call, expected in (
            (imported(caller, other), (precondition, "IMAGE_EXISTS")),
            (imported(caller, other, image=wrong), (precondition, "IMAGE_MISMATCH")),
            (imported(caller, other, image=escape), (invalid, "BAD_IMAGE")),
            (imported(caller, "../x"), (invalid, "BAD_IMAGE")),
            (imported(caller, "/none", image=wrong), (invalid, "BAD_SOURCE")),
            (removed(caller, wrong), (grpc.StatusCode.NOT_FOUND, "NO_SUCH_IMAGE")),
        ):
            assert (await refusal(call))[:2] == expected
        await removed(caller)
        assert not (await listed(caller)).images


async def test_only_the_newest_leader_changes_images(served: Served) -> None:
    source = served.source()
    async with served.caller() as caller:
        await caller.describe(term=5)
        for call in (imported(caller, source, term=term(4)), removed(caller, by=4)):
            assert (await refusal(call))[1] == "STALE_TERM"
        assert not (await listed(caller)).images


async def test_only_controllers_may_ask(served: Served) -> None:
    async with served.caller(identity(Role.OPERATOR, "somebody")) as caller:
        for call in (listed(caller), imported(caller, "/x"), removed(caller)):
            assert (await refusal(call))[1] == "NOT_ALLOWED"


async def test_a_caller_that_goes_away_ends_the_import(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, reached, gone = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    copied = image_content._write_differing

    def held_up(target: int, offset: int, chunk: bytes, before: bytes) -> int:
        loop.call_soon_threadsafe(reached.set)
        asyncio.run_coroutine_threadsafe(gone.wait(), loop).result(DEADLINE)
        return copied(target, offset, chunk, before)

    monkeypatch.setattr(image_content, "_write_differing", held_up)
    source = served.source(size=4 << 20)
    async with served.caller() as caller:
        request = wire.ImportImageRequest(term=term(), image=GOLDEN, source=source)
        call: Any = caller.stub.ImportImage(request)
        await call.read()
        await reached.wait()
        call.cancel()
        await served.images.left.wait()
        gone.set()
        # What is asked next waits for its end.
        assert (await refusal(removed(caller)))[1] == "NO_SUCH_IMAGE"
        assert not (await listed(caller)).images
    assert os.listdir(served.folder / "pool" / "images") == []
