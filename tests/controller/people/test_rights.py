"""Who may do what: records, a need, and whether it is given."""

from __future__ import annotations

import pytest

from fleet_controller.core.model import DeniedRecord, FleetRecord
from fleet_controller.core.people import changes, rights
from fleet_controller.core.people.changes import QuotaChange
from fleet_controller.core.people.records import Grant, PersonRecord, PersonRole, Quota
from fleet_controller.core.people.rights import Need, Right, Scope
from fleet_controller.core.refusals import Reason, Refused

UID = "00000000-0000-4000-8000-00000000000{}"
WEB = FleetRecord("web", UID.format(1), 1, owners=("olga",))
ANY_NAMED = FleetRecord("any", UID.format(2), 2)
FLEETS = {"web": WEB, "any": ANY_NAMED}
VIEWER, OPERATOR, ADMIN = PersonRole.VIEWER, PersonRole.OPERATOR, PersonRole.ADMIN
NO_CHANGE = QuotaChange()


def person(name: str, *grants: Grant, problem: str = "") -> PersonRecord:
    return PersonRecord(name, grants, problem=problem)


def need(right: Right, about: str | Scope) -> Need:
    return Need(right, about, "do it")


@pytest.mark.parametrize(
    ("grants", "about", "right"),
    [
        ([], "web", Right.NOTHING),
        ([Grant(VIEWER)], "web", Right.VIEW),
        ([Grant(VIEWER)], Scope.CLUSTER, Right.VIEW),
        ([Grant(OPERATOR, "web")], "web", Right.OPERATE),
        ([Grant(OPERATOR, "web")], "web2", Right.NOTHING),
        ([Grant(OPERATOR, "web")], "Web", Right.NOTHING),
        ([Grant(OPERATOR, "web")], Scope.CLUSTER, Right.NOTHING),
        ([Grant(OPERATOR, "web")], Scope.ANY, Right.OPERATE),
        ([Grant(OPERATOR, "web-*")], "web-eu", Right.OPERATE),
        ([Grant(OPERATOR, "web-*")], "web", Right.NOTHING),
        ([Grant(VIEWER), Grant(OPERATOR, "web")], "web", Right.OPERATE),
        ([Grant(VIEWER), Grant(OPERATOR, "web")], "db", Right.VIEW),
        ([Grant(ADMIN)], Scope.CLUSTER, Right.ADMIN),
        ([Grant(ADMIN, "web")], Scope.CLUSTER, Right.NOTHING),
        ([Grant(OPERATOR, "?*")], Scope.CLUSTER, Right.NOTHING),
        # A fleet may be called as a scope is shown.
        ([Grant(OPERATOR, "web")], "any", Right.NOTHING),
        ([Grant(OPERATOR, "web")], "all", Right.NOTHING),
        ([Grant(OPERATOR, "web")], "*", Right.NOTHING),
    ],
)
def test_a_grant_reaches_as_far_as_its_pattern(
    grants: list[Grant], about: str | Scope, right: Right
) -> None:
    jo = person("jo", *grants)
    for asked in (Right.VIEW, Right.OPERATE, Right.ADMIN):
        assert rights.has(jo, need(asked, about), FLEETS) == (asked <= right)


def test_an_owner_is_the_admin_of_the_fleet_and_of_nothing_else() -> None:
    olga = person("olga", Grant(VIEWER, "web"))
    assert rights.has(olga, need(Right.ADMIN, "web"), FLEETS)
    assert not rights.has(olga, need(Right.VIEW, "any"), FLEETS)
    assert not rights.has(olga, need(Right.VIEW, Scope.CLUSTER), FLEETS)


@pytest.mark.parametrize("record", [None, person("olga", Grant(ADMIN), problem="rubbish")])
def test_who_has_no_record_that_reads_may_do_nothing_even_as_an_owner(
    record: PersonRecord | None,
) -> None:
    for about in ("web", Scope.ANY, Scope.CLUSTER):
        assert not rights.has(record, need(Right.VIEW, about), FLEETS)


def test_a_refusal_names_what_is_missing_what_there_is_and_who_gives_it() -> None:
    jo = person("jo", Grant(VIEWER))
    with pytest.raises(Refused) as refused:
        rights.check("jo", jo, Need(Right.OPERATE, "web", "scale fleet web"), FLEETS)
    assert refused.value.reason is Reason.NOT_ALLOWED
    assert str(refused.value) == (
        "jo may not scale fleet web: it needs operator on web; jo is viewer on all (an admin gives "
        "it: fleetctl users add jo --role operator --fleet web)"
    )


@pytest.mark.parametrize(
    ("record", "wanted", "said"),
    [
        (None, need(Right.VIEW, Scope.ANY), "viewer on a fleet; nobody has given jo a role"),
        (None, need(Right.ADMIN, Scope.CLUSTER), "users add jo --role admin)"),
        (person("jo", problem="x"), need(Right.VIEW, "web"), "the record of jo cannot be read"),
        (person("jo", Grant(VIEWER)), need(Right.ADMIN, "web"), "admin on web, or to own it;"),
        (
            person("jo", *(Grant(VIEWER, f"f{n}") for n in range(6))),
            need(Right.VIEW, "web"),
            "viewer on f3 and 2 more",
        ),
    ],
)
def test_a_refusal_is_clear(record: PersonRecord | None, wanted: Need, said: str) -> None:
    with pytest.raises(Refused) as refused:
        rights.check("jo", record, wanted, FLEETS)
    assert said in str(refused.value)


# ---- changes -----------------------------------------------------------------------------


def reason_of(refused: pytest.ExceptionInfo[Refused]) -> Reason:
    return refused.value.reason


@pytest.mark.parametrize(
    ("name", "grant", "asking"),
    [
        ("jo", Grant(VIEWER), "jo"),
        ("jo", Grant(ADMIN, "web"), "jo"),
        ("jo", Grant(ADMIN), "root"),  # a slip in the name would lock everybody out
    ],
)
def test_the_first_person_is_an_admin_on_all_and_whoever_asks(
    name: str, grant: Grant, asking: str
) -> None:
    with pytest.raises(Refused) as refused:
        changes.added({}, name, [grant], NO_CHANGE, asking)
    assert reason_of(refused) is Reason.FIRST_PERSON
    assert f"fleetctl users add {asking} --role admin" in str(refused.value)
    assert changes.added({}, asking, [Grant(ADMIN)], NO_CHANGE, asking).name == asking
    assert changes.added({}, "jo", [Grant(ADMIN)], NO_CHANGE, "").name == "jo"


def test_grants_are_added_once_and_bounds_stay_unless_they_are_changed() -> None:
    root = person("root", Grant(ADMIN))
    jo = PersonRecord("jo", (Grant(VIEWER),), Quota(10, 5))
    people = {"root": root, "jo": jo}
    grants = [Grant(VIEWER), Grant(OPERATOR, "web")]
    after = changes.added(people, "jo", grants, QuotaChange(vms=-1), "root")
    assert set(after.grants) == set(grants) and after.quota == Quota(None, 5)


def test_a_record_that_does_not_read_begins_anew() -> None:
    people = {"jo": person("jo", problem="rubbish")}
    assert changes.added(people, "jo", [Grant(VIEWER)], NO_CHANGE, "x").grants == (Grant(VIEWER),)


@pytest.mark.parametrize("name", ["", "a b", "../x", "jo/x", "x" * 300])
def test_what_no_certificate_can_name_gets_no_role(name: str) -> None:
    with pytest.raises(Refused):
        changes.added({"root": person("root")}, name, [Grant(VIEWER)], NO_CHANGE, "root")


@pytest.mark.parametrize("fleets", ["", "a b", "we/b", "[a]", "x" * 64, "-x"])
def test_what_can_name_no_fleet_is_no_pattern(fleets: str) -> None:
    with pytest.raises(Refused):
        changes.grant_of("viewer", fleets)


def test_the_last_admin_stays_and_neither_the_denied_nor_the_unreadable_count() -> None:
    root, eve = person("root", Grant(ADMIN)), person("eve", Grant(ADMIN), Grant(VIEWER, "web"))
    broken = person("bo", problem="rubbish")
    denied = {"operator/eve": DeniedRecord("operator", "eve")}
    for people, who in (
        ({"root": root, "bo": broken}, {}),
        ({"root": root, "eve": eve}, denied),
    ):
        with pytest.raises(Refused) as refused:
            changes.removed(people, who, "root", [])
        assert reason_of(refused) is Reason.LAST_ADMIN
    both = {"root": root, "eve": eve}
    assert changes.removed(both, {}, "root", []) is None
    assert changes.removed(both, denied, "eve", []) is None
    left = changes.removed(both, {}, "eve", [Grant(ADMIN)])
    assert left is not None and left.grants == (Grant(VIEWER, "web"),)


def test_whoever_is_to_own_a_fleet_is_known() -> None:
    people = {"root": person("root")}
    with pytest.raises(Refused, match="nobody has given jo a role"):
        changes.with_owners(WEB, people, ["jo"], [])
    with pytest.raises(Refused, match="'jo' does not own web"):
        changes.with_owners(WEB, people, [], ["jo"])
    assert changes.with_owners(WEB, people, ["root"], ["olga"]).owners == ("root",)
    assert changes.with_owners(WEB, {}, ["jo"], []).owners == ("jo", "olga")
