"""The table of what each method needs of people."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import people_pb2 as people
from fleet_controller.api.needs import MACHINES, NEEDS, console_need, need_of
from fleet_controller.api.service import SERVICE
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.people.rights import Right, Scope
from fleet_controller.core.refusals import Refused

UID = "00000000-0000-4000-8000-000000000001"
ONE = {"web": FleetRecord("web", UID, 1)}
TWO = {**ONE, "db": FleetRecord("db", UID[:-1] + "2", 2)}
VIEW, OPERATE, ADMIN = Right.VIEW, Right.OPERATE, Right.ADMIN


def test_every_method_of_the_service_has_a_line() -> None:
    assert {method.name for method in SERVICE.methods} == NEEDS.keys()


def test_a_line_names_a_field_of_its_request() -> None:
    for method in SERVICE.methods:
        if field := NEEDS[method.name].fleet:
            assert field in method.input_type.fields_by_name, method.name


def test_only_what_tells_nothing_of_the_cluster_needs_nothing() -> None:
    free = {name for name, line in NEEDS.items() if not line.right and line is not MACHINES}
    assert free == {"Version", "Instant", "WhoAmI"}
    machines = {name for name, line in NEEDS.items() if line is MACHINES}
    assert machines == {"Announce", "Renew", "StandBy", "Join"}


def test_what_lets_in_throws_out_or_copies_the_store_needs_an_admin_on_all() -> None:
    for name in (
        "AddPerson", "RemovePerson", "SetRoleQuota", "Deny", "Allow", "CreateToken", "RevokeToken",
        "Backup", "Recover", "ExpelHost", "ReadmitHost", "ApproveHosts", "RemoveHost", "ResetHost",
    ):  # fmt: skip
        assert (NEEDS[name].right, NEEDS[name].about) == (ADMIN, Scope.CLUSTER), name


@pytest.mark.parametrize(
    ("method", "request_", "right", "about"),
    [
        ("Scale", cluster.ScaleRequest(fleet="web"), OPERATE, "web"),
        ("Scale", cluster.ScaleRequest(fleet="web", plan_only=True), VIEW, "web"),
        ("Scale", cluster.ScaleRequest(), OPERATE, "web"),
        ("ApplyFleet", cluster.ApplyFleetRequest(name="new"), OPERATE, "new"),
        ("ApplyFleet", cluster.ApplyFleetRequest(name="any"), OPERATE, "any"),
        ("DeleteFleet", cluster.DeleteFleetRequest(name="web"), ADMIN, "web"),
        (
            "Rollout",
            cluster.RolloutRequest(fleet="web", action=cluster.RolloutRequest.ACTION_SHOW),
            VIEW,
            "web",
        ),
        (
            "Rollout",
            cluster.RolloutRequest(fleet="web", action=cluster.RolloutRequest.ACTION_START),
            OPERATE,
            "web",
        ),
        (
            "Rollout",
            cluster.RolloutRequest(
                fleet="web", action=cluster.RolloutRequest.ACTION_START, plan_only=True
            ),
            VIEW,
            "web",
        ),
        ("ControlVms", cluster.ControlVmsRequest(fleet="web"), OPERATE, "web"),
        ("Status", cluster.StatusRequest(), VIEW, Scope.ANY),
        ("Status", cluster.StatusRequest(fleet="web"), VIEW, "web"),
        ("ListEvents", cluster.ListEventsRequest(), VIEW, Scope.CLUSTER),
        ("ListEvents", cluster.ListEventsRequest(fleet="db"), VIEW, "db"),
        ("Drain", cluster.DrainRequest(host="h"), OPERATE, Scope.CLUSTER),
        ("Drain", cluster.DrainRequest(host="h", plan_only=True), VIEW, Scope.ANY),
        ("Drain", cluster.DrainRequest(host="h", force=True), ADMIN, Scope.CLUSTER),
        ("Tune", cluster.HostTuneRequest(), VIEW, Scope.ANY),
        ("Tune", cluster.HostTuneRequest(apply=True), OPERATE, Scope.CLUSTER),
        ("Recover", cluster.RecoverRequest(plan_only=True), VIEW, Scope.CLUSTER),
        ("Recover", cluster.RecoverRequest(plan_only=True, begin="x"), ADMIN, Scope.CLUSTER),
        ("SetFleetOwners", people.SetFleetOwnersRequest(fleet="web"), ADMIN, "web"),
    ],
)
def test_what_a_request_needs(method: str, request_: Any, right: Right, about: str | Scope) -> None:
    need = need_of(NEEDS[method], request_, ONE)
    assert (need.right, need.about) == (right, about)
    assert "{" not in need.what


def test_the_only_fleet_is_named_once_it_is_judged() -> None:
    request = cluster.ScaleRequest()
    need_of(NEEDS["Scale"], request, ONE)
    assert request.fleet == "web", "another fleet may be the only one by the time it is scaled"
    with pytest.raises(Refused, match="say which"):
        need_of(NEEDS["Scale"], cluster.ScaleRequest(), TWO)


def test_a_console_needs_more_of_whoever_types() -> None:
    first = wire.ConsoleInput(vm=wire.VmAddress(fleet_uid=UID))
    typed, read = console_need(first, TWO, True), console_need(first, TWO, False)
    assert typed is not None and (typed.right, typed.about) == (OPERATE, "web")
    assert read is not None and (read.right, read.about) == (VIEW, "web")
    assert console_need(wire.ConsoleInput(), TWO, True) is None
