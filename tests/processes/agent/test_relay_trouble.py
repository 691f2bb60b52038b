"""Images on their way when something goes wrong: a source, a disk, what is said of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from fleet.image_content.manifest import CHUNK
from fleet.v1 import agent_pb2 as wire
from fleet_agent.drivers.images import staged_content
from tests.processes.agent.agent_caller import DEADLINE
from tests.processes.agent.relaying_hosts import (
    GOLDEN,
    HELD,
    Host,
    Leading,
    digest,
    disk,
    put,
    serving,
    three_hosts,
)
from tests.processes.agent.test_images import refusal, term


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[list[Host]]:
    async with three_hosts(tmp_path) as made:
        yield made


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
