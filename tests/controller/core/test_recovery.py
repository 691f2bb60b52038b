"""What recovery would write: from the store, what hosts report, and what an operator says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.assignment_bytes import assignment_bytes
from fleet.keys import Epoch, Term
from fleet.ranges import EMPTY, IndexSet, parse_ranges
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire, to_wire
from fleet_controller.core.model import (
    Assignment,
    FleetRecord,
    HostRecord,
    Meta,
    Shard,
    Tombstone,
)
from fleet_controller.core.recovery.freeze import is_ahead, replaced
from fleet_controller.core.recovery.recovery import MARGIN, RecoveryPlan, plan_recovery
from fleet_controller.core.recovery.seals import SealKey, Seals
from fleet_controller.core.recovery.view import RecoveryChoice, RecoveryView
from fleet_controller.core.shards import had_by_an_earlier_one
from fleet_controller.leader.inventory import ReportedInventory

SPV = FleetRecord("spv", "uid-spv", 3, total=100)
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
RUNNING, PENDING, DEFINED, STOPPING, UNKNOWN = (
    types.VM_STATE_RUNNING, types.VM_STATE_PENDING, types.VM_STATE_DEFINED, types.VM_STATE_STOPPING,
    types.VM_STATE_UNKNOWN,
)  # fmt: skip
ADOPT = RecoveryChoice(adopt=True)
SEALS = Seals(SealKey("5e" * 32))
OLD = Meta(cluster="old")
ROOM = 1000  # guests


def has(
    indices: str, birth: int, state: int = RUNNING, *, uid: str = "uid-spv", generation: int = 1
) -> wire.ShardReport:
    runs = [
        wire.StateRun(start=start, states=bytes([state] * (stop - start)))
        for start, stop in parse_ranges(indices).ranges
    ]
    return wire.ShardReport(fleet_uid=uid, generation=generation, birth=birth, runs=runs)


def orphan(indices: str, birth: int, uid: str = "uid-spv") -> wire.Orphans:
    ranges = [types.IndexRange(start=a, stop=b) for a, b in parse_ranges(indices).ranges]
    return wire.Orphans(fleet_uid=uid, birth=birth, ranges=ranges)


def report(*shards: wire.ShardReport, epoch: int = 600, **fields: Any) -> wire.Report:
    return wire.Report(
        full=True, epoch=types.Epoch(store_generation=1, revision=epoch), shards=shards, **fields
    )


def shard(indices: str, birth: int, **fields: Any) -> Shard:
    return Shard("uid-spv", parse_ranges(indices), 1, birth, **fields)


def sealed(host: str, one: wire.Report) -> wire.Report:
    """With what proves that the host was to have all that it has and that is no orphan."""
    found, data = wire.Report(), types.Assignment(fleets=one.fleets, specs=one.specs)
    found.CopyFrom(one)
    epoch = Epoch.of(one.epoch)
    orphans = {(o.fleet_uid, o.birth): from_wire(o.ranges) for o in one.orphans}
    for mine in one.shards:
        every = IndexSet((run.start, run.start + len(run.states)) for run in mine.runs)
        told = every - orphans.get((mine.fleet_uid, mine.birth), EMPTY)
        data.shards.add(
            fleet_uid=mine.fleet_uid, ranges=to_wire(told), generation=mine.generation,
            birth=mine.birth,
        )  # fmt: skip
    found.epoch.CopyFrom(SEALS.epoch(host, epoch))
    found.term.CopyFrom(SEALS.term(Term.of(one.term)))
    found.assignment = assignment_bytes(data)
    found.assignment_seal = SEALS.assignment(host, epoch, found.assignment)
    return found


def reported(reports: dict[str, wire.Report], lying: str = "") -> ReportedInventory:
    """What hosts prove; what these lying ones say alone."""
    inventory = ReportedInventory(lambda: SEALS)
    for host, one in reports.items():
        inventory.apply_report(host, one if host in lying.split() else sealed(host, one))
    return inventory


def view(
    reports: dict[str, wire.Report],
    stored: dict[str, Assignment] | None = None,
    *,
    fleets: tuple[FleetRecord, ...] = (SPV,),
    ahead: str = "",
    meta: Meta = OLD,
) -> RecoveryView:
    """Hosts are those that report or are stored; `ahead`: names of those that are, or all."""
    inventory = reported(reports)
    stored = stored or {}
    names = sorted({*reports, *stored})
    return RecoveryView(
        revision=500,
        cluster="new",
        meta=meta,
        hosts={name: HostRecord(name, f"{name}:1") for name in names},
        assignments=stored,
        fleets={fleet.name: fleet for fleet in fleets},
        specs={(fleet.uid, 1): SPEC for fleet in fleets},
        inventory=inventory.snapshot(),
        ahead=frozenset(ahead.split() if ahead else reports),
        guests=dict.fromkeys(names, ROOM),
    )


def shards(plan: RecoveryPlan, host: str) -> list[tuple[str, int, bool]]:
    return [(str(s.ranges), s.birth, s.power) for s in plan.assignments[host].shards]


def stones(plan: RecoveryPlan, host: str) -> list[tuple[str, int]]:
    return [(str(t.ranges), t.born_until) for t in plan.assignments[host].tombstones]


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


# Adopting


def test_a_host_that_is_ahead_is_assigned_what_it_has_with_its_births() -> None:
    stored = {"h1": Assignment((shard("0-9", 400),))}
    plan = plan_recovery(view({"h1": report(has("0-9", 400), has("10-19", 590))}, stored), ADOPT)
    assert shards(plan, "h1") == [("0-9", 400, True), ("10-19", 590, True)]
    assert stones(plan, "h1") == []


def test_a_host_of_which_the_store_knows_nothing_keeps_its_orphans() -> None:
    plan = plan_recovery(
        view({"h1": report(has("0-9", 590), epoch=0, orphans=[orphan("0-9", 590)])}, ahead="-"),
        ADOPT,
    )
    assert shards(plan, "h1") == [("0-9", 590, True)]


def test_a_host_that_has_heard_nothing_newer_keeps_what_the_store_says() -> None:
    stored = {"h1": Assignment((shard("0-9", 400),), (Tombstone(7, "uid-spv", IndexSet(), 3),))}
    plan = plan_recovery(view({"h1": report(has("0-4", 400), epoch=400)}, stored, ahead="-"), ADOPT)
    assert not plan.assignments


def test_what_was_being_released_goes_on_being_released() -> None:
    plan = plan_recovery(view({"h1": report(has("0-4", 400), has("5-9", 400, STOPPING))}), ADOPT)
    assert (shards(plan, "h1"), stones(plan, "h1")) == ([("0-4", 400, True)], [("5-9", 400)])


def test_what_a_host_was_assigned_and_has_not_begun_stays_with_it() -> None:
    """It begins as soon as its drivers work, whatever the store says."""
    told = report(has("0-4", 400, UNKNOWN), has("5-9", 300, STOPPING, generation=0))
    plan = plan_recovery(view({"h1": told}), ADOPT)
    assert (shards(plan, "h1"), stones(plan, "h1")) == ([("0-4", 400, True)], [("5-9", 300)])


def test_a_vm_that_is_defined_on_a_host_with_nothing_left_to_do_is_wanted_off() -> None:
    settled = report(has("0-4", 400), has("5-9", 400, DEFINED), converged=True)
    plan = plan_recovery(view({"h1": settled}), ADOPT)
    assert shards(plan, "h1") == [("5-9", 400, False), ("0-4", 400, True)]
    busy = report(has("5-9", 400, DEFINED))
    assert shards(plan_recovery(view({"h1": busy}), ADOPT), "h1") == [("5-9", 400, True)]


@pytest.mark.parametrize(
    ("one", "other", "keeper"),
    [
        ((RUNNING, 400, ""), (PENDING, 590, ""), "h1"),
        ((RUNNING, 400, ""), (RUNNING, 590, ""), "h2"),
        ((RUNNING, 590, "0-9"), (RUNNING, 400, ""), "h2"),
        ((RUNNING, 400, ""), (RUNNING, 400, ""), "h1"),
    ],
)
def test_an_index_that_two_have_stays_with_one_by_the_rule(
    one: tuple[int, int, str], other: tuple[int, int, str], keeper: str
) -> None:
    reports = {
        host: report(has("0-9", birth, state), orphans=[orphan(lost, birth)] if lost else [])
        for host, (state, birth, lost) in (("h1", one), ("h2", other))
    }
    plan = plan_recovery(view(reports), ADOPT)
    births = {"h1": one[1], "h2": other[1]}
    loser = ({"h1", "h2"} - {keeper}).pop()
    assert shards(plan, keeper) == [("0-9", births[keeper], True)]
    assert (shards(plan, loser), stones(plan, loser)) == ([], [("0-9", births[loser])])
    assert plan.fleets[0].twice == 10


def test_a_host_that_was_heard_takes_what_one_not_heard_is_assigned() -> None:
    stored = {"away": Assignment((shard("0-9", 400),)), "h1": Assignment()}
    plan = plan_recovery(view({"h1": report(has("5-9", 590))}, stored), ADOPT)
    assert shards(plan, "away") == [("0-4", 400, True)]
    assert stones(plan, "away") == [("5-9", 400)]
    assert plan.unseen == ("away",) and not plan.complete


def test_generations_and_births_rise_above_all_that_was_heard_of() -> None:
    told = report(has("0-9", 590), term=types.Term(store_generation=3, revision=9000))
    plan = plan_recovery(view({"h1": told}), ADOPT)
    assert (plan.meta.generation, plan.meta.cluster) == (4, "new")
    assert 500 + plan.meta.raised == 9000 + MARGIN
    again = view({"h1": told}, meta=plan.meta)
    assert plan_recovery(again, ADOPT).meta.raised > plan.meta.raised


def test_numbers_that_no_store_can_have_reached_are_not_believed() -> None:
    told = report(has("0-9", 2**62), term=types.Term(store_generation=2**63, revision=2**62))
    meta = plan_recovery(view({"h1": told}), ADOPT).meta
    assert meta.generation == 2 and meta.raised < 2**40


def test_tombstones_of_a_recovery_are_above_all_before_it() -> None:
    plan = plan_recovery(view({"h1": report(has("0-9", 590, STOPPING))}), ADOPT)
    (stone,) = plan.assignments["h1"].tombstones
    assert stone.id > (600 << 16) + 0xFFFF


# Fleets


IDENTITY = types.FleetIdentity(uid="uid-new", name="new", number=7)


def told_of(uid: str = "uid-new", generation: int = 2) -> dict[str, Any]:
    spec = types.GenerationSpec(fleet_uid=uid, generation=generation, spec=SPEC)
    return {"fleets": [IDENTITY], "specs": [spec]}


def test_a_fleet_that_the_store_has_forgotten_is_made_again_of_what_agents_were_told() -> None:
    running = report(has("0-9", 590, uid="uid-new", generation=2), **told_of())
    plan = plan_recovery(view({"h1": running}, fleets=()), RecoveryChoice(True, {"new": 10}))
    (found,) = plan.fleets
    record = found.record
    assert (record.name, record.number, record.total, record.generation) == ("new", 7, 10, 2)
    assert plan.specs == {("uid-new", 2): SPEC} and plan.complete
    assert plan.meta.last_number == 7
    assert [s.generation for s in plan.assignments["h1"].shards] == [2]


@pytest.mark.parametrize(
    ("fleets", "told", "why"),
    [
        ((), {}, "no host that was heard knows its name"),
        ((), {"fleets": [IDENTITY]}, "no host that was heard has its template"),
        ((FleetRecord("new", "uid-other", 1),), told_of(), "another fleet of this name"),
        ((FleetRecord("other", "uid-other", 7),), told_of(), "fleet other has its number 7"),
    ],
)  # fmt: skip
def test_what_runs_of_a_fleet_that_cannot_be_had_is_left_alone(
    fleets: tuple[FleetRecord, ...], told: dict[str, Any], why: str
) -> None:
    running = report(has("0-9", 590, uid="uid-new", generation=2), **told)
    plan = plan_recovery(view({"h1": running}, fleets=fleets), ADOPT)
    (found,) = [one for one in plan.fleets if one.record.uid == "uid-new"]
    assert why in found.problem and found.running == 10
    assert not plan.assignments
    assert plan.unconfirmed == tuple(fleet.name for fleet in fleets), "of the store's alone"


def test_a_newer_template_that_agents_were_told_is_taken_over() -> None:
    told = told_of("uid-spv", 2) | {"fleets": []}
    plan = plan_recovery(view({"h1": report(has("0-9", 590, generation=2), **told)}), ADOPT)
    assert (plan.fleets[0].record.generation, plan.specs) == (2, {("uid-spv", 2): SPEC})


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


# For all


ranges = st.builds(
    lambda pairs: IndexSet((a, a + n) for a, n in pairs),
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=5),
)


@given(st.lists(ranges, max_size=6))
def test_what_one_before_it_has_as_well(sets: list[IndexSet]) -> None:
    expected = [
        [index for index in one if any(index in before for before in sets[:number])]
        for number, one in enumerate(sets)
    ]
    assert list(map(list, had_by_an_earlier_one(sets))) == expected


holdings = st.lists(
    st.tuples(
        st.sampled_from(["h1", "h2", "h3"]), ranges, st.integers(1, 4),
        st.sampled_from([RUNNING, PENDING, DEFINED, STOPPING]),
    ),
    max_size=8,
)  # fmt: skip


@given(holdings, st.sets(st.sampled_from(["h1", "h2", "h3"])))
def test_every_index_that_is_had_is_assigned_once_or_being_released(
    held: list[tuple[str, IndexSet, int, int]], ahead: set[str]
) -> None:
    """Nothing that exists is left without a word but on hosts that keep the store's."""
    by_host: dict[str, list[wire.ShardReport]] = {"h1": [], "h2": [], "h3": []}
    taken: dict[tuple[str, int], IndexSet] = {}
    for host, indices, birth, state in held:  # one state for each VM of a birth
        indices = indices - IndexSet.union_of(taken.get((host, b), IndexSet()) for b in range(5))
        taken[host, birth] = taken.get((host, birth), IndexSet()) | indices
        if indices:
            by_host[host].append(has(str(indices), birth, state))
    seen = view({host: report(*mine) for host, mine in by_host.items()}, ahead="h1 h2 h3")
    plan = plan_recovery(seen, ADOPT)
    assigned = [one.indices("uid-spv") for one in plan.assignments.values()]
    together = IndexSet.union_of(assigned)
    assert sum(map(len, assigned)) == len(together), "no index is assigned twice"
    for host, mine in by_host.items():
        everything = IndexSet.union_of(
            IndexSet.span(run.start, run.start + len(run.states))
            for one in mine
            for run in one.runs
        )
        made = plan.assignments.get(host, Assignment())
        buried = IndexSet.union_of(stone.ranges for stone in made.tombstones)
        assert made.indices("uid-spv") | buried == everything
        assert not made.indices("uid-spv") & buried


# Hosts that lie

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
