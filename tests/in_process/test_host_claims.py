"""What one host says of itself is worth no more than a host like it, and harms no other."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import hosts as host_queries
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import QUICK, leading, until
from tests.doubles.obedient_agents import ObedientAgent
from tests.in_process.six_hosts import ME, PER_HOST, SPEC, Stage, converged, kinds, play, told
from tests.virtual_loop import virtual

VAST = 2**32 - 1
BY_RACK = types.FleetSpec()
BY_RACK.CopyFrom(SPEC)
BY_RACK.placement.spread_label = "rack"


async def join(
    leader: Leader, stage: Stage, name: str, guests: int, labels: Mapping[str, str] | None = None
) -> ObedientAgent:
    """A further host announces itself."""
    agent = ObedientAgent(name, stage.world, Random(7))
    stage.network.agents[f"{name}:1"] = agent
    await announce(leader, name, guests, labels)
    return agent


async def announce(
    leader: Leader, name: str, guests: int, labels: Mapping[str, str] | None = None
) -> None:
    capacity = types.Capacity(guests=guests)
    facts = types.HostFacts(incarnation="i", labels=labels or {"rack": "solo"}, capacity=capacity)
    await leader.announcements.announce(name, f"{name}:1", facts)


def summary(leader: Leader, host: str) -> Any:
    return host_queries.host_summary(leader.memory, leader.planning, host)


def problems(leader: Leader) -> dict[str, str]:
    """The example of each kind."""
    found = answers.fleet_status(leader, "spv").problems
    return {problem.kind: problem.example for problem in found}


def test_a_host_that_claims_four_thousand_million_guests_counts_as_an_ordinary_one() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await join(leader, stage, "evil", VAST)
        await until(lambda: leader.memory.is_live("evil"))
        shown = summary(leader, "evil")
        assert (shown.capacity_guests, shown.claimed_guests) == (256, VAST)
        assert (
            "evil claims 4,294,967,295 guests, and 256 count" in problems(leader)["capacity_claim"]
        )
        with pytest.raises(Refused) as refusal:
            await leader.fleets.scale("spv", 100_000, ME)
        assert refusal.value.reason is Reason.BEYOND_CAPACITY

    play(scene)


def test_a_rack_of_its_own_gets_no_more_than_an_operator_allows_it() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await join(leader, stage, "evil", VAST)
        await until(lambda: leader.memory.is_live("evil"))
        await leader.host_claims.bound("evil", 2, ME)
        await leader.fleets.scale("spv", 40, ME)
        await until(lambda: converged(leader))
        shown = summary(leader, "evil")
        assert (shown.assigned, shown.capacity_guests, shown.max_guests) == (2, 2, 2)
        assert "capacity_claim" not in problems(leader)
        assert told(leader, host="evil") == [("bound", ME, "at most 2 guests")]
        await leader.host_claims.bound("evil", 0, ME)
        assert summary(leader, "evil").capacity_guests == 256

    play(scene, spec=BY_RACK)


def test_a_large_host_is_believed_once_an_operator_says_so() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await join(leader, stage, "large", 2000)
        assert summary(leader, "large").capacity_guests == 256
        await leader.host_claims.bound("large", 4000, ME)
        assert summary(leader, "large").capacity_guests == 2000
        with pytest.raises(Refused, match="at most 10,000 guests"):
            await leader.host_claims.bound("large", 10_001, ME)
        with pytest.raises(Refused, match="no host 'nobody'"):
            await leader.host_claims.bound("nobody", 1, ME)

    play(scene)


def test_a_scale_does_not_stand_still_for_orphans_that_no_host_can_have() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agent = await join(leader, stage, "evil", 1)
        uid = leader.memory.state.fleets["spv"].uid
        ranges = [types.IndexRange(start=0, stop=VAST)]
        agent.orphans = [wire.Orphans(fleet_uid=uid, birth=1, ranges=ranges)]
        await until(lambda: leader.memory.links.misbehaving == {"evil"})
        await leader.fleets.scale("spv", 48, ME)
        await until(lambda: converged(leader))
        assert problems(leader) == {
            "misbehaves": "evil reports 4,294,967,295 orphans; it can have 256"
        }
        shown = summary(leader, "evil")
        assert shown.misbehaves == problems(leader)["misbehaves"]
        assert answers.fleet_status(leader, "spv").orphans == 0
        assert kinds(leader)["host_misbehaves"] == 1

    play(scene)


def test_a_host_that_misbehaves_is_not_lost_by_time() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        agent = stage.agent("h0")
        ranges = [types.IndexRange(start=0, stop=VAST)]
        agent.orphans = [wire.Orphans(fleet_uid="x", birth=1, ranges=ranges)]
        agent.end()
        await until(lambda: leader.memory.links.misbehaving == {"h0"})
        await asyncio.sleep(900)
        assert not leader.memory.state.lost and not leader.memory.is_live("h0")
        agent.orphans = []
        await until(lambda: converged(leader), 400.0)

    settings = replace(QUICK, loss=replace(QUICK.loss, lost_after=120.0))
    play(scene, settings=settings)


def test_what_is_pinned_no_announcement_changes() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.host_claims.pin("h0", {"zone": "z1"}, ME)
        await announce(leader, "h0", 5000, {"rack": "solo", "gpu": "yes"})
        record = leader.memory.state.hosts["h0"]
        assert dict(record.labels) == {"rack": "r0", "zone": "z1"}
        assert record.capacity.guests == PER_HOST and record.pinned
        await leader.host_claims.pin("h0", {"zone": ""}, ME)
        assert dict(leader.memory.state.hosts["h0"].labels) == {"rack": "r0"}
        with pytest.raises(Refused, match="at most 64 labels"):
            await leader.host_claims.pin("h0", {f"l{n}": "v" for n in range(65)}, ME)
        await leader.host_claims.unpin("h0", ME)
        await announce(leader, "h0", 6, {"rack": "r9"})
        record = leader.memory.state.hosts["h0"]
        assert (dict(record.labels), record.capacity.guests) == ({"rack": "r9"}, 6)
        assert [action for action, *_ in told(leader, host="h0")] == ["pin", "pin", "unpin"]

    play(scene)


def test_a_pin_keeps_what_counts_of_a_claim_and_not_the_claim() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await join(leader, stage, "evil", VAST)
        await leader.host_claims.pin("evil", {}, ME)
        assert leader.memory.state.hosts["evil"].capacity.guests == 256
        await join(leader, stage, "bound", 300)
        await leader.host_claims.bound("bound", 100, ME)
        await leader.host_claims.pin("bound", {}, ME)
        assert summary(leader, "bound").capacity_guests == 100
        await leader.host_claims.bound("bound", 280, ME)
        assert summary(leader, "bound").capacity_guests == 280

    play(scene)


@virtual
async def test_a_new_host_waits_for_approval_is_shown_and_gets_nothing() -> None:
    stage, settings = Stage(), replace(QUICK, approve_hosts=True)
    async with leading(stage.store, stage.network, settings) as leader:
        agent = await join(leader, stage, "new", PER_HOST)
        assert summary(leader, "new").awaits_approval
        counts = host_queries.host_counts(leader.memory)
        assert (counts.awaiting_approval, counts.total) == (1, 1)
        await leader.fleets.apply("spv", SPEC, ME)
        with pytest.raises(Refused, match="wait for 'fleetctl hosts approve'"):
            await leader.fleets.scale("spv", 1, ME)
        await asyncio.sleep(900)
        assert not agent.watches and not agent.assigned, "nobody dials it"
        assert not leader.memory.state.lost
        with pytest.raises(Refused, match="no host 'nobody'"):
            await leader.host_claims.approve(["new", "nobody"], ME)
        await leader.host_claims.approve(["new"], ME)
        await leader.fleets.scale("spv", 8, ME)
        await until(lambda: converged(leader))
        assert summary(leader, "new").assigned == 8
        assert told(leader, host="new") == [("approve", ME, "")]
        await announce(leader, "new", PER_HOST + 1)
        assert not summary(leader, "new").awaits_approval, "once and for all"
        assert kinds(leader)["host_approved"] == 1


@virtual
async def test_hosts_that_are_known_do_not_wait_when_approval_is_asked_for() -> None:
    stage = Stage()
    async with leading(stage.store, stage.network) as leader:
        await join(leader, stage, "old", PER_HOST)
    async with leading(stage.store, stage.network, replace(QUICK, approve_hosts=True)) as leader:
        await until(lambda: leader.memory.is_live("old"))
        await announce(leader, "old", PER_HOST + 1)
        assert not leader.memory.state.awaiting_approval
