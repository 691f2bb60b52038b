"""What apply, fleets and delete ask of the controller, and print."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from fleet.changes.change_id import is_change_id
from fleet.v1 import cluster_pb2 as cluster
from tests.processes.controller_double import UID, ControllerDouble
from tests.processes.fleetctl_process import LIMIT_SECONDS, Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

SAMPLE = Path(__file__).parents[3] / "deploy" / "samples" / "spv.yaml"


def summary(**fields: object) -> cluster.FleetSummary:
    made = cluster.FleetSummary(name="spv", uid=UID, generation=1, total=8, placed=8, running=7)
    made.spec.image.name, made.spec.image.snapshot = "golden", "1"
    made.spec.memory_bytes = 16 << 20
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("created", "changed", "says"),
    [
        (True, True, "spv: created; start VMs with 'fleetctl scale spv --total NUMBER'\n"),
        (False, True, "spv: generation 1, for VMs created from now on; 7 running VMs unchanged\n"),
        (False, False, "spv: unchanged, generation 1\n"),
    ],
)
def test_apply_says_what_became_of_it(
    fleetctl: Fleetctl, controller: ControllerDouble, created: bool, changed: bool, says: str
) -> None:
    answer = cluster.ApplyFleetResponse(fleet=summary(), created=created, changed=changed)
    controller.on("ApplyFleet", answer)
    assert fleetctl("apply", "-f", str(SAMPLE)).out == says
    assert fleetctl("apply", "-f", "-", text=SAMPLE.read_text()).out == says
    told = fleetctl("apply", "-f", str(SAMPLE), "-o", "json").json
    assert is_change_id(told.pop("change_id"))
    assert told == {
        "fleet": "spv", "uid": UID, "created": created, "changed": changed, "generation": 1,
        "total": 8, "not_cloned": [], "returned": False, "settings": [],
    }  # fmt: skip
    first, second, _ = controller.asked("ApplyFleet")
    assert first == second and first.name == "spv" and first.spec.memory_bytes == 16 << 20


def test_apply_says_which_vms_will_not_be_cloned_and_why(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    why = "VMs boot on h1: an agent older than clones is there"
    answer = cluster.ApplyFleetResponse(fleet=summary(), created=True, not_cloned=[why])
    controller.on("ApplyFleet", answer)
    assert fleetctl("apply", "-f", str(SAMPLE)).out.endswith(f"\nnot cloned: {why}\n")
    assert fleetctl("apply", "-f", str(SAMPLE), "-o", "json").json["not_cloned"] == [why]


def test_apply_refuses_a_wrong_file_before_any_call(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(SAMPLE.read_text().replace("memory: 16MiB", "memroy: 16MB"))
    said = fleetctl("apply", "-f", str(wrong))
    line = SAMPLE.read_text().split("\n").index("memory: 16MiB") + 1
    assert said.code == 2
    assert f"{wrong}:{line}: memroy: no such field; did you mean memory?" in said.err
    assert not controller.requests


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "wrong.yaml:1: not UTF-8 text"),
        (b"a\n" * 200_000, "the file is larger than 256 KiB"),
        (b"", "a fleet file is 'field: value' lines"),
    ],
)
def test_apply_refuses_what_is_no_fleet_file(
    fleetctl: Fleetctl, tmp_path: Path, content: bytes, says: str
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_bytes(content)
    said = fleetctl("apply", "-f", str(wrong))
    assert said.code == 2 and says in said.err


def test_apply_of_a_file_that_is_not_there(fleetctl: Fleetctl, tmp_path: Path) -> None:
    for path, says in (
        (tmp_path / "none.yaml", f"cannot read {tmp_path}/none.yaml: "),
        (tmp_path, f"{tmp_path}: no fleet file in it; they end in .yaml or .yml"),
    ):
        said = fleetctl("apply", "-f", str(path))
        assert said.code == 2 and said.err.startswith(f"fleetctl: {says}")


def test_fleets(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ListFleets", cluster.ListFleetsResponse(fleets=[summary()]))
    assert fleetctl("fleets").out == (
        "FLEET  TOTAL  PLACED  RUNNING  FAILED  GENERATION  IMAGE     MEMORY  STATE\n"
        "spv        8       8        7       0           1  golden@1  16 MiB  changing\n"
    )
    (told,) = fleetctl("fleets", "-o", "json").json["fleets"]
    assert told["fleet"] == "spv" and told["total"] == 8 and told["image"] == "golden@1"


def test_delete_asks_first(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("DeleteFleet", cluster.DeleteFleetResponse(fleet=summary(deleting=True)))
    said = fleetctl("delete", "spv")
    assert said.code == 2 and "give --yes" in said.err and not controller.requests
    said = fleetctl("delete", "spv", "--yes")
    assert said.code == 0 and said.out.startswith("spv: being deleted")
    assert fleetctl("delete", "spv", "--yes", "-o", "json").json["deleting"] is True


@pytest.mark.parametrize(
    ("fields", "state"),
    [({"running": 8}, "running"), ({"failed": 1}, "failing"), ({"placed": 7}, "unplaced"),
     ({"deleting": True}, "deleting"), ({"as_wanted": 8}, "running"),
     ({"running": 0, "as_wanted": 8, "powered_off": 8}, "stopped")],
)  # fmt: skip
def test_a_list_of_fleets_says_how_each_stands(
    fleetctl: Fleetctl, controller: ControllerDouble, fields: dict[str, object], state: str
) -> None:
    controller.on("ListFleets", cluster.ListFleetsResponse(fleets=[summary(**fields)]))
    assert fleetctl("fleets", "--columns", "fleet,state", "--no-headers").out.split() == [
        "spv", state,
    ]  # fmt: skip
    assert fleetctl("fleets", "-o", "name").out == "spv\n"
    assert fleetctl("-o", "csv", "fleets").out.startswith("fleet,total,placed,running,failed,")


def test_a_watched_list_shows_what_changes_until_ctrl_c(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    looks = iter(range(3, 9))

    def answer(_: cluster.ListFleetsRequest) -> cluster.ListFleetsResponse:
        return cluster.ListFleetsResponse(fleets=[summary(running=next(looks, 8))])

    controller.on("ListFleets", answer)
    with fleetctl.start("fleets", "--watch", "--columns", "fleet,running") as started:
        assert started.stdout is not None
        lines = [" ".join(started.stdout.readline().split()) for _ in range(3)]
        started.send_signal(signal.SIGINT)
        assert started.wait(LIMIT_SECONDS) == 0
    assert lines == ["FLEET RUNNING", "spv 3", "spv 4"]
