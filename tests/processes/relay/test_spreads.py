"""An image that is led from host to host: real gRPC, scripted agents, a leader that decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import Declined
from fleet_controller.image_spread import described
from fleet_controller.image_spread import spread as spread_module
from tests.certificates import identity
from tests.doubles.leading import until
from tests.doubles.scripted_questions import Exchange
from tests.processes.relay.relay_rig import GUESTS, SECONDS, RelayRig, refusal, relay_rig

DIGEST = f"sha256:{'a' * 64}"
GOLDEN = types.Image(name="golden", snapshot="2", digest=DIGEST)
ROOT = b"r" * 32
FETCHING = wire.RelayState(phase=wire.RelayState.PHASE_FETCHING, total_bytes=100)
HELD = wire.RelayState(phase=wire.RelayState.PHASE_HELD, done_bytes=100, total_bytes=100)
LIVE = ("h1", "h2", "h3")


@pytest.fixture
async def rig() -> AsyncIterator[RelayRig]:
    """h1 has the image and gives it; h2 and h3 lack it."""
    async with relay_rig(3) as made:
        await holder_and_others(made, "h1", ("h2", "h3"))
        yield made


async def holder_and_others(rig: RelayRig, holder: str, others: Sequence[str]) -> None:
    for host in (holder, *others):
        await says_it_has(rig, host, *([GOLDEN] if host == holder else []))
        questions = rig.agents[host].questions
        questions.replies["RelayImage"] = [HELD if host == holder else FETCHING]
    part = wire.ImagePart(name="disk", size_bytes=100)
    manifest = wire.ImageManifest(image=GOLDEN, root=ROOT, parts=[part])
    rig.agents[holder].questions.replies["SendImage"] = [wire.ImageChunk(manifest=manifest)]


async def says_it_has(rig: RelayRig, host: str, *images: types.Image) -> None:
    facts = types.HostFacts(
        incarnation="i", capacity=types.Capacity(guests=GUESTS), agent_version="0.1.0",
        images=types.ImagesHeld(images=images), fetches_images=True, gives_images=True,
    )  # fmt: skip
    address = rig.leading.memory.state.hosts[host].address
    await rig.leading.announcements.announce(host, address, facts)


class Spreading:
    """A call of SpreadImage."""

    def __init__(self, rig: RelayRig, **fields: Any) -> None:
        request = cluster.SpreadImageRequest(**{"image": GOLDEN, "all": True, **fields})
        self.call = rig.stub().SpreadImage(request, timeout=SECONDS)
        self.told: list[cluster.SpreadProgress] = []

    async def until(self, true: Callable[[cluster.SpreadProgress], bool]) -> cluster.SpreadProgress:
        async with asyncio.timeout(SECONDS):
            told: Any
            while (told := await self.call.read()) is not grpc.aio.EOF:
                self.told.append(told)
                assert isinstance(told, cluster.SpreadProgress)
                if true(told):
                    return told
        raise AssertionError(f"it ended before: {self.told[-1:]}")


def exchange(rig: RelayRig, host: str) -> Exchange:
    """The leader's latest call to the host about the image."""
    found = [
        one
        for one in rig.agents[host].questions.exchanges
        if isinstance(one.inputs[0], wire.RelayOrder)
    ]
    return found[-1]


async def order(
    rig: RelayRig, host: str, true: Callable[[wire.RelayOrder], bool]
) -> wire.RelayOrder:
    def latest() -> wire.RelayOrder | None:
        try:
            found = exchange(rig, host).inputs[-1]
        except IndexError:
            return None
        return found if true(found) else None

    await until(lambda: latest() is not None, SECONDS)
    found = latest()
    assert found is not None
    return found


def sources(one: wire.RelayOrder) -> dict[int, str]:
    return {source.stripe: source.host for source in one.sources}


async def test_hosts_are_told_whom_they_fetch_from_and_whom_they_give_to(rig: RelayRig) -> None:
    spreading = Spreading(rig, host_bytes_per_second=7)
    two = await order(rig, "h2", lambda one: len(one.sources) == 2)
    three = await order(rig, "h3", lambda one: len(one.sources) == 2)
    one = await order(rig, "h1", lambda one: bool(one.readers))
    for told, host in ((one, "h1"), (two, "h2"), (three, "h3")):
        assert (told.host_id, told.root, told.image) == (host, ROOT, GOLDEN)
        assert told.term == rig.leading.memory.term
    assert two.bytes_per_second == 7
    # Each of both hands one half on to the other.
    assert sorted([*sources(two).values(), *sources(three).values()]) == ["h1", "h1", "h2", "h3"]
    assert "h3" in two.readers and "h2" in three.readers
    address = rig.leading.memory.state.hosts["h1"].address
    assert {s.address for s in two.sources if s.host == "h1"} == {address}
    exchange(rig, "h2").say(HELD)
    exchange(rig, "h3").say(HELD)
    last = await spreading.until(lambda told: told.over)
    assert (last.hosts, last.held, last.done_bytes) == (3, 3, 300)
    # It is over: nobody is to give anything to anybody any more.
    await until(lambda: all(exchange(rig, host).gone for host in LIVE), SECONDS)


async def test_how_far_it_is_is_told_with_the_slowest_hosts(rig: RelayRig) -> None:
    spreading = Spreading(rig)
    for host, done in (("h2", 70), ("h3", 20)):
        await order(rig, host, lambda one: len(one.sources) == 2)
        state = wire.RelayState(phase=FETCHING.phase, done_bytes=done, total_bytes=100)
        exchange(rig, host).say(state)
    told = await spreading.until(lambda told: told.done_bytes == 190)
    assert (told.held, told.fetching, told.total_bytes) == (1, 2, 300)
    assert [(one.host, one.done_bytes) for one in told.slowest] == [("h3", 20), ("h2", 70)]


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


async def test_a_source_that_is_gone_is_replaced_and_one_that_failed_is_tried_anew(
    rig: RelayRig,
) -> None:
    await says_it_has(rig, "h3", GOLDEN)
    rig.agents["h3"].questions.replies["RelayImage"] = [HELD]
    spreading = Spreading(rig, all=False, hosts=["h2"])
    two = await order(rig, "h2", lambda one: set(sources(one).values()) == {"h1", "h3"})
    before = {source.stripe: source.attempt for source in two.sources if source.host == "h1"}
    await rig.lose("h1")
    told = await order(rig, "h2", lambda one: set(sources(one).values()) == {"h3"})
    (stripe,) = before
    after = next(source for source in told.sources if source.stripe == stripe)
    assert after.attempt > before[stripe]
    exchange(rig, "h2").say(HELD)
    last = await spreading.until(lambda told: told.over)
    assert (last.hosts, last.held) == (1, 1)


async def test_what_no_waiting_mends_fails_that_host_alone(rig: RelayRig) -> None:
    full = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "NO_SPACE", "it takes 9 GiB, 1 is free")
    rig.agents["h3"].questions.replies["RelayImage"] = Declined("x", full)
    spreading = Spreading(rig)
    await order(rig, "h2", lambda one: len(one.sources) == 2)
    exchange(rig, "h2").say(HELD)
    last = await spreading.until(lambda told: told.over)
    assert last.held == 2
    assert [(one.host, one.why) for one in last.failed] == [("h3", "it takes 9 GiB, 1 is free")]


async def test_a_host_that_lies_of_what_an_image_is_made_of_is_asked_last(rig: RelayRig) -> None:
    await says_it_has(rig, "h3", GOLDEN)
    three, two = rig.agents["h3"].questions, rig.agents["h2"].questions
    three.replies["RelayImage"] = [HELD]
    three.replies["SendImage"] = rig.agents["h1"].questions.replies["SendImage"]
    wrong = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_MISMATCH", "another digest")
    two.replies["RelayImage"] = Declined("x", wrong)
    call = Spreading(rig, all=False, hosts=["h2"]).call

    async def ends() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    async with asyncio.timeout(SECONDS):
        try:
            await ends()
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


async def test_an_error_of_ours_ends_one_spread_and_no_leadership(
    rig: RelayRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreading = Spreading(rig)
    await order(rig, "h2", lambda one: len(one.sources) == 2)
    (spread,) = rig.leading.image_spreads._spreads.values()

    async def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(spread, "_steer", broken)
    reason, said = (await refusal(end_of(spreading.call)))[1:]
    assert reason == "NOT_LEADER" and "an error of the controller ended it" in said
    again = Spreading(rig, all=False, hosts=["h2"])
    rig.agents["h2"].questions.replies["RelayImage"] = [HELD]
    assert (await again.until(lambda told: told.over)).held == 1


async def end_of(call: Any) -> Any:
    while (told := await call.read()) is not grpc.aio.EOF:
        pass
    return told


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


async def test_an_older_agent_is_named_with_its_version(rig: RelayRig) -> None:
    del rig.agents["h3"].questions.replies["RelayImage"]
    spreading = Spreading(rig, all=False, hosts=["h3"])
    last = await spreading.until(lambda told: told.over)
    assert "version 0.1.0, does not offer handing images on" in last.failed[0].why


async def test_whoever_goes_ends_it_and_hosts_that_fetch_are_called_no_more(rig: RelayRig) -> None:
    spreading = Spreading(rig)
    await order(rig, "h2", lambda one: len(one.sources) == 2)
    spreading.call.cancel()
    await until(lambda: all(exchange(rig, host).gone for host in LIVE), SECONDS)


async def test_what_cannot_be_spread_is_refused_with_the_reason(rig: RelayRig) -> None:
    async def refused(by: Role = Role.OPERATOR, **fields: Any) -> tuple[str, str]:
        request = cluster.SpreadImageRequest(**{"image": GOLDEN, "all": True, **fields})
        call = rig.stub(identity(by, "x")).SpreadImage(request, timeout=SECONDS)
        return (await refusal(call.read()))[1:]

    assert (await refused(Role.VIEWER))[0] == "NOT_ALLOWED"
    assert (await refused(Role.AGENT))[0] == "NOT_ALLOWED"
    assert (await refused(hosts=["h1"]))[0] == "BAD_QUERY"
    assert (await refused(all=False, hosts=["h9"]))[0] == "NO_SUCH_HOST"
    assert (await refused(all=False, labels={"rack": "r9"}))[0] == "NO_SUCH_HOST"
    await says_it_has(rig, "h3", types.Image(name="golden", snapshot="2", digest=DIGEST[:-1] + "b"))
    reason, said = await refused(image=types.Image(name="golden", snapshot="2"))
    assert reason == "BAD_QUERY" and "different contents under the name golden@2" in said


async def test_an_upload_is_passed_on_to_its_host_and_is_an_event(rig: RelayRig) -> None:
    rig.agents["h2"].questions.replies["PutImage"] = [wire.PutImageAnswer(wanted=b"\1")]
    call = rig.stub().PutImage(timeout=SECONDS)
    put = wire.PutImageRequest(manifest=wire.ImageManifest(image=GOLDEN))
    await call.write(cluster.HostPutImageRequest(host="h2", put=put))
    answer = await call.read()
    assert (answer.host, answer.answer.wanted) == ("h2", b"\1")
    chunk = wire.PutImageRequest(number=0, data=b"x" * (1 << 20))
    await call.write(cluster.HostPutImageRequest(put=chunk))
    (passed,) = rig.agents["h2"].questions.exchanges
    await until(lambda: len(passed.inputs) == 2, SECONDS)
    assert passed.inputs[0].host_id == "h2" and passed.inputs[0].term.revision
    assert passed.inputs[1] == chunk
    await says_it_has(rig, "h2", GOLDEN)
    passed.say(wire.PutImageAnswer(image=wire.ImageOnHost(image=GOLDEN)))
    assert (await call.read()).answer.image.image == GOLDEN
    ((message, actor),) = rig.events("image_imported")
    assert message == "h2: image golden@2 was handed in" and actor == "operator/alice"


async def test_each_host_is_told_how_long_a_source_may_give_nothing(rig: RelayRig) -> None:
    spreading = Spreading(rig)
    two = await order(rig, "h2", lambda one: len(one.sources) == 2)
    three = await order(rig, "h3", lambda one: len(one.sources) == 2)
    for told in (two, three):
        found = {source.host: source.patience_seconds for source in told.sources}
        assert found == {"h1": 30, ("h3" if told is two else "h2"): 60}
    # Who has all of it by now has no reason to let anybody wait; it is the same source still.
    before = next(source for source in two.sources if source.host == "h3")
    exchange(rig, "h3").say(HELD)
    told = await order(rig, "h2", lambda one: {s.patience_seconds for s in one.sources} == {30})
    after = next(source for source in told.sources if source.host == "h3")
    assert (after.stripe, after.attempt) == (before.stripe, before.attempt)
    exchange(rig, "h2").say(HELD)
    await spreading.until(lambda told: told.over)
