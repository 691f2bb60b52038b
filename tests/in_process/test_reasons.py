"""Why VMs have failed: told by their hosts, shown by the leader, in virtual time."""

from __future__ import annotations

from fleet.ranges import IndexSet, parse_ranges
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.rollouts_and_drains.control import Action
from fleet_controller.queries.vms import vm, vms
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import Stage, converged, do, play

SINCE = 1_800_000_000


def held_by(leader: Leader, host: str) -> IndexSet:
    observed = leader.memory.observed
    vector = observed.vectors[leader.memory.state.fleets["spv"].uid]
    return vector.held(observed.host(host).number, IndexSet.span(0, 24))


def problem(leader: Leader, kind: str, indices: IndexSet, lasting: bool) -> wire.Problem:
    uid = leader.memory.state.fleets["spv"].uid
    told = wire.Problem(
        kind=kind, fleet_uid=uid, count=len(indices), example_index=indices.first,
        example_message="as it is", lasting=lasting,
    )  # fmt: skip
    for start, stop in indices.ranges:
        told.failed.add(start=start, stop=stop, since_unix=SINCE + start)
    return told


async def break_all_of(leader: Leader, stage: Stage, host: str) -> IndexSet:
    """Its VMs are made anew, and fail."""
    stage.agent(host).broken = {1}
    broken = held_by(leader, host)
    await do(leader, Action.REIMAGE, broken)
    failed = types.VM_STATE_FAILED
    await until(lambda: answers.fleet_status(leader, "spv").states[failed] == len(broken))
    return broken


def test_each_vm_has_the_reason_and_the_time_of_its_own() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        broken = await break_all_of(leader, stage, "h0")
        one, others = broken.lowest(1), broken - broken.lowest(1)
        stage.agent("h0").problems = [
            problem(leader, "image_missing", one, True),
            problem(leader, "no_memory", others, False),
        ]
        stage.agent("h0").beat()
        await until(lambda: bool(leader.memory.observed.host("h0").problems))
        listed = vms(leader.memory, cluster.ListVmsRequest(fleet="spv"))
        shown = {
            row.index: (listed.reasons[row.reason], row.since_unix)
            for row in listed.vms if row.reason
        }  # fmt: skip
        first = others.first
        assert shown == {
            one.first: ("image_missing: as it is", SINCE + one.first),
            first: ("no_memory: as it is", shown[first][1]),
            **{
                index: (f"no_memory, as spv-{first}: as it is", shown[index][1])
                for index in others if index != first
            },
        }  # fmt: skip
        assert shown.keys() == set(broken)
        detail = vm(leader.memory, leader.planning, cluster.GetVmRequest(fleet="spv", index=first))
        assert detail.problem.kind == "no_memory" and not detail.problem.failed
        assert detail.failed_since_unix == shown[first][1]

    play(scene)


def test_what_fails_for_good_is_counted_once_its_host_has_nothing_else_to_do() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        broken = await break_all_of(leader, stage, "h0")
        agent = stage.agent("h0")
        agent.problems = [problem(leader, "image_missing", broken, True)]
        agent.beat()
        await until(lambda: answers.fleet_status(leader, "spv").failed_for_good == len(broken))
        status = answers.fleet_status(leader, "spv")
        (one,) = [one for one in status.problems if one.kind == "image_missing"]
        assert one.lasting
        agent.problems = [problem(leader, "no_memory", broken, False)]
        agent.beat()
        await until(lambda: answers.fleet_status(leader, "spv").failed_for_good == 0)

    play(scene)


def test_a_host_says_nothing_of_vms_that_others_hold() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        broken = await break_all_of(leader, stage, "h0")
        liar = stage.agent("h1")
        liar.problems = [problem(leader, "image_missing", parse_ranges("0-23"), True)]
        liar.beat()
        await until(lambda: bool(leader.memory.observed.host("h1").problems))
        assert answers.fleet_status(leader, "spv").failed_for_good == 0
        listed = vms(leader.memory, cluster.ListVmsRequest(fleet="spv"))
        assert not any(row.reason for row in listed.vms) and list(listed.reasons) == [""]
        assert len(broken) == 4

    play(scene)


def test_an_older_agent_names_no_vms_and_its_reason_stands_for_all_of_the_fleet() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        broken = await break_all_of(leader, stage, "h0")
        told = problem(leader, "no_space", broken, False)
        del told.failed[:]
        stage.agent("h0").problems = [told]
        stage.agent("h0").beat()
        await until(lambda: bool(leader.memory.observed.host("h0").problems))
        listed = vms(leader.memory, cluster.ListVmsRequest(fleet="spv"))
        shown = [row for row in listed.vms if row.reason]
        assert {row.index for row in shown} == set(broken)
        assert not any(row.since_unix for row in shown)
        stage.agent("h0").broken = set()
        assert await do(leader, Action.RETRY, broken) == len(broken)
        stage.agent("h0").problems = []
        await until(lambda: converged(leader))

    play(scene)
