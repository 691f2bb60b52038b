"""Hosts that say what is not so of an image, too much, or nothing: others get it all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import agent_pb2 as wire
from fleet_controller.agents.port import Declined
from fleet_controller.image_spread import described
from fleet_controller.image_spread import spread as spread_module
from tests.doubles.leading import until
from tests.processes.relay.relay_rig import SECONDS, RelayRig, refusal, relay_rig
from tests.processes.relay.spread_rig import (
    FETCHING,
    GOLDEN,
    HELD,
    ROOT,
    Spreading,
    end_of,
    exchange,
    holder_and_others,
    order,
    says_it_has,
    sources,
    spread_rig,
)


@pytest.fixture
async def rig() -> AsyncIterator[RelayRig]:
    async with spread_rig() as made:
        yield made


async def test_a_source_that_lied_is_named_and_believed_by_one_host_alone_to_have(
    rig: RelayRig,
) -> None:
    await says_it_has(rig, "h3", GOLDEN)
    rig.agents["h3"].questions.replies["RelayImage"] = [HELD]
    spreading = Spreading(rig)
    two = await order(rig, "h2", lambda one: len(one.sources) == 2)
    liar = two.sources[0]
    trouble = wire.RelayTrouble(host=liar.host, why="chunk 3 is wrong", lied=True)
    exchange(rig, "h2").say(
        wire.RelayState(phase=FETCHING.phase, total_bytes=100, troubles=[trouble])
    )
    told = await order(rig, "h2", lambda one: liar.host not in sources(one).values())
    assert set(sources(told).values()) == {"h1", "h3"} - {liar.host}
    progress = await spreading.until(lambda told: bool(told.liars))
    assert list(progress.liars) == [liar.host]
    assert not rig.events("image_corrupt"), "one word alone accuses nobody"
    exchange(rig, "h2").say(HELD)
    assert (await spreading.until(lambda told: told.over)).held == 3


async def test_a_host_that_lies_of_what_an_image_is_made_of_is_asked_last(rig: RelayRig) -> None:
    await says_it_has(rig, "h3", GOLDEN)
    three, two = rig.agents["h3"].questions, rig.agents["h2"].questions
    three.replies["RelayImage"] = [HELD]
    three.replies["SendImage"] = rig.agents["h1"].questions.replies["SendImage"]
    wrong = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_MISMATCH", "another digest")
    two.replies["RelayImage"] = Declined("x", wrong)
    call = Spreading(rig, all=False, hosts=["h2"]).call

    async with asyncio.timeout(SECONDS):
        try:
            await end_of(call)
        except grpc.aio.AioRpcError as error:
            assert "is not made of what h1 says" in (error.details() or "")
    relays = rig.leading.image_spreads
    await until(lambda: not relays._spreads, SECONDS)
    two.replies["RelayImage"] = [HELD]
    asked = len(three.asked)
    assert (await Spreading(rig, all=False, hosts=["h2"]).until(lambda told: told.over)).held
    assert any(isinstance(one, wire.SendImageRequest) for one in three.asked[asked:])


async def test_a_host_that_says_too_much_is_hung_up_on(rig: RelayRig) -> None:
    spreading = Spreading(rig)
    await order(rig, "h2", lambda one: len(one.sources) == 2)
    flood = exchange(rig, "h2")
    flood.say(*[FETCHING] * 400)
    await until(lambda: flood.gone, SECONDS)
    await until(lambda: exchange(rig, "h2") is not flood, SECONDS)
    exchange(rig, "h2").say(HELD)
    exchange(rig, "h3").say(HELD)
    assert (await spreading.until(lambda told: told.over)).held == 3


async def test_a_host_that_says_too_much_of_an_image_is_named(rig: RelayRig) -> None:
    spreading = Spreading(rig)
    await order(rig, "h2", lambda one: len(one.sources) == 2)
    troubles = [wire.RelayTrouble(host="h1", why="x" * 100_000)]
    exchange(rig, "h2").say(wire.RelayState(phase=FETCHING.phase, troubles=troubles))
    await until(lambda: exchange(rig, "h2").gone, SECONDS)
    await until(lambda: bool(rig.events("host_misbehaves")), SECONDS)
    assert [one for one, _ in rig.events("host_misbehaves")] == [
        "h2 says more of an image than it can have to say"
    ]
    exchange(rig, "h3").say(HELD)
    await spreading.until(lambda told: told.held == 2)


async def test_numbers_without_measure_end_nobody(rig: RelayRig) -> None:
    """Two of them together are more than a field holds."""
    huge = wire.RelayState(phase=FETCHING.phase, done_bytes=2**64 - 1, total_bytes=2**64 - 1)
    spreading = Spreading(rig)
    for host in ("h2", "h3"):
        await order(rig, host, lambda one: len(one.sources) == 2)
        exchange(rig, host).say(huge)
    told = await spreading.until(lambda told: told.done_bytes == 300)
    assert told.total_bytes == 300
    for host in ("h2", "h3"):
        exchange(rig, host).say(HELD)
    assert (await spreading.until(lambda told: told.over)).held == 3


@pytest.mark.parametrize("size", [0, 2**64 - 1], ids=["nothing", "without measure"])
async def test_a_holder_that_says_what_no_image_is_is_passed_over_and_named(
    rig: RelayRig, size: int
) -> None:
    part = wire.ImagePart(name="disk", size_bytes=size)
    lie = wire.ImageChunk(manifest=wire.ImageManifest(root=ROOT, parts=[part, part]))
    honest = rig.agents["h1"].questions.replies["SendImage"]
    rig.agents["h1"].questions.replies["SendImage"] = [lie]
    call = Spreading(rig).call
    reason, said = (await refusal(call.read()))[1:]
    assert reason == "HOST_UNREACHABLE" and "host h1 says of golden@2 what cannot be" in said
    await says_it_has(rig, "h3", GOLDEN)
    rig.agents["h3"].questions.replies |= {"SendImage": honest, "RelayImage": [HELD]}
    spreading = Spreading(rig, all=False, hosts=["h2"])
    await order(rig, "h2", lambda one: len(one.sources) == 2)
    exchange(rig, "h2").say(HELD)
    assert (await spreading.until(lambda told: told.over)).held == 1


async def test_a_holder_that_does_not_answer_keeps_nobody_from_the_next(
    rig: RelayRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(described, "BESIDE_SECONDS", 0.05)
    await says_it_has(rig, "h3", GOLDEN)
    honest = rig.agents["h1"].questions.replies["SendImage"]
    rig.agents["h1"].questions.replies |= {"SendImage": [], "RelayImage": [HELD]}
    rig.agents["h3"].questions.replies |= {"SendImage": honest, "RelayImage": [HELD]}
    spreading = Spreading(rig, all=False, hosts=["h2"])
    await order(rig, "h2", lambda one: len(one.sources) == 2)
    exchange(rig, "h2").say(HELD)
    assert (await spreading.until(lambda told: told.over)).held == 1


async def test_hosts_that_say_they_have_it_and_give_nothing_starve_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spread_module, "STARVED_SECONDS", 0.1)
    async with relay_rig(5) as rig:
        await holder_and_others(rig, "h4", ("h1", "h2", "h3", "h5"))
        honest = rig.agents["h4"].questions.replies["SendImage"]
        for mute in ("h1", "h2", "h3"):
            await says_it_has(rig, mute, GOLDEN)
            # Its manifest is the true one; it never says a word of giving.
            rig.agents[mute].questions.replies |= {"SendImage": honest, "RelayImage": []}
        spreading = Spreading(rig, all=False, hosts=["h5"])
        told = await order(rig, "h5", lambda one: len(one.sources) == 2)
        assert set(sources(told).values()) == {"h4"}
        exchange(rig, "h5").say(HELD)
        assert (await spreading.until(lambda told: told.over)).held == 1


async def test_one_host_that_finds_another_digest_ends_nobody_elses_spread(rig: RelayRig) -> None:
    wrong = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_MISMATCH", "another digest")
    rig.agents["h2"].questions.replies["RelayImage"] = Declined("x", wrong)
    spreading = Spreading(rig)
    await order(rig, "h3", lambda one: len(one.sources) == 2)
    await spreading.until(lambda told: [one.host for one in told.failed] == ["h2"])
    rig.leading.image_spreads._end_idle()
    exchange(rig, "h3").say(HELD)
    last = await spreading.until(lambda told: told.over)
    assert last.held == 2


async def test_two_that_slander_the_only_holder_keep_nobody_else_from_it() -> None:
    async with relay_rig(4) as rig:
        await holder_and_others(rig, "h1", ("h2", "h3", "h4"))
        spreading = Spreading(rig)
        slander = wire.RelayTrouble(host="h1", why="wrong", lied=True)
        for host in ("h2", "h3"):
            await order(rig, host, lambda one: len(one.sources) > 0)
            for spread in rig.leading.image_spreads._spreads.values():
                spread.parts[host].told.add("h1")  # as it may have been told before
            state = wire.RelayState(phase=FETCHING.phase, total_bytes=100, troubles=[slander])
            exchange(rig, host).say(state)
        told = await order(rig, "h4", lambda one: set(sources(one).values()) == {"h1"})
        assert len(told.sources) == 2
        exchange(rig, "h4").say(HELD)
        await spreading.until(lambda told: told.held == 2)
