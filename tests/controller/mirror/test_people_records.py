"""Records of people that nobody understands: they give no right, and keep the rules in force."""

from __future__ import annotations

import pytest

from fleet_controller.core.people.records import Grant, PersonRecord, PersonRole, Quota, RoleRecord
from fleet_controller.core.people.rights import Need, Right, Scope, has, in_force
from fleet_controller.mirror.records import put_person, put_role
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys

JO = PersonRecord("jo", (Grant(PersonRole.ADMIN),), Quota(vms=5), "operator/root", 7.0)
ADMIN = Need(Right.ADMIN, Scope.CLUSTER, "do it")


def read(key: str, value: bytes | None, state: ClusterState | None = None) -> ClusterState:
    state = state or ClusterState()
    state.apply(key, value, state.revision + 1)
    return state


def test_what_is_written_of_people_and_roles_is_what_is_read() -> None:
    role = RoleRecord("operator", Quota(memory_bytes=1 << 40))
    state = ClusterState()
    state.written([put_person(JO), put_role(role)], 1)
    assert (state.people, state.roles) == ({"jo": JO}, {"operator": role})
    read(keys.person("jo"), None, state)
    assert not state.people


@pytest.mark.parametrize(
    "value",
    [
        b"rubbish",
        b"[]",
        b'{"name":"al","grants":[{"role":"admin"}]}',  # another's, copied
        b'{"name":"jo","grants":[{"role":"root"}]}',
        b'{"name":"jo","grants":[{"role":"admin","fleets":"../*"}]}',
        b'{"name":"jo","grants":[{"role":"admin"}],"quota":{"vms":-1}}',
        b'{"name":"jo","grants":[' + b",".join([b'{"role":"admin"}'] * 101) + b"]}",
    ],
)
@pytest.mark.parametrize("known", [False, True], ids=["never read", "read before"])
def test_a_person_that_does_not_read_has_no_right_and_others_keep_theirs(
    value: bytes, known: bool
) -> None:
    state = ClusterState()
    state.written([put_person(PersonRecord("al", JO.grants))], 1)
    if known:
        state.written([put_person(JO)], 2)
    read(keys.person("jo"), value, state)
    assert not has(state.people["jo"], ADMIN, {})
    assert has(state.people["al"], ADMIN, {})
    assert keys.person("jo") in state.broken
    state.written([put_person(JO)], state.revision + 1)
    assert state.people["jo"] == JO and keys.person("jo") not in state.broken


def test_rules_stay_in_force_while_no_record_reads() -> None:
    state = read(keys.person("jo"), b"rubbish")
    assert in_force(state.people)


def test_what_is_nobodys_key_puts_no_rules_in_force() -> None:
    for key in ("people/", "people/a/b"):
        assert not in_force(read(key, b"{}").people)


def test_a_role_that_does_not_read_lets_its_people_own_nothing_more() -> None:
    assert read(keys.role("viewer"), b"rubbish").roles["viewer"].problem
