"""Hosts that are drained by the real leader, in virtual time."""

from __future__ import annotations

import asyncio

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import to_wire
from fleet_controller.queries import hosts as host_queries
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import ME, PER_HOST, Stage, converged, kinds, left, play


def test_a_drained_host_is_empty_in_the_end_and_all_vms_run_elsewhere() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.hosts.drain("h0", ME)
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24
        assert "h0" not in stage.world.running.values()
        assert host_queries.host_counts(leader.memory).draining == 1
        assert await leader.hosts.remove("h0", False, ME) == 0
        assert "h0" not in leader.memory.state.hosts
        assert kinds(leader)["host_draining"] == kinds(leader)["host_removed"] == 1

    play(scene)


def test_a_leader_that_changes_in_the_middle_of_a_drain_goes_on_with_it() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await leader.hosts.drain("h0", ME)
        uid = leader.memory.state.fleets["spv"].uid
        await until(lambda: bool(leader.memory.observed.staging[uid]))

    async def second(leader: Leader, stage: Stage) -> None:
        await until(lambda: leader.planner.plans_freely)
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))

    play(first, second)


def test_a_cancelled_drain_leaves_nothing_staged_and_everything_running() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.hosts.drain("h0", ME)
        uid = leader.memory.state.fleets["spv"].uid
        await until(lambda: bool(leader.memory.observed.staging[uid]))
        await leader.hosts.cancel_drain("h0", ME)
        await until(lambda: not leader.memory.observed.staging[uid])
        await until(lambda: converged(leader))
        assert not leader.memory.state.hosts["h0"].draining

    play(scene)


def test_a_host_that_dies_while_it_is_drained_keeps_its_vms_until_it_is_back() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        stage.network.cut("h0:1")
        await leader.hosts.drain("h0", ME)
        await asyncio.sleep(60)
        now = answers.drain_of(leader, "h0")
        assert now.left == 4
        assert "h0 cannot be reached" in answers.blockers_of(leader, "h0", now)
        stage.network.mend()
        await until(lambda: left(leader, "h0") == 0)
        await until(lambda: converged(leader))

    play(scene)


def test_an_announcement_does_not_end_a_drain() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.hosts.drain("h0", ME)
        facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=PER_HOST))
        await leader.announcements.announce("h0", "h0:1", facts)
        assert leader.memory.state.hosts["h0"].draining

    play(scene)


def test_an_orphan_of_what_is_only_staged_is_let_go_before_that_starts() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid
        old, third = stage.agent("h0"), stage.agent("h5")
        moving = IndexSet.of(index for _, index in old.births)
        old.holds_back = True
        await leader.hosts.drain("h0", ME)
        await until(lambda: not leader.memory.state.assignments["h0"].shards)
        assert leader.memory.observed.staging[uid]
        third.orphans = [wire.Orphans(fleet_uid=uid, birth=1, ranges=to_wire(moving))]
        third.holds_back = True
        await until(lambda: bool(leader.memory.state.assignments["h5"].tombstones))
        old.holds_back = False
        await until(lambda: left(leader, "h0") == 0)
        await asyncio.sleep(10)
        assert len(stage.world.running) == 20, "what the third has of them is not let go yet"
        third.orphans, third.holds_back = [], False
        await until(lambda: converged(leader))
        assert len(stage.world.running) == 24

    play(scene)
