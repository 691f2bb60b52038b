"""What hosts that lie cannot make of a recovery."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, HostRecord
from fleet_controller.core.recovery.recovery import MARGIN, RecoveryPlan, plan_recovery
from fleet_controller.leader.inventory import ReportedInventory
from tests.controller.recovery.recovery_views import (
    ADOPT,
    ROOM,
    RUNNING,
    SEALS,
    has,
    report,
    reported,
    sealed,
    shard,
    shards,
    stones,
    view,
)

EVIL = "evil"


def lied(
    reports: dict[str, wire.Report],
    lie: wire.Report,
    stored: dict[str, Assignment] | None = None,
    *,
    believed: bool = False,
) -> RecoveryPlan:
    """What honest hosts prove beside one that lies; `believed`: by an operator's word."""
    found = view(reports, stored)
    everything = {**reports, EVIL: lie}
    return plan_recovery(
        replace(
            found,
            hosts={**found.hosts, EVIL: HostRecord(EVIL, "evil:1")},
            guests={**found.guests, EVIL: ROOM},
            inventory=reported(everything, lying=EVIL).snapshot(),
            ahead=frozenset(everything) if believed else found.ahead,
            doubtful=frozenset() if believed else frozenset({EVIL}),
        ),
        ADOPT,
    )


HONEST = {"h1": report(has("0-9", 400)), "h2": report(has("10-19", 590))}
STORED = {"h1": Assignment((shard("0-9", 400),)), "h2": Assignment((shard("10-14", 450),))}


@pytest.mark.parametrize("believed", [False, True])
@pytest.mark.parametrize("birth", [1, 400, 2**45])
def test_a_host_that_lies_takes_no_vm_from_others(birth: int, believed: bool) -> None:
    lie = report(has("0-19", birth), has("50-59", birth), epoch=2**40)
    plan = lied(HONEST, lie, STORED, believed=believed)
    assert shards(plan, "h2") == [("10-19", 590, True)]
    assert "h1" not in plan.assignments or shards(plan, "h1") == [("0-9", 400, True)]
    for host in HONEST.keys() & plan.assignments.keys():
        assert not stones(plan, host), "nothing of others is removed"


def test_a_host_that_lies_and_is_not_believed_is_given_nothing() -> None:
    plan = lied(HONEST, report(has("50-59", 5), epoch=2**40), STORED)
    assert EVIL not in plan.assignments


def test_what_runs_is_not_removed_for_a_claim_that_is_not_proven() -> None:
    """Where the key is gone all claims are equal: what loses stays where it is, as an orphan."""
    reports = {"h1": report(has("0-9", 400)), "h2": report(has("5-14", 590))}
    found = replace(view(reports), inventory=reported(reports, lying="h1 h2").snapshot())
    plan = plan_recovery(found, ADOPT)
    assert shards(plan, "h2") == [("5-14", 590, True)]
    assert shards(plan, "h1") == [("0-4", 400, True)]
    assert not stones(plan, "h1")


@pytest.mark.parametrize("number", [2**45, 2**46 - 1, 2**62])
def test_numbers_that_one_host_makes_up_are_not_what_the_store_counts_on_from(number: int) -> None:
    epoch = types.Epoch(store_generation=number, revision=number)
    lie = wire.Report(
        full=True, epoch=epoch, shards=[has("50-59", number)],
        term=types.Term(store_generation=number, revision=number),
    )  # fmt: skip
    plan, without = lied(HONEST, lie), plan_recovery(view(HONEST), ADOPT)
    assert plan.meta.generation == without.meta.generation
    assert plan.meta.raised == without.meta.raised


def test_what_all_hosts_say_is_counted_on_from_where_the_key_is_gone() -> None:
    reports = {f"h{n}": report(has(f"{n}-{n}", 700), epoch=600 + n) for n in range(20)}
    found = replace(view(reports), inventory=reported(reports, " ".join(reports)).snapshot())
    plan = plan_recovery(found, ADOPT)
    assert plan.meta.generation == 2
    assert plan.meta.raised + 500 >= 700 + MARGIN


def test_names_and_templates_are_what_is_proven_and_else_what_most_hosts_say() -> None:
    told = types.FleetIdentity(uid="uid-new", name="new", number=9)
    lie = types.FleetIdentity(uid="uid-new", name="mine", number=8)
    one, other = report(fleets=[told]), report(fleets=[lie])
    proven = reported({"a": other, "b": one, "c": other}, lying="a c")
    assert proven.fleets["uid-new"].name == "new"
    most = reported({"a": other, "b": one, "c": one}, lying="a b c")
    assert most.fleets["uid-new"].name == "new"


def test_a_host_cannot_prove_what_another_was_to_have() -> None:
    inventory = ReportedInventory(lambda: SEALS)
    inventory.apply_report("h2", sealed("h1", report(has("0-9", 5))))
    assert inventory.hosts["h2"].told is None and not inventory.hosts["h2"].proven


@pytest.mark.parametrize("proves", [True, False])
def test_a_host_is_given_no_more_by_its_bare_word_than_it_has_room_for(proves: bool) -> None:
    """Of what it proves nothing is left out."""
    told, more = has("0-9", 400), has("20-99", 7)
    lie = sealed("h1", report(told)) if proves else report(told)
    lie.shards.append(more)
    lie.shards.append(wire.ShardReport(
        fleet_uid="uid-spv", generation=1, birth=9,
        runs=[wire.StateRun(start=2**32 - 1, states=bytes([RUNNING]))],
    ))  # fmt: skip
    inventory = reported({"h1": lie}, lying="h1")  # as it is: sealed or not
    found = replace(view({"h1": report(told)}), guests={"h1": 12}, inventory=inventory.snapshot())
    plan = plan_recovery(found, ADOPT)
    given = IndexSet.union_of(one.ranges for one in plan.assignments["h1"].shards)
    assert len(given) == 12 and given.last < 2**24
    assert not proves or IndexSet.span(0, 10) - given == EMPTY
