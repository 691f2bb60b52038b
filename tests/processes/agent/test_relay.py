"""Images handed from host to host over real gRPC: whole, to whom they may be, and in trouble."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from fleet.image_content.manifest import (
    CHUNK,
    bits_of,
    numbers_in,
)
from fleet.image_content.packing import packed
from fleet.transport import Identity, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.api.service import AgentApi
from fleet_agent.daemon.server import AgentServer, SharedServices
from fleet_agent.drivers.files.images import FileImages
from fleet_agent.drivers.files.storage import FileStorage
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.images import staged_content
from fleet_agent.drivers.images.contents import StagedContents
from fleet_agent.image_relay.grpc_peers import GrpcPeers
from fleet_agent.image_relay.relays import ImageRelays
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from tests.certificates import identity
from tests.contracts.images.image_hosts import disk_of
from tests.doubles.image_manifests import manifest_for
from tests.processes.agent.agent_caller import DEADLINE, Caller
from tests.processes.agent.test_images import refusal, term

GOLDEN = types.Image(name="golden", snapshot="2")
HELD = wire.RelayState.PHASE_HELD


@dataclass
class Host:
    """An agent that keeps files, its server, and a controller's connection to it."""

    name: str
    address: str
    folder: Path
    kept: list[str] = field(default_factory=list)

    def caller(self, by: Identity | None = None) -> Caller:
        return Caller(self.name, self.address, by)

    @property
    def image(self) -> Path:
        return self.folder / "pool" / "images" / "golden@2"

    @property
    def kernels(self) -> Path:
        return self.folder / "kernels"


@asynccontextmanager
async def serving(name: str, folder: Path) -> AsyncIterator[Host]:
    pool = folder / "pool"
    pool.mkdir(parents=True, exist_ok=True)
    storage, images = FileStorage(pool), FileImages(pool)
    own = identity(Role.AGENT, name)
    agent = Agent(
        name,
        types.HostFacts(machine_id=name, boot_id="b"),
        storage,
        HollowHypervisor(Behaviour.of()),
        MemoryLedger(),
        clock=time.monotonic,
        wall_clock=time.time,
        jitter=random.Random(1).random,
        settings=LoopSettings(),
        incarnation=name,
    )
    await agent.open()
    kernels = folder / "kernels"
    contents = StagedContents(images, pool / "fetched", kernels, images.opened)
    kept: list[str] = []
    relays = ImageRelays(
        images, contents, GrpcPeers(own.for_channel), str(kernels), lambda: kept.append(name)
    )
    server = AgentServer(
        AgentApi(agent, images=images, relays=relays), SharedServices(), own.for_server()
    )
    port = server.listen("127.0.0.1:0")
    await server.start()
    try:
        yield Host(name, f"127.0.0.1:{port}", folder, kept)
    finally:
        await server.stop()
        await images.close()
        await contents.close()
        await storage.close()


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[list[Host]]:
    async with (
        serving("h1", tmp_path / "h1") as one,
        serving("h2", tmp_path / "h2") as two,
        serving("h3", tmp_path / "h3") as three,
    ):
        yield [one, two, three]


def disk(chunks: int = 6, *, zeros: int = 1) -> bytes:
    """Of so many chunks, the last ones of which are zeros."""
    return disk_of(os.urandom((chunks - zeros) * CHUNK)) + bytes(zeros * CHUNK)


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def put(
    host: Host, up_to: int | None = None, image: types.Image = GOLDEN, **parts: bytes
) -> list[wire.PutImageAnswer]:
    """Hands an image in; with `up_to`, so many chunks of it alone."""
    manifest = manifest_for(**parts)
    answers = []
    async with host.caller() as caller:
        call: Any = caller.stub.PutImage(timeout=DEADLINE)
        first = wire.PutImageRequest(
            term=term(), host_id=host.name, manifest=manifest.message(image)
        )
        await call.write(first)
        answers.append(await call.read())
        for number in list(numbers_in(answers[0].wanted, manifest.count))[:up_to]:
            place = manifest.place(number)
            data = packed(parts[place.part.name][place.offset :][: place.size])
            await call.write(
                wire.PutImageRequest(number=number, data=data.data, compressed=data.compressed)
            )
        await call.done_writing()
        while (answer := await call.read()) is not grpc.aio.EOF:
            answers.append(answer)
    return answers


class Leading:
    """The leader's call to one host."""

    def __init__(self, host: Host, content: bytes, **parts: bytes) -> None:
        self.host = host
        self.order = wire.RelayOrder(
            term=term(), host_id=host.name, image=GOLDEN, report_every_ms=50,
            root=manifest_for(disk=content, **parts).root,
        )  # fmt: skip
        self.order.image.digest = digest(content)
        self.states: list[wire.RelayState] = []

    async def __aenter__(self) -> Leading:
        self.caller = await self.host.caller().__aenter__()
        self.call: Any = self.caller.stub.RelayImage()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.call.cancel()
        await self.caller.__aexit__(None, None, None)

    async def say(self, *sources: Host, readers: tuple[str, ...] = (), attempt: int = 0) -> None:
        """One source is for both stripes."""
        self.order.ClearField("sources")
        self.order.readers[:] = readers
        for stripe, source in enumerate(sources * (2 if len(sources) == 1 else 1)):
            self.order.sources.add(
                host=source.name, address=source.address, stripe=stripe, attempt=attempt
            )
        await self.call.write(self.order)

    async def until(self, true: Callable[[wire.RelayState], bool]) -> wire.RelayState:
        async with asyncio.timeout(DEADLINE):
            while True:
                state = await self.call.read()
                assert isinstance(state, wire.RelayState)
                self.states.append(state)
                if true(state):
                    return state

    async def held(self) -> wire.RelayState:
        return await self.until(lambda state: state.phase == HELD)


async def test_an_image_is_handed_in_once_and_again_for_nothing(hosts: list[Host]) -> None:
    content, (host, *_) = disk(), hosts
    answers = await put(host, disk=content, kernel=b"a kernel", initrd=b"an initrd")
    assert answers[-1].image.image.digest == digest(content)
    assert host.image.read_bytes() == content and host.kept == ["h1"]
    assert answers[-1].kernel == str(host.kernels / "golden+2.kernel")
    assert answers[-1].initrd == str(host.kernels / "golden+2.initrd")
    assert (host.kernels / "golden+2.kernel").read_bytes() == b"a kernel"
    again = await put(host, disk=content, kernel=b"a kernel", initrd=b"an initrd")
    assert not again[0].wanted and again[-1].image == answers[-1].image
    assert not list((host.folder / "pool" / "fetched").iterdir())


async def test_an_upload_that_broke_goes_on_where_it_was(hosts: list[Host]) -> None:
    content, (host, *_) = disk(), hosts
    code, reason, said = await refusal(put(host, up_to=2, disk=content))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_UPLOAD")
    assert "what came is kept" in said
    answers = await put(host, disk=content)
    assert list(numbers_in(answers[0].wanted, 6)) == [2, 3, 4]
    assert host.image.read_bytes() == content


async def test_two_images_of_one_name_the_second_is_refused(hosts: list[Host]) -> None:
    host = hosts[0]
    ended = await asyncio.gather(
        put(host, disk=disk()), put(host, disk=disk()), return_exceptions=True
    )
    failed = [one for one in ended if isinstance(one, BaseException)]
    assert len(failed) == 1 and "IMAGE_EXISTS" in repr(failed[0].trailing_metadata())  # type: ignore[attr-defined]


async def test_a_host_fetches_from_one_that_fetches_itself(hosts: list[Host]) -> None:
    content = disk()
    await put(hosts[0], disk=content, kernel=b"k" * 100)
    one, two, three = (Leading(host, content, kernel=b"k" * 100) for host in hosts)
    async with one, two, three:
        await three.say(hosts[1])
        await two.say(hosts[0], readers=("h3",))
        await one.say(readers=("h2",))
        for leading in (two, three):
            state = await leading.held()
            assert state.image.image.digest == digest(content)
            assert state.fetched_bytes == state.done_bytes == state.total_bytes == 5 * CHUNK + 100
            assert leading.host.image.read_bytes() == content
            assert (leading.host.kernels / "golden+2.kernel").read_bytes() == b"k" * 100
            assert leading.host.kept == [leading.host.name]
        # Nothing but what holds something takes room.
        assert hosts[2].image.stat().st_blocks * 512 < len(content)


async def test_only_hosts_that_the_leader_names_get_anything(
    hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet_agent.image_relay.relays.GRANT_SECONDS", 1.0)
    content = disk()
    await put(hosts[0], disk=content)
    root = manifest_for(disk=content).root
    asked = wire.SendImageRequest(image=GOLDEN, root=root, wanted=bits_of([0], 6))

    async def chunks(by: Identity | None) -> list[wire.ImageChunk]:
        async with hosts[0].caller(by) as caller:
            call: Any = caller.stub.SendImage(asked, timeout=DEADLINE)
            return [chunk async for chunk in call]

    async with Leading(hosts[0], content) as leading:
        await leading.say(readers=("h2",))
        await leading.held()
        given = await chunks(identity(Role.AGENT, "h2"))
        assert given[0].manifest.parts[0].size_bytes == len(content)
        assert [chunk.number for chunk in given[1:]] == [0]
        assert (await refusal(chunks(identity(Role.AGENT, "h3"))))[1] == "NOT_A_READER"
        for role in (Role.OPERATOR, Role.VIEWER):
            assert (await refusal(chunks(identity(role, "x"))))[1] == "NOT_ALLOWED"
        # A controller is told what the image is made of, and gets no content.
        (told,) = await chunks(None)
        assert told.manifest.root == root and not told.manifest.parts[0].chunks
    # The leader has gone: nobody gets anything.
    assert (await refusal(chunks(identity(Role.AGENT, "h2"))))[1] == "NOT_A_READER"


async def test_hosts_may_call_hosts_for_chunks_alone(hosts: list[Host]) -> None:
    async with hosts[0].caller(identity(Role.AGENT, "h2")) as caller:
        for call in (
            caller.stub.ListImages(wire.ListImagesRequest(), timeout=DEADLINE),
            caller.stub.Describe(wire.DescribeRequest(), timeout=DEADLINE),
            caller.stub.Assign(wire.AssignRequest(term=term()), timeout=DEADLINE),
        ):
            assert (await refusal(call))[1] == "NOT_ALLOWED"


async def test_a_source_that_lies_is_named_and_its_stripe_comes_from_elsewhere(
    hosts: list[Host],
) -> None:
    content = disk()
    for host in hosts[:2]:
        await put(host, disk=content)
    one, two, three = (Leading(host, content) for host in hosts)
    async with one, two, three:
        for leading in (one, two):
            await leading.say(readers=("h3",))
            await leading.held()
        with hosts[0].image.open("r+b") as file:
            file.seek(2 * CHUNK + 5)
            file.write(b"changed on the way")
        await three.say(hosts[0], hosts[1])
        state = await three.until(lambda state: bool(state.troubles))
        (trouble,) = state.troubles
        assert (trouble.host, trouble.lied, trouble.stripe) == ("h1", True, 0)
        assert "chunk 2 of the disk does not have its digest" in trouble.why
        await three.say(hosts[1])
        state = await three.held()
        assert hosts[2].image.read_bytes() == content
        assert state.fetched_bytes == 5 * CHUNK


async def test_a_chunk_spoiled_on_the_own_disk_is_fetched_again_alone(hosts: list[Host]) -> None:
    content = disk()
    await put(hosts[0], disk=content)
    with pytest.raises(grpc.aio.AioRpcError):
        await put(hosts[1], up_to=4, disk=content)
    async with Leading(hosts[0], content) as one, Leading(hosts[1], content) as two:
        await two.say()
        await two.until(lambda state: state.done_bytes == 4 * CHUNK)
        (staged,) = (hosts[1].folder / "pool" / "fetched").glob("*.disk")
        with staged.open("r+b") as file:
            file.seek(CHUNK + 9)
            file.write(b"a bad sector")
        await one.say(readers=("h2",))
        await two.say(hosts[0])
        state = await two.held()
        assert state.fetched_bytes == 2 * CHUNK
    assert hosts[1].image.read_bytes() == content


async def test_a_source_that_dies_is_told_and_what_came_is_kept(
    hosts: list[Host], tmp_path: Path
) -> None:
    content = disk()
    await put(hosts[0], disk=content)
    with pytest.raises(grpc.aio.AioRpcError):
        await put(hosts[1], up_to=3, disk=content)  # what a fetch before has left
    async with serving("h4", tmp_path / "h4") as doomed:
        await put(doomed, disk=content)
    one, two = Leading(hosts[0], content), Leading(hosts[1], content)
    async with one, two:
        await one.say(readers=("h2",))
        await two.say(doomed)
        state = await two.until(lambda state: bool(state.troubles))
        assert state.troubles[0].host == "h4" and not state.troubles[0].lied
        assert state.done_bytes == 3 * CHUNK
        await two.say(hosts[0])
        state = await two.held()
        assert state.fetched_bytes == 2 * CHUNK
        assert hosts[1].image.read_bytes() == content


async def test_a_new_call_of_a_leader_goes_on_where_the_last_one_broke(hosts: list[Host]) -> None:
    content = disk(12)
    await put(hosts[0], disk=content)
    async with Leading(hosts[0], content) as one:
        await one.say(readers=("h2",))
        async with Leading(hosts[1], content) as two:
            two.order.bytes_per_second = 8 * CHUNK
            await two.say(hosts[0])
            before = await two.until(lambda state: state.done_bytes >= 3 * CHUNK)
            assert before.phase != HELD
        async with Leading(hosts[1], content) as two:
            await two.say(hosts[0])
            state = await two.held()
            assert state.fetched_bytes <= 8 * CHUNK
    assert hosts[1].image.read_bytes() == content


async def test_an_image_that_is_deleted_while_it_travels_arrives_whole(hosts: list[Host]) -> None:
    content = disk(12)
    await put(hosts[0], disk=content)
    async with Leading(hosts[0], content) as one, Leading(hosts[1], content) as two:
        await one.say(readers=("h2",))
        two.order.bytes_per_second = 8 * CHUNK
        await two.say(hosts[0])
        await two.until(lambda state: state.done_bytes >= 2 * CHUNK)
        async with hosts[0].caller() as caller:
            request = wire.DeleteImageRequest(term=term(), image=GOLDEN)
            await caller.stub.DeleteImage(request, timeout=DEADLINE)
        assert not hosts[0].image.exists()
        state = await two.held()
        assert state.image.image.digest == digest(content)
    assert hosts[1].image.read_bytes() == content


async def test_a_disk_that_is_full_ends_clearly(
    hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = disk()
    await put(hosts[0], disk=content)
    monkeypatch.setattr(staged_content, "_RESERVE", 1 << 62)
    async with Leading(hosts[0], content) as one, Leading(hosts[1], content) as two:
        await one.say(readers=("h2",))
        await two.say(hosts[0])
        code, reason, said = await refusal(two.held())
        assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_SPACE")
        assert "has" in said and "free" in said


async def test_another_content_under_the_name_is_left_alone(hosts: list[Host]) -> None:
    content, other = disk(), disk()
    await put(hosts[0], disk=content)
    await put(hosts[1], disk=other)
    async with Leading(hosts[1], content) as two:
        await two.say(hosts[0])
        assert (await refusal(two.held()))[1] == "OTHER_CONTENT"
    assert hosts[1].image.read_bytes() == other


async def test_a_manifest_that_lies_about_the_digest_leaves_nothing(hosts: list[Host]) -> None:
    content = disk()
    await put(hosts[0], disk=content)
    # A leader that was told another root would have to be told another digest too.
    one, two = Leading(hosts[0], content), Leading(hosts[1], content)
    two.order.image.digest = digest(b"what was meant")
    async with one, two:
        await one.say(readers=("h2",))
        await two.say(hosts[0])
        assert (await refusal(two.held()))[1] == "IMAGE_MISMATCH"
    assert not hosts[1].image.exists()
