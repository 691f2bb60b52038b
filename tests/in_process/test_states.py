"""What watchers of VM states are sent."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.refusals import Refused
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.pictures import states_frames
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import HOSTS, ME, PER_HOST, Stage, converged, left, play
from tests.in_process.states_viewer import Viewer

RUNNING, UNKNOWN = int(types.VM_STATE_RUNNING), int(types.VM_STATE_UNKNOWN)


def shows(viewer: Viewer, leader: Leader) -> bool:
    """Whether its cells are what the leader knows, in the order that GetHost tells."""
    memory = leader.memory
    for host in viewer.hosts:
        held: dict[str, IndexSet] = {}
        for shard in answers.host_detail(leader, host).shards:
            before = held.get(shard.fleet_uid, IndexSet())
            held[shard.fleet_uid] = before | from_wire(shard.ranges)
        wanted = []
        for uid in sorted(held):
            vector, number = memory.observed.vectors[uid], memory.observed.host(host).number
            for index in held[uid]:
                mine = vector.holder(index) == number
                wanted.append(int(vector.states[index]) if mine else 0)
        if viewer.of(host)[: len(wanted)] != wanted or any(viewer.of(host)[len(wanted) :]):
            return False
    return True


async def until_shown(viewer: Viewer, leader: Leader) -> None:
    await viewer.until(lambda: bool(viewer.hosts) and shows(viewer, leader))


def test_first_comes_all_then_what_has_changed() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader)
        first = await viewer.read()
        assert sorted(viewer.hosts) == [f"h{one}" for one in range(HOSTS)] and not first.after
        assert np.count_nonzero(viewer.cells == RUNNING) == 24
        await leader.fleets.scale("spv", 30, ME)
        await until(lambda: converged(leader))
        await until_shown(viewer, leader)
        assert np.count_nonzero(viewer.cells == RUNNING) == 30
        assert not viewer.last.HasField("layout")

    play(scene)


def test_a_host_that_is_not_heard_has_unknown_vms() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader)
        await viewer.read()
        stage.agent("h1").mute = True
        await until(lambda: not leader.memory.is_live("h1"))
        await until_shown(viewer, leader)
        assert set(viewer.of("h1")) <= {UNKNOWN, 0} and UNKNOWN in viewer.of("h1")

    play(scene)


def test_each_vm_is_shown_once_while_it_moves() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader)
        await leader.hosts.drain("h0", ME)
        async with asyncio.timeout(60):
            while True:
                await viewer.read()
                assert np.count_nonzero(viewer.cells) <= 24
                if shows(viewer, leader) and not any(viewer.of("h0")):
                    break
        assert np.count_nonzero(viewer.cells) == 24

    play(scene)


def test_a_slow_reader_gets_one_merged_frame() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        slow, quick = Viewer(leader), Viewer(leader)
        await slow.read()
        for total in (30, 18, 36):
            await leader.fleets.scale("spv", total, ME)
            await until(lambda: converged(leader))
            await until_shown(quick, leader)
        assert quick.number > slow.number + 1
        frame = await slow.read()
        while frame.number < quick.number:
            frame = await slow.read()
        assert (slow.cells == quick.cells).all()

    play(scene)


def test_a_frame_is_encoded_once_for_all_who_watch() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewers = [Viewer(leader) for _ in range(5)]
        firsts = [await one.read() for one in viewers]
        assert all(one is firsts[0] for one in firsts)
        await leader.fleets.scale("spv", 30, ME)
        await until(lambda: converged(leader))
        seconds = [await one.read() for one in viewers]
        assert all(one is seconds[0] for one in seconds) and seconds[0].cells

    play(scene)


def test_the_leader_says_that_it_is_there_while_nothing_changes() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader)
        await until_shown(viewer, leader)
        async with asyncio.timeout(10):
            while (await viewer.read()).cells:
                pass
        assert viewer.last.number == viewer.last.after == viewer.number

    play(scene)


def test_other_hosts_are_another_layout() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader)
        await viewer.read()
        await leader.hosts.drain("h2", ME)
        await until(lambda: not left(leader, "h2"))
        await leader.hosts.remove("h2", False, ME)
        async with asyncio.timeout(30):
            while "h2" in viewer.hosts:
                await viewer.read()
        await until_shown(viewer, leader)
        assert len(viewer.cells) == 5 * PER_HOST

    play(scene)


@pytest.mark.parametrize(("label", "racks"), [("rack", {"r0", "r1", "r2"}), ("row", {""})])
def test_hosts_stand_by_the_label_that_they_fail_together_by(label: str, racks: set[str]) -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader)
        frame = await viewer.read()
        assert {one.rack for one in frame.layout.hosts} == racks

    play(scene, settings=LeaderSettings(settle=5.0, loss=LossSettings(rack_label=label)))


def test_no_more_than_a_bound_may_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states_frames, "MOST_WATCHERS", 2)

    async def scene(leader: Leader, stage: Stage) -> None:
        first, second = Viewer(leader), Viewer(leader)
        await first.read()
        await second.read()
        with pytest.raises(Refused, match="2 viewers"):
            await Viewer(leader).read()
        await first.frames.aclose()
        await Viewer(leader).read()

    play(scene)


def test_while_nobody_watches_nothing_is_kept() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        followers = leader.memory.observed.followers
        viewer = Viewer(leader)
        await viewer.read()
        assert len(followers) == 1
        await viewer.frames.aclose()
        assert not followers

    play(scene)
