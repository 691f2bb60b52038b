"""What cells say beside states, and VMs by fleet and index."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.pictures import fleet_places
from fleet_controller.replica.leader import Leader
from tests.doubles.leading import until
from tests.in_process.six_hosts import ME, SPEC, Stage, converged, newer, play
from tests.in_process.states_viewer import Viewer

RUNNING = int(types.VM_STATE_RUNNING)
BY_FLEET = cluster.STATES_GROUPING_FLEET
FLEET, GENERATION = cluster.STATES_LAYER_FLEET, cluster.STATES_LAYER_GENERATION
PROBLEM, HYPERVISOR = cluster.STATES_LAYER_PROBLEM, cluster.STATES_LAYER_HYPERVISOR


def test_by_fleet_a_cell_is_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_places, "A_BLOCK", 10)

    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader, grouping=BY_FLEET)
        await viewer.read()
        assert list(viewer.hosts) == ["spv/0", "spv/10", "spv/20"] and len(viewer.cells) == 24
        assert viewer.of("spv/20") == [RUNNING] * 4
        await leader.fleets.scale("spv", 12, ME)
        await until(lambda: converged(leader))
        await viewer.until(lambda: list(viewer.hosts) == ["spv/0", "spv/10"])
        assert viewer.of("spv/10") == [RUNNING] * 2
        vector = leader.memory.observed.vectors[leader.memory.state.fleets["spv"].uid]
        await viewer.until(lambda: list(viewer.cells) == [int(one) for one in vector.states[:12]])

    play(scene)


def test_fleets_are_told_apart() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.fleets.apply("web", SPEC, ME)
        await leader.fleets.scale("web", 6, ME)
        await until(lambda: _running(leader, "web") == 6)
        for grouping in (cluster.STATES_GROUPING_HOST, BY_FLEET):
            viewer = Viewer(leader, FLEET, grouping)
            await viewer.read()
            assert viewer.legend == ["spv", "web", "others"]
            together = sum((viewer.said(one) for one in viewer.hosts), Counter[str]())
            assert together == {"spv": 24, "web": 6}

    play(scene)


def test_a_generation_is_how_far_a_vm_is_behind() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader, GENERATION)
        await viewer.read()
        assert np.count_nonzero(viewer.cells == 1) == 24
        await leader.fleets.apply("spv", newer(2), ME)
        await viewer.until(lambda: np.count_nonzero(viewer.cells == 2) == 24)

    play(scene)


def test_a_problem_is_of_a_vm_or_else_of_its_host() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        viewer = Viewer(leader, PROBLEM)
        await viewer.read()
        assert viewer.said("h0") == {"nothing is wrong": 4}
        uid = leader.memory.state.fleets["spv"].uid
        mine = leader.memory.observed.host("h0").assignment.indices(uid)
        stage.agent("h0").problems.append(
            wire.Problem(
                kind="no_memory",
                fleet_uid=uid,
                count=1,
                failed=[wire.FailedRange(start=mine.first, stop=mine.first + 1, since_unix=1)],
            )
        )
        stage.agent("h2").mute = True
        await viewer.until(
            lambda: (
                viewer.said("h0") == {"nothing is wrong": 3, "no_memory": 1}
                and viewer.said("h1") == {"nothing is wrong": 4}
                and viewer.said("h2") == {"host_unreachable": 4}
            )
        )

    play(scene)


def test_kinds_that_hosts_make_up_are_told_of_up_to_a_bound() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid
        for host in range(6):
            mine = leader.memory.observed.host(f"h{host}").assignment.indices(uid)
            for index in mine:
                failed = [wire.FailedRange(start=index, stop=index + 1, since_unix=1)]
                made_up = f"k{index:03}" + "x" * 36
                stage.agent(f"h{host}").problems.append(
                    wire.Problem(kind=made_up, fleet_uid=uid, count=1, failed=failed)
                )
        viewer = Viewer(leader, PROBLEM)
        await viewer.until(lambda: len(viewer.legend) == 14 and viewer.cells.max() == 14)
        assert max(map(len, viewer.legend)) <= 40
        assert np.count_nonzero(viewer.cells == 14) == 24 - 12  # others

    play(scene)


def test_kinds_that_one_host_makes_up_take_nobodys_place_in_the_legend() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid

        def fails(host: str, kind: str, count: int) -> None:
            mine = leader.memory.observed.host(host).assignment.indices(uid)
            failed = [
                wire.FailedRange(start=index, stop=index + 1, since_unix=1)
                for index in list(mine)[:count]
            ]
            problem = wire.Problem(kind=kind, fleet_uid=uid, count=count, failed=failed)
            stage.agent(host).problems.append(problem)

        for number in range(30):
            fails("h0", f"aaa{number}", 4)
        fails("h1", "no_memory", 1)
        fails("h2", "no_memory", 1)
        viewer = Viewer(leader, PROBLEM)
        await viewer.until(lambda: viewer.said("h1").get("no_memory") == 1)
        assert len(viewer.legend) == 14

    play(scene)


def test_hypervisors_are_as_hosts_name_them() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        facts = types.HostFacts(
            incarnation="i",
            labels={"rack": "r0"},
            capacity=types.Capacity(guests=8),
            hypervisor="QEMU 7.2, KVM",
        )
        await leader.announcements.announce("h0", "h0:1", facts)
        viewer = Viewer(leader, HYPERVISOR)
        await viewer.until(lambda: viewer.said("h0") == {"QEMU 7.2, KVM": 4})
        assert viewer.said("h1") == {"not told": 4}

    play(scene)


def test_watchers_of_all_layers_together_are_bounded() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        first = [Viewer(leader, FLEET), Viewer(leader, FLEET), Viewer(leader, 99)]  # type: ignore[arg-type]
        frames = [await one.read() for one in first]
        assert frames[0] is frames[1]
        assert frames[2].layer == cluster.STATES_LAYER_STATE

    play(scene)


def _running(leader: Leader, name: str) -> int:
    uid = leader.memory.state.fleets[name].uid
    return leader.memory.observed.vectors[uid].counts()[RUNNING]
