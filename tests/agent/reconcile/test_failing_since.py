"""Since when VMs have been amiss, and how a report tells it."""

from __future__ import annotations

import asyncio

from fleet_agent.core.model import StepFailure, StepKind
from fleet_agent.drivers.hollow.profile import Fault, Profile
from fleet_agent.reconcile.failing_since import FailingSince
from tests.agent.agent_host import Host, settled, until
from tests.doubles.assignments import assignment, indices, kin, shard
from tests.virtual_loop import virtual


def told(since: FailingSince, ranges: str = "0-99") -> list[tuple[int, int, int]]:
    return sorted(since.ranges(kin(10), indices(ranges)))


def test_what_goes_on_failing_keeps_its_time() -> None:
    since = FailingSince()
    since.note({kin(10): indices("0-4")}, 100)
    since.note({kin(10): indices("3-9")}, 200)
    assert told(since) == [(3, 5, 100), (5, 10, 200)]
    assert told(since, "4-5") == [(4, 5, 100), (5, 6, 200)]


def test_what_was_mended_meanwhile_fails_since_then() -> None:
    since = FailingSince()
    since.note({kin(10): indices("0-4")}, 100)
    since.note({}, 200)
    since.note({kin(10): indices("0-4")}, 300)
    assert told(since) == [(0, 5, 300)]


def test_births_are_told_apart() -> None:
    since = FailingSince()
    since.note({kin(10): indices("0"), kin(11): indices("0")}, 100)
    since.note({kin(11): indices("0-1")}, 200)
    assert told(since) == []
    assert sorted(since.ranges(kin(11), indices("0-1"))) == [(0, 1, 100), (1, 2, 200)]


def test_a_failure_is_lasting_where_somebody_has_to_change_something() -> None:
    assert StepFailure(0, "bad_spec", "x", retry=False).lasting
    assert StepFailure(0, "image_missing", "x").lasting and StepFailure(0, "kernel", "x").lasting
    assert not StepFailure(0, "no_memory", "x").lasting


@virtual
async def test_a_report_says_which_vms_have_failed_since_when_and_whether_for_good() -> None:
    faults = (
        Fault(StepKind.CLONE, 0.2, "image_missing", "no golden image"),
        Fault(StepKind.START, 0.3, "no_memory", "full", attempts=200),
    )
    host = Host(profile=Profile(faults=faults))
    async with host.running() as agent:
        begun = asyncio.get_running_loop().time()
        await settled(agent, assignment(shard("0-49", 10)), 10)
        by_kind = {one.kind: one for one in agent.board.problems}
        assert by_kind["image_missing"].lasting and not by_kind["no_memory"].lasting
        for problem in by_kind.values():
            named = [index for one in problem.failed for index in range(one.start, one.stop)]
            assert len(named) == problem.count and problem.example_index == named[0]
            assert all(begun - 1 <= one.since_unix <= begun + 2 for one in problem.failed)
        before = list(by_kind["no_memory"].failed)
        steps = len(host.steps)
        await until(lambda: len(host.steps) > steps + 3)
        again = {one.kind: one for one in agent.board.problems}["no_memory"]
        assert list(again.failed) == before, "tries do not begin it anew"
