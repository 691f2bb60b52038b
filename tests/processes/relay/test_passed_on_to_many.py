"""What is asked of many hosts at once: whoever is slow or away is named and left out."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.agents.port import Declined
from fleet_controller.relay import images as relay_images
from fleet_controller.relay import top as relay_top
from tests.certificates import identity
from tests.doubles.scripted_questions import Silent
from tests.processes.relay.relay_rig import SECONDS, RelayRig, refusal, relay_rig

VIEWER = identity(Role.VIEWER, "eve")
BROKEN = Refusal(grpc.StatusCode.UNAVAILABLE, "POOL_MISSING", "h2 has no pool tank")
TANK = wire.ListImagesResponse(pool=wire.PoolSpace(name="tank"))


def sample(percent: float, uid: str = "") -> wire.TopSample:
    usage = wire.Usage(cpu_percent=percent)
    return wire.TopSample(
        domains=[wire.DomainSample(name=f"at-{percent:g}", usage=usage)],
        fleets=[wire.FleetSample(fleet_uid=uid, vms=1, usage=usage)],
        host=wire.HostSample(vms=1, usage=usage),
    )


def names(answer: cluster.ClusterTopSample) -> list[str]:
    return [one.sample.name for one in answer.domains]


def replies(rig: RelayRig, method: str, **by_host: Any) -> None:
    for host, reply in by_host.items():
        rig.agents[host].questions.replies[method] = reply


async def top(rig: RelayRig, **fields: Any) -> Any:
    return rig.stub(VIEWER).Top(cluster.ClusterTopRequest(interval_seconds=0.5, **fields))


async def test_images_of_all_hosts_with_why_some_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_images, "HOST_SECONDS", 0.5)
    async with relay_rig(5) as rig:
        replies(rig, "ListImages", h1=TANK, h2=Declined("x", BROKEN), h3=Silent(), h5=TANK)
        await rig.lose("h4")
        stub = rig.stub(VIEWER)
        answer = await stub.ListImages(cluster.ListClusterImagesRequest(), timeout=SECONDS)
        found = {one.host: one for one in answer.hosts}
        assert list(found) == ["h1", "h2", "h3", "h4", "h5"]
        assert [h for h, one in found.items() if one.HasField("images")] == ["h1", "h5"]
        assert found["h1"].images == TANK and not found["h1"].error
        assert found["h2"].error == "h2 has no pool tank"
        assert found["h3"].error.startswith("host h3 did not answer in time")
        assert found["h4"].error.startswith("host h4 cannot be reached")


async def test_images_are_answered_before_the_caller_ceases_to_wait() -> None:
    async with relay_rig(2) as rig:
        replies(rig, "ListImages", h1=TANK, h2=Silent())
        stub = rig.stub(VIEWER)
        answer = await stub.ListImages(cluster.ListClusterImagesRequest(), timeout=1.5)
        assert answer.hosts[0].images == TANK
        assert answer.hosts[1].error


async def test_one_top_of_all_hosts() -> None:
    async with relay_rig(3) as rig:
        uid = await rig.scale(3)
        for host, percent in {"h1": 10, "h2": 90, "h3": 50}.items():
            replies(rig, "Top", **{host: [sample(percent, uid), None]})
        call = await top(rig, samples=1, limit=2, order=wire.TOP_ORDER_CPU)
        answer = await call.read()
        assert names(answer) == ["at-90", "at-50"]
        assert [one.host for one in answer.hosts] == ["h1", "h2", "h3"]
        assert answer.fleets[0].vms == 3 and answer.fleets[0].usage.cpu_percent == 150
        assert not answer.silent
        assert await call.read() is grpc.aio.EOF
        (asked,) = rig.agents["h1"].questions.asked
        assert asked == wire.TopRequest(
            interval_seconds=0.5, limit=2, order=wire.TOP_ORDER_CPU, samples=1
        )


async def test_slow_and_absent_hosts_are_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_top, "FIRST_SAMPLE_GRACE", 0.2)
    async with relay_rig(4) as rig:
        replies(rig, "Top", h1=[sample(1)], h2=[], h4=[sample(4)])
        await rig.lose("h4")
        call = await top(rig)
        answer = await call.read()
        assert names(answer) == ["at-1"]
        assert answer.silent == ["h2", "h3", "h4"], "slow, too old, away"
        (late,) = rig.agents["h2"].questions.exchanges
        while answer.silent != ["h3", "h4"]:
            late.say(sample(2))
            rig.agents["h1"].questions.exchanges[0].say(sample(1))
            answer = await call.read()
        assert names(answer) == ["at-2", "at-1"]
        call.cancel()


async def test_the_newest_of_each_is_shown_until_it_is_stale() -> None:
    async with relay_rig(2) as rig:
        replies(rig, "Top", h1=[sample(1)], h2=[sample(2), sample(3)])
        call = await top(rig)
        answer = await call.read()
        exchange = rig.agents["h2"].questions.exchanges[0]
        percent = 3
        while "h1" not in answer.silent:
            percent += 1
            exchange.say(sample(percent))
            answer = await call.read()
        assert names(answer)[0].startswith("at-") and len(answer.domains) == 1
        assert percent > 4, "it was shown for more than an interval"
        call.cancel()
        await rig.agents["h2"].until(lambda: exchange.gone)


async def test_a_host_that_comes_back_is_asked_again() -> None:
    async with relay_rig(1) as rig:
        replies(rig, "Top", h1=[sample(1)])
        call = await top(rig)
        assert names(await call.read()) == ["at-1"]
        await rig.add_host("h2")
        replies(rig, "Top", h2=[sample(2)])
        async with asyncio.timeout(SECONDS):
            while "at-2" not in names(await call.read()):
                continue
        rig.agents["h1"].questions.exchanges[0].end()
        async with asyncio.timeout(SECONDS):
            await rig.agents["h1"].until(lambda: len(rig.agents["h1"].questions.asked) == 2)
        call.cancel()


async def test_a_fleet_is_asked_of_the_hosts_that_run_it() -> None:
    async with relay_rig(2) as rig:
        uid = await rig.scale(1)
        ((holder, _),) = [
            (host, one) for host, one in rig.leading.memory.state.assignments.items()
            if one.indices(uid)
        ]  # fmt: skip
        other = {"h1": "h2", "h2": "h1"}[holder]
        replies(rig, "Top", h1=[sample(1, uid)], h2=[sample(2, uid)])
        call = await top(rig, fleet="spv", samples=1)
        answer = await call.read()
        assert [one.host for one in answer.hosts] == [holder]
        assert [(one.fleet, one.vms) for one in answer.fleets] == [("spv", 1)]
        assert rig.agents[holder].questions.asked[0].fleet_uid == uid
        assert not rig.agents[other].questions.asked
        unknown = await top(rig, fleet="nope")
        assert (await refusal(unknown.read()))[1] == "NO_SUCH_FLEET"


async def test_top_of_one_host_that_goes_says_so() -> None:
    async with relay_rig(1) as rig:
        replies(rig, "Top", h1=[sample(1)])
        call = await top(rig, host="h1")
        await call.read()
        await rig.servers["h1"].stop(0)

        async def to_the_end() -> None:
            async with asyncio.timeout(SECONDS):
                while await call.read() is not grpc.aio.EOF:
                    continue

        assert (await refusal(to_the_end()))[:2] == (
            grpc.StatusCode.UNAVAILABLE,
            "HOST_UNREACHABLE",
        )


async def test_hosts_that_all_refuse_are_a_refusal() -> None:
    async with relay_rig(2) as rig:
        call = await top(rig)
        code, reason, said = await refusal(call.read())
        assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
        assert said.startswith("the agent of h1, version 0.1.0, does not offer top")


async def test_a_top_that_goes_on_ends_as_leadership_does() -> None:
    async with relay_rig(1) as rig:
        replies(rig, "Top", h1=[sample(1)])
        call = await top(rig)
        await call.read()
        await rig.depose()

        async def to_the_end() -> None:
            while await call.read() is not grpc.aio.EOF:
                continue

        assert (await refusal(to_the_end()))[1] == "NOT_LEADER"


async def test_broken_questions() -> None:
    async with relay_rig(1) as rig:
        stub = rig.stub()
        for request in (
            cluster.ClusterTopRequest(interval_seconds=-1),
            cluster.ClusterTopRequest(order=77),  # type: ignore[arg-type]
        ):
            assert (await refusal(stub.Top(request).read()))[1] == "BAD_QUERY"
