"""The planner: situation -> expected steps."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.assignment import Assignment, parse_assignment
from fleet_agent.core.model import CloneRun, DomainRun, Phase
from fleet_agent.core.plan.isolation import StartPermit
from fleet_agent.core.plan.plan import Plan, plan
from tests.doubles.assignments import (
    SPV_AGAIN,
    WEB,
    assignment,
    clones,
    domains,
    existing,
    indices,
    kin,
    parsed,
    running,
    shard,
    spec,
    tombstone,
)

ACTIVE, READY, DEFINED = Phase.ACTIVE, Phase.READY, Phase.DEFINED


class Row(NamedTuple):
    situation: str
    wanted: Assignment
    exists: list[CloneRun | DomainRun]
    steps: list[str]
    orphans: str = ""
    conflicts: str = ""
    released: tuple[int, ...] = ()


def written(made: Plan) -> list[str]:
    """Steps as people would write them; births tell kins apart."""
    return [f"{one.kind} {one.indices} of {one.kin.birth}: {one.reason}" for one in made.steps]


def shown(found: dict[Kin, IndexSet]) -> str:
    return " ".join(f"{have} of {one.birth}" for one, have in sorted(found.items()))


ROWS = [
    Row("nothing wanted, nothing there", Assignment(), [], []),
    Row(
        "a new shard",
        parsed(shard("0-249", 10)),
        [],
        [
            "clone 0-249 of 10: no clone",
            "define 0-249 of 10: not defined",
            "start 0-249 of 10: not active",
            "await_ready 0-249 of 10: readiness not seen",
        ],
    ),
    Row("all is as wanted", parsed(shard("0-249", 10)), running("0-249", 10), []),
    Row(
        "interrupted half way: each goes on from where it is",
        parsed(shard("0-4", 10)),
        [
            clones("0-3", 10),
            domains("1", 10, DEFINED),
            domains("2", 10, ACTIVE),
            domains("3", 10, READY),
        ],
        [
            "clone 4 of 10: no clone",
            "define 0,4 of 10: not defined",
            "start 0-1,4 of 10: not active",
            "await_ready 0-2,4 of 10: readiness not seen",
        ],
    ),
    Row(
        "a clone is gone: the definition is looked at again, the new one may be of another format",
        parsed(shard("0-1", 10)),
        [clones("0", 10), domains("0-1", 10, DEFINED)],
        [
            "clone 1 of 10: no clone",
            "define 1 of 10: its clone is made anew",
            "start 0-1 of 10: not active",
            "await_ready 0-1 of 10: readiness not seen",
        ],
    ),
    Row(
        "a second birth grows beside the first",
        parsed(shard("0-9", 10), shard("10-11", 20)),
        running("0-9", 10),
        [
            "clone 10-11 of 20: no clone",
            "define 10-11 of 20: not defined",
            "start 10-11 of 20: not active",
            "await_ready 10-11 of 20: readiness not seen",
        ],
    ),
    Row(
        "wanted off, not there: made, not started",
        parsed(shard("0-1", 10, on=False)),
        [],
        ["clone 0-1 of 10: no clone", "define 0-1 of 10: not defined"],
    ),
    Row(
        "wanted off, running: stopped, kept",
        parsed(shard("0-1", 10, on=False)),
        running("0-1", 10),
        ["stop 0-1 of 10: wanted off"],
    ),
    Row(
        "part of one birth is off",
        parsed(shard("0-1", 10), shard("2-3", 10, on=False)),
        running("0-3", 10),
        ["stop 2-3 of 10: wanted off"],
    ),
    Row(
        "one birth, part of it off, nothing there: made in one step, part of it started",
        parsed(shard("0-1", 10), shard("2-3", 10, on=False)),
        [],
        [
            "clone 0-3 of 10: no clone",
            "define 0-3 of 10: not defined",
            "start 0-1 of 10: not active",
            "await_ready 0-1 of 10: readiness not seen",
        ],
    ),
    Row(
        "an empty assignment destroys nothing",
        Assignment(),
        [*running("0-9", 10), clones("20", 11)],
        [],
        orphans="0-9 of 10 20 of 11",
    ),
    Row(
        "an orphan that is down stays down",
        Assignment(),
        [clones("0", 10), domains("0", 10, DEFINED)],
        [],
        orphans="0 of 10",
    ),
    Row(
        "a tombstone releases what it names, and no more",
        parsed(shard("0-4", 10), tombstones=[tombstone(7, "5-9", 10)]),
        running("0-12", 10),
        ["undefine 5-9 of 10: tombstone 7", "destroy 5-9 of 10: tombstone 7"],
        orphans="10-12 of 10",
    ),
    Row(
        "a tombstone is done when nothing of it is left",
        parsed(shard("0-4", 10), tombstones=[tombstone(7, "5-9", 10)]),
        running("0-4", 10),
        [],
        released=(7,),
    ),
    Row(
        "half removed: the clone is left",
        parsed(tombstones=[tombstone(7, "0-1", 10)]),
        [clones("0-1", 10), domains("1", 10, DEFINED)],
        ["undefine 1 of 10: tombstone 7", "destroy 0-1 of 10: tombstone 7"],
    ),
    Row(
        "what lands after its release was acknowledged goes, but for what is wanted of that birth",
        parsed(shard("0-4", 10), past=[tombstone(7, "4-9", 10)]),
        [*running("0-4", 10), clones("6", 10), clones("12", 10)],
        ["destroy 6 of 10: tombstone 7"],
        orphans="12 of 10",
    ),
    Row(
        "a release that was acknowledged spares later births",
        parsed(past=[tombstone(7, "0-9", 10)]),
        [clones("0-9", 11)],
        [],
        orphans="0-9 of 11",
    ),
    Row(
        "a tombstone spares later births",
        parsed(tombstones=[tombstone(7, "0-9", 10)]),
        running("0-9", 11),
        [],
        orphans="0-9 of 11",
        released=(7,),
    ),
    Row(
        "a tombstone names what is wanted with that very birth: it stays",
        parsed(shard("0-9", 10), tombstones=[tombstone(7, "0-9", 10)]),
        running("0-9", 10),
        [],
        released=(7,),
    ),
    Row(
        "placed here again after a release: the old goes before the new comes",
        parsed(shard("0-9", 20), tombstones=[tombstone(7, "0-9", 10)]),
        running("0-9", 10),
        ["undefine 0-9 of 10: replaced by birth 20", "destroy 0-9 of 10: replaced by birth 20"],
    ),
    Row(
        "a newer birth replaces, and only where it is wanted",
        parsed(shard("0-4", 20)),
        running("0-9", 10),
        ["undefine 0-4 of 10: replaced by birth 20", "destroy 0-4 of 10: replaced by birth 20"],
        orphans="5-9 of 10",
    ),
    Row(
        "a newer birth waits only where the old is in the way",
        parsed(shard("0-4", 20)),
        running("0-1", 10),
        [
            "undefine 0-1 of 10: replaced by birth 20",
            "destroy 0-1 of 10: replaced by birth 20",
            "clone 2-4 of 20: no clone",
            "define 2-4 of 20: not defined",
            "start 2-4 of 20: not active",
            "await_ready 2-4 of 20: readiness not seen",
        ],
    ),
    Row(
        "an older birth never replaces a newer one",
        parsed(shard("0-1", 10)),
        running("0", 20),
        [
            "clone 1 of 10: no clone",
            "define 1 of 10: not defined",
            "start 1 of 10: not active",
            "await_ready 1 of 10: readiness not seen",
        ],
        orphans="0 of 20",
        conflicts="0 of 10",
    ),
    Row(
        "another generation of the same birth is in the way, and stays",
        parsed(shard("0", 10, generation=2)),
        running("0", 10),
        [],
        orphans="0 of 10",
        conflicts="0 of 10",
    ),
    Row(
        "a fleet made again under its old name waits for the old one's release",
        parsed(
            shard("0-1", 20, fleet=SPV_AGAIN),
            tombstones=[tombstone(7, "0-1", 10)],
        ),
        running("0-1", 10),
        ["undefine 0-1 of 10: tombstone 7", "destroy 0-1 of 10: tombstone 7"],
    ),
    Row(
        "two fleets do not touch each other",
        parsed(shard("0", 10), shard("0", 11, fleet=WEB)),
        [*running("0", 10), *running("0", 11, WEB)],
        [],
    ),
    Row(
        "an active VM keeps the clone beneath it",
        parsed(shard("0", 10)),
        [domains("0", 10, READY)],
        [],
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.situation)
def test_plan(row: Row) -> None:
    made = plan(row.wanted, existing(*row.exists), {})
    assert written(made) == row.steps
    assert shown(made.orphans) == row.orphans
    assert shown(made.conflicts) == row.conflicts
    assert tuple(made.released) == row.released


def test_a_resting_vm_gets_no_step_and_is_still_unmet() -> None:
    made = plan(parsed(shard("0-2", 10)), existing(), {kin(10): indices("1")})
    assert all(1 not in step.indices for step in made.steps)
    assert made.unmet == {kin(10): indices("0-2")}


def test_a_resting_removal_gets_no_step_and_is_not_released() -> None:
    wanted = parsed(tombstones=[tombstone(7, "0-1", 10)])
    made = plan(wanted, existing(*running("0-1", 10)), {kin(10): indices("0-1")})
    assert (made.steps, made.released) == ([], [])


def test_without_a_permit_to_start_it_adopts_and_removes_but_brings_nothing_up() -> None:
    wanted = parsed(shard("0-4", 10), tombstones=[tombstone(7, "9", 10)])
    there = existing(
        clones("0-3,9", 10),
        domains("1,9", 10, DEFINED),
        domains("2", 10, ACTIVE),
        domains("3", 10, READY),
    )
    made = plan(wanted, there, {}, permit=StartPermit(held=frozenset({kin(10)})))
    assert written(made) == [
        "undefine 9 of 10: tombstone 7",
        "destroy 9 of 10: tombstone 7",
        "await_ready 2 of 10: readiness not seen",
    ]
    assert made.held


def test_a_fleet_without_an_image_has_no_clones() -> None:
    template = spec()
    template.ClearField("image")
    wanted = parse_assignment(assignment(shard("0-1", 10), template=template))
    made = plan(wanted, existing(), {})
    assert [step.kind for step in made.steps] == ["define", "start", "await_ready"]


def test_what_is_halted_after_an_error_is_started_and_what_is_suspended_is_left_alone() -> None:
    halted = domains("0", 10, Phase.HALTED, why="I/O error")
    suspended = domains("1", 10, Phase.SUSPENDED, why="by somebody")
    there = existing(clones("0-2", 10), halted, suspended, domains("2", 10, Phase.READY))
    made = plan(parsed(shard("0-2", 10)), there, {})
    assert [(step.kind, str(step.indices)) for step in made.steps] == [
        ("start", "0"), ("await_ready", "0")
    ]  # fmt: skip
    assert made.suspended == {kin(10): indices("1")}
    assert made.unmet == {kin(10): indices("0-1")}
    assert there.why_stalled(kin(10), 0) == "I/O error" and not there.why_stalled(kin(10), 2)
    rests = plan(parsed(shard("0-2", 10)), there, {kin(10): indices("0")})
    assert not rests.steps
    held = plan(parsed(shard("0-2", 10)), there, {}, permit=StartPermit(held=frozenset({kin(10)})))
    assert not held.steps and held.held


def test_what_is_halted_or_suspended_is_stopped_and_restarted_as_what_runs() -> None:
    there = existing(
        clones("0-1", 10),
        domains("0", 10, Phase.HALTED, why="x"),
        domains("1", 10, Phase.SUSPENDED, why="y"),
    )
    off = plan(parsed(shard("0-1", 10, on=False)), there, {})
    assert [(step.kind, str(step.indices)) for step in off.steps] == [("stop", "0-1")]
    again = plan(parsed(shard("0-1", 10, restart=9)), there, {})
    assert ("stop", "restart 9") in [(step.kind, step.reason) for step in again.steps]
    gone = plan(parsed(tombstones=[tombstone(3, "0-1", 10)]), there, {})
    assert [(step.kind, str(step.indices)) for step in gone.steps] == [
        ("undefine", "0-1"), ("destroy", "0-1")
    ]  # fmt: skip


def test_nothing_is_empty() -> None:
    assert plan(Assignment(), existing(), {}).unmet == {}
    assert EMPTY == indices("0") - indices("0")


def test_those_that_were_last_started_for_less_are_stopped_and_then_started() -> None:
    wanted = parsed(shard("0-3", 10, restart=7))
    there = existing(
        clones("0-3", 10),
        domains("0", 10, READY, restart=7),
        domains("1", 10, READY, restart=6),
        domains("2", 10, READY),
        domains("3", 10, DEFINED),
    )
    made = plan(wanted, there, {})
    assert written(made) == [
        "stop 1-2 of 10: restart 7",
        "start 3 of 10: not active",
        "await_ready 3 of 10: readiness not seen",
    ]
    assert made.unmet == {kin(10): indices("1-3")}


def test_no_more_are_stopped_for_a_restart_than_may_boot_at_once() -> None:
    wanted = parse_assignment(assignment(shard("0-9", 10, restart=7), template=spec(parallel=4)))
    there = existing(
        clones("0-9", 10), domains("0-8", 10, READY), domains("9", 10, ACTIVE, restart=7)
    )
    assert written(plan(wanted, there, {}))[0] == "stop 0-2 of 10: restart 7"
    held_back = {kin(10): indices("0-1")}
    assert written(plan(wanted, there, held_back))[0] == "stop 2-4 of 10: restart 7"


def test_what_is_wanted_off_is_not_restarted_and_nothing_is_before_a_fresh_assign() -> None:
    there = existing(clones("0", 10), domains("0", 10, READY))
    off = parsed(shard("0", 10, on=False, restart=7))
    assert written(plan(off, there, {})) == ["stop 0 of 10: wanted off"]
    on = plan(
        parsed(shard("0", 10, restart=7)), there, {}, permit=StartPermit(held=frozenset([kin(10)]))
    )
    assert (written(on), on.held) == ([], True)


def test_what_is_stopped_for_want_of_a_controller_is_not_restarted_as_well() -> None:
    there = existing(clones("0-3", 10), domains("0-3", 10, READY))
    isolated = frozenset([kin(10)])
    made = plan(
        parsed(shard("0-3", 10, restart=7)), there, {}, permit=StartPermit(isolated, isolated)
    )
    assert written(made) == ["stop 0-3 of 10: no controller was heard"]
