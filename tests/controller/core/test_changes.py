"""What operators and agents ask for: decided, or refused with a reason and one sentence."""

from __future__ import annotations

import msgspec
import pytest

from fleet.identity import MAX_FLEET_NUMBER
from fleet.ranges import IndexSet
from fleet.template.settings import with_settings
from fleet.v1 import types_pb2 as types
from fleet_controller.core.changes import (
    GONE_KEPT,
    Application,
    Scaling,
    apply_fleet,
    check_scale,
    forgettable,
    next_number,
    scale,
    without_tombstones,
)
from fleet_controller.core.hosts import MAX_LABELS, MAX_TEXT, announced
from fleet_controller.core.model import (
    Assignment,
    Capacity,
    ClusterView,
    FleetRecord,
    GoneFleet,
    HostRecord,
    HostView,
    Meta,
    Shard,
    Tombstone,
)
from fleet_controller.core.refusals import Reason, Refused, named_fleet

SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
OTHER_SPEC = types.FleetSpec(memory_bytes=8 << 20, vcpus=1)
THIRD_SPEC = types.FleetSpec(memory_bytes=12 << 20, vcpus=1)
SPV = FleetRecord("spv", "uid-spv", 0)


def apply(
    name: str = "spv",
    spec: types.FleetSpec = SPEC,
    *fleets: FleetRecord,
    specs: dict[tuple[str, int], types.FleetSpec] | None = None,
    meta: Meta = Meta(),  # noqa: B008 - immutable
    accounted: bool = True,
) -> Application:
    known = {fleet.name: fleet for fleet in fleets}
    return apply_fleet(known, specs or {}, meta, name, spec, "operator/me", "new-uid", accounted)


def cluster(hosts: int = 2, per_host: int = 10, *fleets: FleetRecord) -> ClusterView:
    views = {
        f"h{i}": HostView(
            HostRecord(f"h{i}", "a:1", capacity=Capacity(per_host)), Assignment(), True
        )
        for i in range(hosts)
    }
    known = {fleet.name: fleet for fleet in fleets or (SPV,)}
    return ClusterView(100, views, known, {(f.uid, f.generation): SPEC for f in known.values()})


def planned(view: ClusterView, total: int) -> Scaling:
    return scale(view, "spv", total, "operator/me")


# Fleets


def test_the_newest_deleted_fleets_are_remembered_and_those_that_tombstones_name() -> None:
    gone = {f"u{n}": GoneFleet("x", f"u{n}", n) for n in range(GONE_KEPT + 3)}
    stone = Tombstone(1, "u1", IndexSet.span(0, 5), 3)
    assert forgettable(gone, {"h": Assignment((), (stone,))}) == ["u0", "u2", "u3"]
    assert forgettable(dict(list(gone.items())[:GONE_KEPT]), {}) == []


def test_a_new_fleet_begins_empty_in_its_first_generation() -> None:
    done = apply(meta=Meta(last_number=4, site=3))
    assert done.fleet == FleetRecord("spv", "new-uid", 5, 3, changed_by="operator/me")
    assert (done.created, done.specs, done.fleet.total) == (True, {1: SPEC}, 0)
    assert done.fleet.generation == 1 and not done.changed
    assert done.meta == Meta(last_number=5, site=3)


def test_the_same_template_again_changes_nothing() -> None:
    done = apply("spv", SPEC, SPV, specs={(SPV.uid, 1): SPEC})
    assert done == Application(SPV, SPV) and not (done.writes or done.changed or done.created)


def test_another_template_is_the_next_generation_of_the_same_fleet() -> None:
    specs = {(SPV.uid, 1): SPEC, (SPV.uid, 2): OTHER_SPEC, ("another", 9): SPEC}
    second = msgspec.structs.replace(SPV, generation=2, total=7)
    done = apply("spv", THIRD_SPEC, second, specs=specs)
    assert (done.created, done.specs, done.meta) == (False, {3: THIRD_SPEC}, None)
    assert done.changed and not done.returned
    assert done.fleet == msgspec.structs.replace(second, generation=3, changed_by="operator/me")


def test_a_template_that_the_fleet_had_before_is_that_generation_again() -> None:
    specs = {(SPV.uid, 1): SPEC, (SPV.uid, 2): OTHER_SPEC}
    second = msgspec.structs.replace(SPV, generation=2, total=7)
    done = apply("spv", SPEC, second, specs=specs)
    assert (done.specs, done.changed, done.returned) == ({}, True, True)
    back = msgspec.structs.replace(second, generation=1, applied=1, changed_by="operator/me")
    assert done.fleet == back
    again = apply("spv", OTHER_SPEC, back, specs=specs)
    assert again.returned and again.fleet == msgspec.structs.replace(back, generation=2, applied=0)


def test_settings_make_no_generation_and_are_those_of_all_that_are_kept() -> None:
    specs = {(SPV.uid, 1): SPEC, (SPV.uid, 2): OTHER_SPEC}
    second = msgspec.structs.replace(SPV, generation=2, total=7)
    wanted = types.FleetSpec(memory_bytes=8 << 20, vcpus=1, on_loss=types.ON_LOSS_WAIT)
    wanted.placement.per_host = 12
    done = apply("spv", wanted, second, specs=specs)
    assert not done.changed and done.fleet.generation == 2
    assert [one.field for one in done.settings] == ["placement.per_host", "on_loss"]
    assert done.specs == {1: with_settings(SPEC, wanted), 2: wanted}
    assert done.specs[1].memory_bytes == SPEC.memory_bytes
    later = {(SPV.uid, generation): spec for generation, spec in done.specs.items()}
    assert not apply("spv", wanted, done.fleet, specs=later).writes


@pytest.mark.parametrize("name", ["", "../x", "A", "a" * 41, "a--b", "a\n"])
def test_fleets_have_names_that_can_be_those_of_domains(name: str) -> None:
    with pytest.raises(Refused, match="a fleet's name is") as refusal:
        apply(name)
    assert refusal.value.reason is Reason.BAD_SPEC


def test_a_fleet_that_is_going_is_not_applied_to() -> None:
    going = msgspec.structs.replace(SPV, deleting=True)
    with pytest.raises(Refused, match="is being deleted; apply it again when") as refusal:
        apply("spv", SPEC, going)
    assert refusal.value.reason is Reason.FLEET_DELETING


@pytest.mark.parametrize(
    ("last", "used", "accounted", "number"),
    [
        (-1, (), True, 0),
        (-1, (0, 1), True, 2),
        (7, (), False, 8),
        (MAX_FLEET_NUMBER, (), True, 0),
        (MAX_FLEET_NUMBER, (0, 1, 3), True, 2),
        (MAX_FLEET_NUMBER - 1, (MAX_FLEET_NUMBER,), True, 0),
        (MAX_FLEET_NUMBER, (), False, None),
        (MAX_FLEET_NUMBER - 1, (), False, MAX_FLEET_NUMBER),
    ],
)
def test_numbers_are_used_again_only_when_all_were_and_every_host_is_heard(
    last: int, used: tuple[int, ...], accounted: bool, number: int | None
) -> None:
    fleets = {f"f{n}": FleetRecord(f"f{n}", f"u{n}", n) for n in used}
    if number is not None:
        assert next_number(Meta(last_number=last), fleets, accounted) == number
        return
    with pytest.raises(Refused, match="only while every host is live") as refusal:
        next_number(Meta(last_number=last), fleets, accounted)
    assert refusal.value.reason is Reason.NO_FLEET_NUMBER


def test_there_are_only_so_many_fleets() -> None:
    fleets = {f"f{n}": FleetRecord(f"f{n}", f"u{n}", n) for n in range(MAX_FLEET_NUMBER + 1)}
    with pytest.raises(Refused, match="4096 fleets already"):
        next_number(Meta(last_number=5), fleets, True)


def test_a_name_may_be_left_out_while_there_is_one_fleet() -> None:
    red, blue = FleetRecord("red", "r", 1), FleetRecord("blue", "b", 2)
    assert named_fleet({"red": red}, "") is red
    assert named_fleet({"red": red, "blue": blue}, "blue") is blue
    for fleets, name, reason, sentence in (
        ({}, "", Reason.NO_SUCH_FLEET, "apply a fleet file first"),
        ({}, "x", Reason.NO_SUCH_FLEET, "apply a fleet file first"),
        ({"red": red}, "x", Reason.NO_SUCH_FLEET, "no fleet 'x' (fleets: red)"),
        ({"red": red, "blue": blue}, "", Reason.WHICH_FLEET, "say which (blue, red)"),
    ):
        with pytest.raises(Refused) as refusal:
            named_fleet(fleets, name)
        assert refusal.value.reason is reason and sentence in str(refusal.value)


# Scaling


@pytest.mark.parametrize("total", [-1, 2**24 + 1, 2**63 - 1])
def test_totals_have_bounds(total: int) -> None:
    with pytest.raises(Refused, match="from 0 to 16,777,216") as refusal:
        planned(cluster(), total)
    assert refusal.value.reason is Reason.BAD_TOTAL


def test_a_fleet_that_is_going_is_not_scaled() -> None:
    with pytest.raises(Refused) as refusal:
        planned(cluster(2, 10, msgspec.structs.replace(SPV, deleting=True)), 3)
    assert refusal.value.reason is Reason.FLEET_DELETING


def test_beyond_capacity_is_refused_with_what_fits_and_what_would_help() -> None:
    scaling = planned(cluster(2, 10), 35)
    with pytest.raises(Refused) as refusal:
        check_scale(scaling, partial=False, token="")
    assert refusal.value.reason is Reason.BEYOND_CAPACITY
    assert refusal.value.metadata == {"fits": "20", "hosts_needed": "2"}
    assert str(refusal.value).startswith("35 VMs do not fit: 20 would.")
    assert str(refusal.value).endswith("--partial places what fits")
    check_scale(scaling, partial=True, token="")
    check_scale(planned(cluster(2, 10), 20), partial=False, token="")


def test_shrinking_is_never_refused_for_want_of_room() -> None:
    crowded = cluster(1, 10, msgspec.structs.replace(SPV, total=50))
    check_scale(planned(crowded, 40), partial=False, token="")


def test_what_waits_for_a_release_does_not_refuse_a_scale() -> None:
    view = cluster(1, 10)
    buried = Assignment((), (Tombstone(1, SPV.uid, IndexSet.span(0, 10), 5),))
    held = msgspec.structs.replace(view.hosts["h0"], assignment=buried)
    scaling = planned(msgspec.structs.replace(view, hosts={"h0": held}), 10)
    assert [reason.reason for reason in scaling.plan.unplaced] == ["releasing"]
    check_scale(scaling, partial=False, token="")


def test_a_plan_is_stale_once_what_it_does_is_another() -> None:
    shown = planned(cluster(2, 10), 8)
    check_scale(planned(cluster(2, 10), 8), False, shown.token)
    later = msgspec.structs.replace(cluster(2, 10), revision=900)
    check_scale(planned(later, 8), False, shown.token)
    changed = [
        planned(cluster(2, 10), 9),
        planned(cluster(3, 10), 8),
        planned(cluster(2, 10, msgspec.structs.replace(SPV, total=4)), 8),
        planned(cluster(2, 10, msgspec.structs.replace(SPV, generation=2)), 8),
    ]
    for other in changed:
        with pytest.raises(Refused) as refusal:
            check_scale(other, False, shown.token)
        assert refusal.value.reason is Reason.STALE_PLAN


def test_what_is_left_of_a_deleted_fleet_is_cleared_and_nothing_else() -> None:
    mine = Tombstone(1, "gone", IndexSet.span(0, 5), 9)
    theirs = Tombstone(2, "here", IndexSet.span(0, 5), 9)
    shard = Shard("here", IndexSet.span(9, 12), 1, 9)
    assignments = {
        "a": Assignment((shard,), (mine, theirs)),
        "b": Assignment((shard,), (theirs,)),
        "c": Assignment((), (mine,)),
    }
    assert without_tombstones(assignments, "gone") == {
        "a": Assignment((shard,), (theirs,)),
        "c": Assignment(),
    }


# Hosts

FACTS = types.HostFacts(
    machine_id="m1",
    incarnation="i1",
    labels={"zone": "z", "rack": "r"},
    capacity=types.Capacity(guests=9, memory_bytes=5, binding_limit="vcpus"),
    hypervisor="Xen",
)


def test_a_host_is_recorded_as_it_says() -> None:
    record = announced(None, "h1", "10.0.0.7:7443", FACTS, False)
    assert record.address == "10.0.0.7:7443"
    assert record.capacity == Capacity(guests=9, memory_bytes=5)
    assert list(record.labels) == ["rack", "zone"], "in an order that does not depend on the sender"
    assert (record.binding_limit, record.incarnation) == ("vcpus", "i1")


def test_a_label_that_no_fleet_could_name_is_left_out_and_the_host_is_taken() -> None:
    facts = types.HostFacts(labels={"Rack": "R 01", "topology.kubernetes.io/zone": "a", "a": "\n"})
    record = announced(None, "h1", "10.0.0.7:7443", facts, False)
    assert record.labels == {"topology.kubernetes.io/zone": "a"}


def test_what_operators_set_survives_an_announcement() -> None:
    have = msgspec.structs.replace(announced(None, "h1", "a:1", FACTS, False), cordoned=True)
    assert announced(have, "h1", "b:2", FACTS, True).cordoned


@pytest.mark.parametrize(
    ("live", "incarnation", "refused"),
    [(True, "i2", True), (True, "i1", False), (False, "i2", False)],
)
def test_a_second_claimant_is_refused_while_the_first_may_live(
    live: bool, incarnation: str, refused: bool
) -> None:
    have = announced(None, "h1", "a:1", FACTS, False)
    facts = types.HostFacts(incarnation=incarnation)
    if not refused:
        assert announced(have, "h1", "b:2", facts, live).address == "b:2"
        return
    with pytest.raises(Refused, match="two dom0s use one certificate") as refusal:
        announced(have, "h1", "b:2", facts, live)
    assert refusal.value.reason is Reason.DUPLICATE_HOST


@pytest.mark.parametrize(
    "address", ["10.0.0.7:7443", "dom0-7.example.org:1", "[::1]:65535", "h:00443"]
)
def test_addresses_that_can_be_dialled(address: str) -> None:
    assert announced(None, "h1", address, FACTS, False).address == address


@pytest.mark.parametrize(
    "address",
    ["", ":1", "h", "h:", "h:0", "h:65536", "h:-1", "h:x", "::1:5", "unix:/x:1", "h:1 ", "h:1\n",
     "dns:///h:1", "h/x:1", "h:\u0661", "x" * 300 + ":1"],
)  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(Refused, match="is not an address") as refusal:
        announced(None, "h1", address, FACTS, False)
    assert refusal.value.reason is Reason.BAD_ANNOUNCE


@pytest.mark.parametrize(
    "facts",
    [
        types.HostFacts(labels={f"k{i}": "v" for i in range(MAX_LABELS + 1)}),
        types.HostFacts(labels={"k" * (MAX_TEXT + 1): "v"}),
        types.HostFacts(labels={"k": "v" * (MAX_TEXT + 1)}),
        types.HostFacts(storage="x" * (MAX_TEXT + 1)),
        types.HostFacts(capacity=types.Capacity(binding_limit="x" * (MAX_TEXT + 1))),
    ],
)
def test_a_host_says_only_so_much_of_itself(facts: types.HostFacts) -> None:
    with pytest.raises(Refused, match="at most") as refusal:
        announced(None, "h1", "a:1", facts, False)
    assert refusal.value.reason is Reason.BAD_ANNOUNCE
