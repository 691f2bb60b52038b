"""What apply, fleets show and generations ask, and print: changes are told before they are made."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.outcome import ExitCode
from megafleet.fleet_file.parser import parse_fleet_file
from tests.processes.controller_double import UID, ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

FILE = "name: NAME\nimage: {name: golden, snapshot: 1}\nmemory: 16MiB\n"


def folder_of(tmp_path: Path, *names: str) -> str:
    folder = tmp_path / "fleets"
    folder.mkdir()
    for name in names:
        (folder / f"{name}.yml").write_text(FILE.replace("NAME", name))
    (folder / ".hidden.yaml").write_text("no: fleet")
    (folder / "notes.txt").write_text("no fleet")
    return str(folder)


def plan_of(request: cluster.PlanFleetsRequest) -> cluster.PlanFleetsResponse:
    """A controller that has the fleets `spv` and `old`, and always the same to say of them."""
    answer = cluster.PlanFleetsResponse(token="whole")
    for asked in request.fleets:
        one = answer.fleets.add(fleet=asked.name, effect=cluster.FLEET_EFFECT_CREATE, generation=1)
        one.token = f"of-{asked.name}"
        if asked.name == "spv":
            one.effect, one.from_generation, one.total = cluster.FLEET_EFFECT_CHANGE, 1, 8
            one.fields.add(field="placement.per_host", before="250", after="2", setting=True)
            one.says.append("it makes no generation: no VM is stopped, moved or made anew")
    if request.prune:
        answer.fleets.add(
            fleet="old", effect=cluster.FLEET_EFFECT_DELETE, total=5, token="of-old",
            says=["no file names it: \x1b[2Jold is deleted, and 5 VMs with it"],
        )  # fmt: skip
    return answer


@pytest.fixture
def planning(controller: ControllerDouble) -> ControllerDouble:
    controller.on("PlanFleets", plan_of)
    controller.on(
        "ApplyFleet",
        lambda asked: cluster.ApplyFleetResponse(fleet=cluster.FleetSummary(name=asked.name)),
    )
    controller.on(
        "DeleteFleet",
        lambda asked: cluster.DeleteFleetResponse(fleet=cluster.FleetSummary(name=asked.name)),
    )
    return controller


def test_a_diff_is_told_field_by_field_with_a_command_that_does_it(
    fleetctl: Fleetctl, planning: ControllerDouble, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, "spv", "web")
    for option in ("--diff", "--dry-run"):
        assert fleetctl("apply", "-f", folder, option).out == (
            "spv: other settings, generation 1 as before\n"
            "  FIELD               CHANGE    OF\n"
            "  placement.per_host  250 -> 2  fleet\n"
            "  - it makes no generation: no VM is stopped, moved or made anew\n"
            "\n"
            "web: created\n"
            "\n"
            "To do exactly this, and be refused if anything has changed meanwhile:\n"
            f"  fleetctl apply -f {folder} --token whole\n"
        )
    assert not planning.asked("ApplyFleet")


def test_a_token_does_what_was_shown_and_nothing_else(
    fleetctl: Fleetctl, planning: ControllerDouble, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, "spv", "web")
    said = fleetctl("apply", "-f", folder, "--token", "other")
    assert said.code == ExitCode.FAILED and "look at a new one" in said.err
    assert not planning.asked("ApplyFleet")
    assert fleetctl("apply", "-f", folder, "--token", "whole").code == 0
    done = [(one.name, one.plan_token) for one in planning.asked("ApplyFleet")]
    assert done == [("spv", "of-spv"), ("web", "of-web")]


def test_prune_asks_and_deletes_what_the_plan_has_named(
    fleetctl: Fleetctl, planning: ControllerDouble, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, "spv")
    said = fleetctl("apply", "-f", folder, "--prune")
    assert said.code == ExitCode.USAGE and "give --yes" in said.err and not planning.requests
    shown = fleetctl("apply", "-f", folder, "--prune", "--diff").out
    assert "old: deleted, with 5 VMs\n" in shown and "\x1b" not in shown
    assert f"apply -f {folder} --prune --token whole" in shown
    told = fleetctl("apply", "-f", folder, "--prune", "--yes", "-o", "json").json
    assert [one["fleet"] for one in told["deleted"]] == ["old"] and told["left"] == []
    (gone,) = planning.asked("DeleteFleet")
    assert (gone.name, gone.plan_token) == ("old", "of-old")


def test_a_large_folder_is_planned_part_by_part_and_only_the_last_part_prunes(
    fleetctl: Fleetctl, planning: ControllerDouble, tmp_path: Path
) -> None:
    names = [f"f{number:03}" for number in range(205)]
    folder = folder_of(tmp_path, *names)
    plan = fleetctl("apply", "-f", folder, "--prune", "--diff", "-o", "json").json
    assert [one["fleet"] for one in plan["fleets"]] == [*names, "old"]
    parts = planning.asked("PlanFleets")
    assert [(len(one.fleets), one.prune) for one in parts] == [
        (100, False), (100, False), (5, True)
    ]  # fmt: skip
    assert [*parts[-1].others, *(one.name for one in parts[-1].fleets)] == names
    again = fleetctl("apply", "-f", folder, "--prune", "--token", plan["token"])
    assert again.code == 0 and len(planning.asked("ApplyFleet")) == 205


def test_without_a_plan_an_older_controller_is_asked_nothing_that_it_does_not_know(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    answer = cluster.ApplyFleetResponse(fleet=cluster.FleetSummary(name="spv", generation=1))
    controller.on("ApplyFleet", answer)
    folder = folder_of(tmp_path, "spv")
    assert fleetctl("apply", "-f", f"{folder}/spv.yml").code == 0
    assert not controller.asked("PlanFleets")
    said = fleetctl("apply", "-f", folder, "--diff")
    assert said.code == ExitCode.FAILED and "Traceback" not in said.err


def test_a_fleet_in_two_files_and_every_mistake_of_a_folder_are_told_before_any_call(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, "a", "b", "c")
    (tmp_path / "fleets" / "b.yml").write_text(FILE.replace("NAME", "a"))
    (tmp_path / "fleets" / "c.yml").write_text(FILE + "vcpu: 1\n")
    said = fleetctl("apply", "-f", folder, "--prune", "--yes")
    assert said.code == ExitCode.USAGE and not controller.requests
    assert f"{folder}/b.yml: fleet a is in {folder}/a.yml already" in said.err
    assert f"{folder}/c.yml:4: vcpu: no such field" in said.err


def test_show_prints_a_file_that_is_the_fleet(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    spec = parse_fleet_file(FILE.replace("NAME", "spv"), "f").spec
    answer = cluster.ListFleetsResponse()
    answer.fleets.add(name="spv", uid=UID, spec=spec)
    controller.on("ListFleets", answer)
    for words in (("spv",), (), ("spv", "-o", "yaml")):
        read = parse_fleet_file(fleetctl("fleets", "show", *words).out, "f")
        assert (read.name, read.spec) == ("spv", spec)
    assert fleetctl("fleets", "show", "-o", "json").json["image"] == {
        "name": "golden", "snapshot": "1"
    }  # fmt: skip
    answer.fleets.add(name="web", spec=types.FleetSpec())
    controller.on("ListFleets", answer)
    assert "there are 2 fleets: say which (spv, web)" in fleetctl("fleets", "show").err
    assert "there is no fleet 'x' (fleets: spv, web)" in fleetctl("fleets", "show", "x").err


def test_generations_are_listed_with_what_differs(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = cluster.ListGenerationsResponse(fleet="spv")
    two = answer.generations.add(generation=2, current=True, assigned=3, running=2)
    two.fields.add(field="vcpus", before="1", after="2")
    answer.generations.add(generation=1, assigned=5, running=5)
    controller.on("ListGenerations", answer)
    assert fleetctl("fleets", "generations", "spv").out == (
        "GENERATION  CURRENT  VMS  RUNNING  DIFFERS FROM THE ONE BEFORE\n"
        "         2  yes        3        2  vcpus: 1 -> 2\n"
        "         1  -          5        5\n"
    )
    told = fleetctl("fleets", "generations", "spv", "-o", "json").json
    assert [one["vms"] for one in told["generations"]] == [3, 5]
