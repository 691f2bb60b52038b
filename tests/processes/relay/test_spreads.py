"""An image that is led from host to host: real gRPC, scripted agents, a leader that decides."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import Declined
from tests.certificates import identity
from tests.doubles.leading import until
from tests.processes.relay.relay_rig import SECONDS, RelayRig, refusal
from tests.processes.relay.spread_rig import (
    DIGEST,
    FETCHING,
    GOLDEN,
    HELD,
    LIVE,
    ROOT,
    Spreading,
    end_of,
    exchange,
    order,
    says_it_has,
    sources,
    spread_rig,
)


@pytest.fixture
async def rig() -> AsyncIterator[RelayRig]:
    async with spread_rig() as made:
        yield made


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
