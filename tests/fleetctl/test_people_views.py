"""People as text and as JSON."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import people_pb2 as wire
from fleetctl.tables.listing import Listing
from fleetctl.views.cluster import people as views

JO = wire.Person(
    name="jo",
    grants=[wire.Grant(role="viewer", fleets="*"), wire.Grant(role="operator", fleets="web")],
    quota=wire.Quota(vms=10),
    owns=["web"],
    vms=8,
    memory_bytes=1 << 30,
    actor="operator/root",
    since_unix=1000.0,
)
BROKEN = wire.Person(name="al", problem="people/al cannot be read")
EVE = cluster.Denied(role="viewer", name="eve", reason="left", actor="a", since_unix=1000.0)


def test_people_and_who_is_denied_are_one_table() -> None:
    listing = Listing(views.PEOPLE_COLUMNS, width=None, clock=lambda: 1300.0)
    also = cluster.Denied(role="operator", name="jo", reason="away", actor="b", since_unix=1000.0)
    rows = views.rows_of([JO, BROKEN], [EVE, also])
    cells = [[*map(str.strip, line.split("  "))] for line in listing.text(rows)]
    table = [[cell for cell in row if cell] for row in cells]
    assert table[0] == ["NAME", "ROLES", "FLEETS", "VMS", "MEMORY", "SINCE", "BY", "DENIED"]
    assert table[1][:2] == ["al", "nothing: the record does not read"]
    assert table[2] == ["eve", "-", "5 m ago", "a", "as viewer: left"]
    assert table[3] == [
        "jo", "viewer on all, operator on web", "1", "8 of 10", "1.0 GiB", "5 m ago", "b",
        "as operator: away",
    ]  # fmt: skip


def test_a_script_reads_bounds_and_what_is_owned() -> None:
    answer = wire.ListPeopleResponse(people=[JO], in_force=True)
    told = views.people_json(answer, [EVE])
    (jo,) = told["people"]
    assert told["in_force"] and told["denied"][0]["name"] == "eve"
    assert jo["roles"] == [
        {"role": "viewer", "fleets": "*"}, {"role": "operator", "fleets": "web"},
    ]  # fmt: skip
    assert jo["quota"] == {"vms": 10, "memory_bytes": None} and jo["owns"] == ["web"]


def test_who_somebody_is_and_may_is_said_in_a_few_lines() -> None:
    may = wire.Ability(what="scale a fleet", needs="operator", about="fleet", allowed=True)
    may_not = wire.Ability(what="give roles", needs="admin", about="all")
    answer = wire.WhoAmIResponse(
        who="operator/jo", in_force=True, person=JO, abilities=[may, may_not]
    )
    assert views.whoami_text(answer) == [
        "You are operator/jo, by your certificate.",
        "Your roles: viewer on all, operator on web.",
        "You own 1 fleet: web.",
        "VMs: 8 of 10; memory: 1.0 GiB.",
        "You may: scale a fleet.",
        "You may not: give roles.",
    ]
    everything = wire.WhoAmIResponse(who="operator/jo", in_force=True, person=JO, abilities=[may])
    assert views.whoami_text(everything)[-1] == "You may do everything."
    stranger = wire.WhoAmIResponse(who="operator/x", in_force=True)
    assert "Nobody has given you a role" in views.whoami_text(stranger)[1]
    before = wire.WhoAmIResponse(who="operator/x")
    assert "may do everything" in views.whoami_text(before)[1]


def test_what_becomes_of_somebody_is_one_sentence() -> None:
    assert views.person_text(JO) == "jo is viewer on all, operator on web; it may own 10 VMs"
    assert views.person_text(wire.Person(name="jo")) == "jo is nothing any more"
