"""What applying would do, told before: field by field, to which VMs, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.template.settings import same_settings, template_of, with_settings
from fleet.v1 import types_pb2 as types
from fleet_controller.core.changes import apply_fleet
from fleet_controller.core.fleet_plans.model import Effect, FleetPlan, HostCounts, Known
from fleet_controller.core.fleet_plans.plans import MOST_FLEETS, misplaced, plan_fleets
from fleet_controller.core.fleet_plans.tokens import fleet_token
from fleet_controller.core.generations.differences import differences
from fleet_controller.core.model import FleetRecord, HostRecord, Meta, RolloutRecord, RolloutState
from fleet_controller.core.refusals import Reason, Refused
from tests.doubles.fleet_specs import good_specs

SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1, on_loss=types.ON_LOSS_REPLACE)
SPV = FleetRecord("spv", "uid-spv", 0, total=1000)
WEB = FleetRecord("web", "uid-web", 1, total=5)
HOSTS = {name: HostRecord(name, "a:1", labels={"rack": name[0]}) for name in ("a1", "a2", "b1")}


def known(
    *fleets: FleetRecord,
    specs: Mapping[tuple[str, int], types.FleetSpec] | None = None,
    rollouts: Mapping[str, RolloutRecord] | None = None,
) -> Known:
    records = {fleet.name: fleet for fleet in fleets}
    return Known(
        records,
        specs or {(fleet.uid, fleet.generation): SPEC for fleet in fleets},
        Meta(last_number=4),
        HOSTS,
        rollouts or {},
        True,
        lambda uid: {1: (1000, 998)} if uid == SPV.uid else {},
        lambda uid: HostCounts(["a1", "a2", "b1", "b2"], np.array([400, 350, 250])),
    )


def changed(**fields: object) -> types.FleetSpec:
    spec = types.FleetSpec()
    spec.CopyFrom(SPEC)
    for name, value in fields.items():
        setattr(spec, name, value)
    return spec


def of_spv(spec: types.FleetSpec, there: Known | None = None) -> FleetPlan:
    (plan,) = plan_fleets(there or known(SPV), [("spv", spec)], prune=False).fleets
    return plan


def test_another_template_is_told_field_by_field_with_the_vms_it_leaves_alone() -> None:
    plan = of_spv(changed(vcpus=2, memory_bytes=8 << 20))
    assert (plan.effect, plan.from_generation, plan.generation) == (Effect.CHANGE, 1, 2)
    assert [(one.field, one.before, one.after, one.setting) for one in plan.fields] == [
        ("memory", "4MiB", "8MiB", False), ("vcpus", "1", "2", False)
    ]  # fmt: skip
    assert plan.says == (
        "VMs created from now on are made of generation 2",
        "1,000 VMs of generation 1 go on as they are, until 'fleetctl rollout start spv'",
    )


def test_settings_are_told_as_what_touches_no_vm_and_what_stands_beyond_them_is_counted() -> None:
    spec = changed(on_loss=types.ON_LOSS_WAIT)
    spec.placement.per_host = 300
    spec.placement.selector["rack"] = "a"
    plan = of_spv(spec)
    assert (plan.effect, plan.generation, plan.misplaced) == (Effect.CHANGE, 1, 100 + 50 + 250)
    assert all(one.setting for one in plan.fields)
    assert plan.says == (
        "it makes no generation: no VM is stopped, moved or made anew",
        "placement holds for VMs that are placed from now on",
        "400 VMs stay where it would put none, until 'fleetctl rebalance spv --apply'",
        "on_loss holds at once, for all 1,000 VMs",
    )


def test_a_fleet_goes_back_to_a_generation_that_it_had() -> None:
    there = known(
        SPV, specs={(SPV.uid, 1): SPEC, (SPV.uid, 2): changed(vcpus=2)},
        rollouts={SPV.uid: RolloutRecord(SPV.uid, 2, 1, 0)},
    )  # fmt: skip
    plan = of_spv(changed(vcpus=2), there)
    assert plan.returns and plan.generation == 2
    assert plan.says[0].endswith("are made of generation 2 again, which has this template")
    assert plan.says[-1] == "its rollout to generation 1 is running: it stays what it is"


@pytest.mark.parametrize("state", [RolloutState.CANARY, RolloutState.HALTED, RolloutState.HELD])
def test_what_was_applied_already_says_nothing_anew_while_its_rollout_is_open(
    state: RolloutState,
) -> None:
    specs = {(SPV.uid, 1): SPEC, (SPV.uid, 2): changed(vcpus=2)}
    rollouts = {SPV.uid: RolloutRecord(SPV.uid, 1, 2, 0, state)}
    plan = of_spv(changed(vcpus=2), known(SPV, specs=specs, rollouts=rollouts))
    assert (plan.effect, plan.generation, plan.fields) == (Effect.NOTHING, 1, ())
    assert plan.says == (
        "nothing is otherwise",
        f"its rollout to generation 2 is {state.words}: further VMs are made of generation 1",
    )
    settings = changed(vcpus=2, on_loss=types.ON_LOSS_WAIT)
    plan = of_spv(settings, known(SPV, specs=specs, rollouts=rollouts))
    assert (plan.effect, plan.generation) == (Effect.CHANGE, 1)
    assert [one.field for one in plan.fields] == ["on_loss"]
    # What was there before it was applied is said anew.
    plan = of_spv(SPEC, known(SPV, specs=specs, rollouts=rollouts))
    assert (plan.effect, plan.generation) == (Effect.NOTHING, 1)
    over = {SPV.uid: RolloutRecord(SPV.uid, 1, 2, 0, RolloutState.ABORTED)}
    assert of_spv(changed(vcpus=2), known(SPV, specs=specs, rollouts=over)).generation == 2


def test_a_new_fleet_has_no_vms_and_an_equal_one_nothing_to_do() -> None:
    new, same = plan_fleets(known(SPV), [("web", SPEC), ("spv", SPEC)], prune=False).fleets
    assert (new.effect, new.from_generation, new.generation) == (Effect.CREATE, 0, 1)
    assert new.says == ("it is made without VMs: 'fleetctl scale web --total NUMBER' starts them",)
    assert (same.effect, same.fields) == (Effect.NOTHING, ())
    assert same.says == ("nothing is otherwise",)


def test_settings_of_earlier_generations_are_told_too() -> None:
    second = FleetRecord("spv", SPV.uid, 0, total=9, generation=2)
    specs = {(SPV.uid, 1): changed(on_loss=types.ON_LOSS_WAIT), (SPV.uid, 2): changed(vcpus=2)}
    plan = of_spv(changed(vcpus=2), known(second, specs=specs))
    assert (plan.effect, plan.fields) == (Effect.CHANGE, ())
    assert plan.says[-1] == "generation 1 has these settings too"


@settings(max_examples=50, deadline=None)
@given(good_specs(), good_specs())
def test_equal_specs_differ_in_nothing_and_others_in_something(
    one: types.FleetSpec, other: types.FleetSpec
) -> None:
    copy = types.FleetSpec()
    copy.CopyFrom(one)
    assert differences(one, copy) == []
    assert bool(differences(one, other)) == (one != other)
    fields = differences(one, other)
    assert any(f.setting for f in fields) != same_settings(one, other)
    assert any(not f.setting for f in fields) == (template_of(one) != template_of(other))


@settings(max_examples=25, deadline=None)
@given(st.lists(good_specs(), min_size=1, max_size=4))
def test_equal_content_is_one_generation_and_settings_are_those_of_the_last_file(
    applied: list[types.FleetSpec],
) -> None:
    fleets: dict[str, FleetRecord] = {}
    specs: dict[tuple[str, int], types.FleetSpec] = {}
    generations: dict[bytes, int] = {}
    for spec in applied:
        done = apply_fleet(fleets, specs, Meta(), "spv", spec, "operator/me", "uid", True)
        fleets["spv"] = done.fleet
        specs |= {("uid", generation): one for generation, one in done.specs.items()}
        template = template_of(spec).SerializeToString(deterministic=True)
        assert generations.setdefault(template, done.fleet.generation) == done.fleet.generation
        assert specs["uid", done.fleet.generation] == spec
        assert all(same_settings(one, spec) for one in specs.values())
        assert with_settings(spec, spec) == spec
        again = apply_fleet(fleets, specs, Meta(), "spv", spec, "operator/me", "uid", True)
        assert not again.writes


@given(st.sets(st.sampled_from("abcde")), st.sets(st.sampled_from("abcde"), min_size=1))
def test_prune_touches_no_fleet_that_is_named_and_names_all_that_it_deletes(
    there: set[str], named: set[str]
) -> None:
    records = [FleetRecord(name, f"uid-{name}", n) for n, name in enumerate(sorted(there))]
    plans = plan_fleets(known(*records), [(name, SPEC) for name in sorted(named)], prune=True)
    gone = {plan.fleet for plan in plans.fleets if plan.effect is Effect.DELETE}
    assert gone == there - named
    without = plan_fleets(known(*records), [(name, SPEC) for name in sorted(named)], prune=False)
    assert {plan.fleet for plan in without.fleets} == named


def test_a_plan_is_bounded_and_fleets_of_other_plans_are_not_pruned() -> None:
    asked = [(f"f{number}", SPEC) for number in range(MOST_FLEETS + 1)]
    with pytest.raises(Refused, match=f"at most {MOST_FLEETS} fleets"):
        plan_fleets(known(), asked, prune=False)
    plans = plan_fleets(known(SPV, WEB), [("new", SPEC)], prune=True, others=["spv"])
    assert [(p.fleet, p.effect) for p in plans.fleets] == [
        ("new", Effect.CREATE), ("web", Effect.DELETE)
    ]  # fmt: skip


def test_files_that_name_no_fleet_prune_nothing() -> None:
    with pytest.raises(Refused, match="no fleet is named") as refusal:
        plan_fleets(known(SPV), [], prune=True)
    assert refusal.value.reason is Reason.BAD_QUERY


def test_a_fleet_that_is_going_already_is_not_pruned_again() -> None:
    going = FleetRecord("web", "uid-web", 1, deleting=True)
    plans = plan_fleets(known(SPV, going), [("spv", SPEC)], prune=True)
    assert [plan.fleet for plan in plans.fleets] == ["spv"]


def test_each_fleet_is_planned_after_those_before_it() -> None:
    """Two new fleets whose VMs would have the same addresses are refused as applying would."""
    spec = changed()
    spec.network.bridge, spec.network.prefix = "br0", "10.0.0.0/8"
    with pytest.raises(Refused, match=r"overlaps with 10\.0\.0\.0/8 of fleet a "):
        plan_fleets(known(), [("a", spec), ("b", spec)], prune=False)
    with pytest.raises(Refused, match="fleet 'a' is asked for twice"):
        plan_fleets(known(), [("a", spec), ("a", spec)], prune=False)


def test_a_token_is_another_as_soon_as_the_fleet_or_the_wish_is() -> None:
    tokens = {
        fleet_token("spv", fleet, spec, wanted)
        for fleet in (SPV, FleetRecord("spv", SPV.uid, 0, total=1001), WEB)
        for spec in (SPEC, changed(vcpus=2))
        for wanted in (SPEC, changed(vcpus=2), None)
    }
    assert len(tokens) == 3 * 2 * 3
    assert of_spv(SPEC).token == of_spv(SPEC).token
    plans = plan_fleets(known(SPV, WEB), [("spv", SPEC)], prune=True)
    assert plans.token != plan_fleets(known(SPV), [("spv", SPEC)], prune=True).token


def test_hosts_that_are_not_known_count_for_their_bound_alone() -> None:
    placement = types.Placement(per_host=3, selector={"rack": "a"})
    counts = HostCounts(["gone", "a1", "b1"], np.array([5, 2, 4]))
    assert misplaced(placement, counts, HOSTS) == 2 + 4
    assert misplaced(placement, HostCounts([], np.array([], int)), HOSTS) == 0


def test_long_texts_are_cut_and_still_told_apart() -> None:
    one, other = changed(), changed()
    one.identity.user_data, other.identity.user_data = "x" * 9000, "x" * 8999 + "y"
    (found,) = (d for d in differences(one, other) if d.field == "identity.user_data")
    assert found.before != found.after and max(len(found.before), len(found.after)) < 200
