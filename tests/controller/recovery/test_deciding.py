"""When a store is found to be older than its hosts, and what a recovery still waits for."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from fleet.keys import Epoch
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, HostRecord, Meta
from fleet_controller.core.recovery.freeze import is_ahead, replaced
from fleet_controller.core.recovery.recovery import plan_recovery
from fleet_controller.core.recovery.view import RecoveryChoice
from fleet_controller.leader.inventory import ReportedInventory
from tests.controller.recovery.recovery_views import (
    ADOPT,
    PENDING,
    RUNNING,
    SEALS,
    SPV,
    has,
    report,
    shard,
    view,
)

# Noticing


def test_a_host_is_ahead_of_what_its_key_says_and_not_of_the_store_as_a_whole() -> None:
    assert is_ahead(Epoch(1, 600), 1, 599) and not is_ahead(Epoch(1, 600), 1, 600)
    assert is_ahead(Epoch(2, 5), 1, 600), "of a store that was recovered since"
    assert not is_ahead(Epoch(1, 600), 2, 5), "it has not heard of the recovery yet"
    assert not is_ahead(Epoch(0, 0), 1, 0)


def test_another_cluster_is_told_by_its_id() -> None:
    assert "cluster b, and its records were written in a" in replaced(Meta(cluster="a"), "b")
    assert not replaced(Meta(cluster="a"), "a") and not replaced(Meta(), "b")


# What hosts have


def test_an_inventory_follows_deltas_and_forgets_what_is_gone() -> None:
    inventory = ReportedInventory(lambda: SEALS)
    inventory.apply_report("h", report(has("0-9", 5, PENDING)))
    inventory.apply_report("h", wire.Report(shards=[has("2-4", 5)]))
    gone = wire.Gone(fleet_uid="uid-spv", birth=5, ranges=[types.IndexRange(start=0, stop=2)])
    inventory.apply_report("h", wire.Report(gone=[gone]))
    inventory.apply_report("other", wire.Report(shards=[has("0", 5)]))  # nothing by itself
    (kin,) = inventory.hosts["h"].states
    assert str(inventory.hosts["h"].having(kin, RUNNING)) == "2-4"
    assert str(inventory.hosts["h"].having(kin, PENDING)) == "5-9"
    assert inventory.hosts.keys() == {"h"}


def test_a_copy_does_not_change_with_the_reports() -> None:
    inventory = ReportedInventory(lambda: SEALS)
    inventory.apply_report("h", report(has("0-9", 5)))
    copy = inventory.snapshot()
    inventory.apply_report("h", report(has("0", 5)))
    (kin,) = copy.hosts["h"].states
    assert len(copy.hosts["h"].having(kin, RUNNING)) == 10


# What is still needed


def test_it_is_complete_once_totals_are_confirmed_and_hosts_accounted_for() -> None:
    stored = {"away": Assignment((shard("90-99", 400),))}
    seen = view({"h1": report(has("0-89", 590))}, stored)
    plan = plan_recovery(seen, ADOPT)
    assert (plan.unconfirmed, plan.unseen, plan.complete) == (("spv",), ("away",), False)
    plan = plan_recovery(seen, RecoveryChoice(True, {"spv": 80}, frozenset({"away"})))
    assert plan.complete and [(r.id, r.lost) for r in plan.lost] == [("away", True)]
    assert (plan.fleets[0].missing, plan.fleets[0].excess) == (0, 20)


def test_a_fleet_that_is_being_deleted_gets_no_other_total() -> None:
    going = msgspec.structs.replace(SPV, total=0, deleting=True)
    plan = plan_recovery(view({}, fleets=(going,)), RecoveryChoice(True, {"spv": 10}))
    assert plan.fleets[0].record == going and plan.complete


def test_a_host_that_is_lost_already_is_accounted_for() -> None:
    seen = view({"h1": report(has("0-9", 590))})
    lost = HostRecord("away", "away:1", lost=True)
    seen = replace(seen, hosts={**seen.hosts, "away": lost})
    assert plan_recovery(seen, ADOPT).unseen == ()


def test_confirming_changes_no_assignment_and_waits_for_nobody() -> None:
    stored = {"h1": Assignment((shard("0-9", 400),)), "away": Assignment()}
    seen = view({"h1": report(has("5-14", 590))}, stored)
    plan = plan_recovery(seen, RecoveryChoice(adopt=False))
    assert (dict(plan.assignments), plan.complete, plan.meta.generation) == ({}, True, 2)
    assert (plan.fleets[0].running, plan.fleets[0].missing) == (10, 90)


def test_a_token_names_what_is_done() -> None:
    def token(indices: str, state: int = RUNNING) -> str:
        return plan_recovery(view({"h1": report(has(indices, 590, state))}), ADOPT).token

    assert token("0-9") == token("0-9", PENDING) != token("0-8")
