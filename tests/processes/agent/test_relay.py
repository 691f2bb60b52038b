"""Images handed from host to host over real gRPC: whole, and to whom they may be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from fleet.image_content.manifest import (
    CHUNK,
    bits_of,
    numbers_in,
)
from fleet.transport import Identity, Role
from fleet.v1 import agent_pb2 as wire
from tests.certificates import identity
from tests.doubles.image_manifests import manifest_for
from tests.processes.agent.agent_caller import DEADLINE
from tests.processes.agent.relaying_hosts import (
    GOLDEN,
    Host,
    Leading,
    digest,
    disk,
    put,
    three_hosts,
)
from tests.processes.agent.test_images import refusal, term


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[list[Host]]:
    async with three_hosts(tmp_path) as made:
        yield made


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
