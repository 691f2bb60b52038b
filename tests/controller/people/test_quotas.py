"""How much somebody may own: whatever is asked, in whatever order, nobody grows past a bound."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.people.quotas import check_growth, owned_by, quota_of
from fleet_controller.core.people.records import (
    NO_BOUND,
    Grant,
    PersonRecord,
    PersonRole,
    Quota,
    RoleRecord,
)
from fleet_controller.core.refusals import Reason, Refused

NAMES = ("jo", "al")
FLEETS = ("web", "db", "ci")


def uid(name: str) -> str:
    return f"00000000-0000-4000-8000-00000000000{FLEETS.index(name)}"


def fleet(name: str, total: int = 0, *owners: str, generation: int = 1) -> FleetRecord:
    return FleetRecord(name, uid(name), 1, total=total, generation=generation, owners=owners)


def person(name: str, quota: Quota = NO_BOUND) -> PersonRecord:
    return PersonRecord(name, (Grant(PersonRole.OPERATOR),), quota)


def template(memory: int) -> types.FleetSpec:
    return types.FleetSpec(memory_bytes=memory)


bounds = st.none() | st.integers(0, 60)
changes = st.tuples(
    st.sampled_from(FLEETS),
    st.one_of(
        st.integers(0, 30),  # a total
        st.sets(st.sampled_from(NAMES)).map(tuple),  # owners
        st.integers(1, 4).map(template),
    ),
)


@given(
    st.tuples(bounds, bounds, bounds, bounds),
    st.lists(changes, max_size=25),
    st.tuples(bounds, bounds),
)
def test_what_is_owned_never_grows_past_a_bound(
    own: tuple[int | None, ...],
    asked: list[tuple[str, int | tuple[str, ...] | types.FleetSpec]],
    general: tuple[int | None, ...],
) -> None:
    people = {"jo": person("jo", Quota(*own[:2])), "al": person("al", Quota(*own[2:]))}
    roles = {"operator": RoleRecord("operator", Quota(*general))}
    fleets = {name: fleet(name) for name in FLEETS}
    specs = {(uid(name), 1): template(1) for name in FLEETS}
    for name, change in asked:
        have, spec = fleets[name], None
        match change:
            case int(total):
                after = structs.replace(have, total=total)
            case types.FleetSpec():
                spec = change
                after = structs.replace(have, generation=have.generation + 1)
            case owners:
                after = structs.replace(have, owners=owners)
        before = {who: owned_by(who, fleets.values(), specs) for who in NAMES}
        try:
            check_growth(fleets, specs, after, people, roles, spec)
        except Refused as refused:
            assert refused.reason is Reason.OVER_QUOTA
            continue
        fleets[name] = after
        if spec is not None:
            specs[after.uid, after.generation] = spec
        for who in NAMES:
            quota, now = quota_of(people[who], roles), owned_by(who, fleets.values(), specs)
            assert quota.vms is None or now.vms <= max(quota.vms, before[who].vms)
            most = quota.memory_bytes
            assert most is None or now.memory_bytes <= max(most, before[who].memory_bytes)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 50))
def test_a_lowered_bound_refuses_growth_and_nothing_else(now: int, then: int, most: int) -> None:
    have = fleet("web", now, "jo")
    people = {"jo": person("jo", Quota(vms=most))}
    after = structs.replace(have, total=then)
    if then > now and then > most:
        with pytest.raises(Refused):
            check_growth({"web": have}, {}, after, people, {})
    else:
        check_growth({"web": have}, {}, after, people, {})


def test_a_refusal_says_how_much_there_is_and_how_much_there_may_be() -> None:
    fleets = {"web": fleet("web", 5, "jo"), "db": fleet("db", 3, "jo")}
    specs = {(uid(name), 1): template(1 << 30) for name in fleets}
    people = {"jo": person("jo", Quota(vms=10))}
    with pytest.raises(Refused) as refused:
        check_growth(fleets, specs, fleet("web", 8, "jo"), people, {})
    assert str(refused.value) == (
        "fleet web would bring what jo owns to 11 VMs: jo may own 10, and owns 8 now (an admin "
        "changes it: fleetctl users add jo --max-vms N)"
    )
    people = {"jo": person("jo", Quota(memory_bytes=10 << 30))}
    with pytest.raises(Refused, match="to 11 GiB of memory: jo may own 10 GiB, and owns 8 GiB"):
        check_growth(fleets, specs, fleet("web", 8, "jo"), people, {})


def test_a_template_of_more_memory_counts_for_all_that_there_are() -> None:
    fleets, specs = {"web": fleet("web", 4, "jo")}, {(uid("web"), 1): template(1)}
    people = {"jo": person("jo", Quota(memory_bytes=4))}
    after = fleet("web", 4, "jo", generation=2)
    with pytest.raises(Refused, match="memory"):
        check_growth(fleets, specs, after, people, {}, template(2))


def test_a_persons_own_bound_goes_before_that_of_the_role() -> None:
    roles = {"operator": RoleRecord("operator", Quota(5, 5))}
    assert quota_of(person("jo"), roles) == Quota(5, 5)
    assert quota_of(person("jo", Quota(vms=9)), roles) == Quota(9, 5)
    assert quota_of(person("jo"), {}) == NO_BOUND


def test_a_roles_record_that_does_not_read_lets_nobody_of_it_grow() -> None:
    roles = {"operator": RoleRecord("operator", problem="rubbish")}
    have = fleet("web", 5, "jo")
    with pytest.raises(Refused):
        check_growth({"web": have}, {}, fleet("web", 6, "jo"), {"jo": person("jo")}, roles)
    check_growth({"web": have}, {}, fleet("web", 5, "jo"), {"jo": person("jo")}, roles)
