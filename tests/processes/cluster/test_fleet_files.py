"""Fleet files against real processes: what applying would do is told first, and is what it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fleet.transport import Role
from fleet.v1 import cluster_pb2 as wire
from tests.certificates import issue
from tests.processes.daemons import eventually
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.small_cluster import SmallCluster, refused, spec

pytest_plugins = ["tests.processes.cluster_fixtures"]

FILE = """\
name: NAME
image: {name: golden, snapshot: 1}
memory: 4MiB
boot: {kernel: /boot/tiny.elf}
admission: {parallel: 250}
placement: {spread_label: rack}
"""


@pytest.fixture
def fleetctl(tmp_path: Path, cluster: SmallCluster) -> Iterator[Fleetctl]:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    yield Fleetctl(tmp_path, (cluster.controller.address,), alice)


def written(folder: Path, *names: str, more: str = "") -> Path:
    """A folder with a fleet file for each name."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for name in names:
        (folder / f"{name}.yaml").write_text(FILE.replace("NAME", name) + more)
    return folder


def births(cluster: SmallCluster) -> list[str]:
    """One digest a process of hosts: it changes with every VM that is made or goes."""
    uid = cluster.records()["spv"].uid
    return [hollow.listing()[uid]["births_digest"] for hollow in cluster.hollows]


def test_settings_are_changed_without_a_generation_and_without_a_vm_touched(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    file = str(written(tmp_path / "f", "spv") / "spv.yaml")
    assert fleetctl("apply", "-f", file).code == 0
    cluster.scale_and_wait(480)
    before, store = births(cluster), cluster.assignments()
    Path(file).write_text(Path(file).read_text().replace("rack}", "rack, per_host: 15}"))
    plan = fleetctl("apply", "-f", file, "--diff", "-o", "json").json
    (one,) = plan["fleets"]
    assert (one["effect"], one["from_generation"], one["generation"]) == ("change", 1, 1)
    assert [(f["field"], f["before"], f["after"]) for f in one["fields"]] == [
        ("placement.per_host", "0", "15")
    ]
    assert one["misplaced"] == 24 * 5
    assert cluster.assignments() == store, "a plan changes nothing"
    said = fleetctl("apply", "-f", file, "--token", plan["token"])
    assert said.out == "spv: other placement.per_host, for all its VMs; none was touched\n"

    def told_anew() -> bool:
        hosts = cluster.stub.ListHosts(wire.ListHostsRequest(limit=100), timeout=30).hosts
        specs = cluster.written_at(f"fleets/{cluster.records()['spv'].uid}/spec/")
        newer = min(cluster.written_at("assignments/").values()) > max(specs.values())
        return newer and all(one.converged for one in hosts)

    eventually(told_anew, "all hosts are told anew")
    cluster.check("spv", 480)
    assert births(cluster) == before and cluster.assignments() == store
    assert cluster.records()["spv"].generation == 1


def test_a_plan_that_is_stale_is_refused_and_nothing_is_done(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    folder = written(tmp_path / "f", "spv", "web")
    token = fleetctl("apply", "-f", str(folder), "--diff", "-o", "json").json["token"]
    cluster.apply("web", spec(vcpus=3))
    said = fleetctl("apply", "-f", str(folder), "--token", token)
    assert said.code == 1 and "look at a new one" in said.err
    assert set(cluster.records()) == {"web"}
    request = wire.ApplyFleetRequest(name="web", spec=spec(), plan_token="0" * 18)
    with refused(grpc.StatusCode.ABORTED, "STALE_PLAN"):
        cluster.stub.ApplyFleet(request, timeout=30)


def test_a_folder_is_applied_and_what_it_does_not_name_is_pruned_by_a_plan(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    folder = str(written(tmp_path / "f", "spv", "web", "old"))
    made = fleetctl("apply", "-f", folder, "-o", "json").json
    assert [one["fleet"] for one in made["fleets"]] == ["old", "spv", "web"]
    assert all(one["created"] for one in made["fleets"]) and not made["left"]
    cluster.scale_and_wait(40, "old")
    cluster.scale_and_wait(40, "web")
    written(tmp_path / "f", "spv", "web")
    said = fleetctl("apply", "-f", folder, "--prune")
    assert said.code == 2 and "asks first" in said.err and len(cluster.records()) == 3
    plan = fleetctl("apply", "-f", folder, "--prune", "--diff")
    assert "old: deleted, with 40 VMs" in plan.out and "spv: unchanged" in plan.out
    assert not any(one.deleting for one in cluster.records().values())
    done = fleetctl("apply", "-f", folder, "--prune", "--yes", "-o", "json").json
    assert [one["fleet"] for one in done["deleted"]] == ["old"]
    cluster.apply("later")
    eventually(lambda: "old" not in cluster.records(), "the fleet is gone")
    assert set(cluster.records()) == {"spv", "web", "later"}
    cluster.check("web", 40)


def test_a_fleet_that_was_scaled_since_the_plan_is_not_pruned(cluster: SmallCluster) -> None:
    cluster.apply("spv")
    cluster.apply("web")
    request = wire.PlanFleetsRequest(prune=True)
    request.fleets.add(name="spv", spec=spec())
    *_, gone = cluster.stub.PlanFleets(request, timeout=30).fleets
    assert (gone.fleet, gone.effect) == ("web", wire.FLEET_EFFECT_DELETE)
    cluster.scale_and_wait(24, "web")
    with refused(grpc.StatusCode.ABORTED, "STALE_PLAN"):
        cluster.stub.DeleteFleet(
            wire.DeleteFleetRequest(name="web", plan_token=gone.token), timeout=30
        )
    cluster.check("web", 24)


def test_the_file_that_is_shown_applies_unchanged_and_generations_are_listed(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    folder = written(tmp_path / "f", "spv", more="identity: {user_data: '#cloud-config'}\n")
    assert fleetctl("apply", "-f", str(folder)).code == 0
    cluster.scale_and_wait(30)
    shown = fleetctl("fleets", "show", "spv").out
    again = fleetctl("apply", "-f", "-", text=shown)
    assert again.out == "spv: unchanged, generation 1\n"
    other = shown.replace("memory: 4MiB", "memory: 8MiB")
    assert "generation 2, for VMs created" in fleetctl("apply", "-f", "-", text=other).out
    cluster.scale_and_wait(45)
    listed = fleetctl("fleets", "generations", "spv", "-o", "json").json["generations"]
    assert [(one["generation"], one["current"], one["running"]) for one in listed] == [
        (2, True, 15), (1, False, 30)
    ]  # fmt: skip
    assert listed[0]["fields"][0] | {"setting": False} == {
        "field": "memory", "before": "4MiB", "after": "8MiB", "setting": False
    }  # fmt: skip
    assert "memory: 4MiB -> 8MiB" in fleetctl("fleets", "generations").out
    back = fleetctl("apply", "-f", "-", text=shown)
    assert back.out.startswith("spv: generation 1 again, for VMs created from now on")
    assert fleetctl("fleets", "show", "other").err.startswith("fleetctl: there is no fleet 'other'")


def test_what_is_refused_half_way_says_what_was_not_done(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    cluster.apply("b", spec(network={"bridge": "br0", "prefix": "10.0.0.0/8"}))
    folder = written(tmp_path / "f", "a", "c", "d")
    file = folder / "c.yaml"
    file.write_text(file.read_text() + "network: {bridge: br0, prefix: 10.0.0.0/8}\n")
    said = fleetctl("apply", "-f", str(folder))
    assert said.code == 1 and said.out.startswith("a: created") and "overlaps" in said.err
    assert "not done, or not known to be: c, d" in said.err
    assert set(cluster.records()) == {"a", "b"}
    planned = fleetctl("apply", "-f", str(folder), "--diff")
    assert planned.code == 1 and "overlaps" in planned.err


SCHEDULE = """\
schedule:
  time_zone: Europe/Berlin
  points:
    - {at: "0 8 * * 1-5", total: 40}
    - {at: "0 20 * * *", total: 8}
"""


def test_a_schedule_is_told_first_shown_and_given_back_and_a_total_for_a_time_holds_over_it(
    cluster: SmallCluster, fleetctl: Fleetctl, tmp_path: Path
) -> None:
    file = str(written(tmp_path / "f", "tides", more=SCHEDULE) / "tides.yaml")
    try:
        (plan,) = fleetctl("apply", "-f", file, "--diff", "-o", "json").json["fleets"]
        assert "or the next point of its schedule" in plan["says"][0]
        assert fleetctl("apply", "-f", file).code == 0
        (one,) = (f for f in fleetctl("fleets", "-o", "json").json["fleets"] if f["total"] == 0)
        assert one["schedule"]["time_zone"] == "Europe/Berlin"
        assert one["schedule"]["next"]["total"] in (8, 40)
        told = fleetctl("scale", "tides", "--total", "16", "--for", "2h", "-o", "json").json
        assert told["outcome"] == "done" and told["schedule"]["held_until"]["total"] in (0, 8, 40)
        status = fleetctl("status", "tides")
        assert "  schedule     until 20" in status.out and "Europe/Berlin time" in status.out
        shown = fleetctl("fleets", "show", "tides").out
        assert shown.startswith("# total 16; until 20")
        Path(file).write_text(shown)
        assert fleetctl("apply", "-f", file).out == "tides: unchanged, generation 1\n"
        too_many = shown.replace("total: 40", "total: 100000")
        Path(file).write_text(too_many)
        said = fleetctl("apply", "-f", file, "--diff")
        assert said.code == 1 and "largest total of its schedule is 100,000" in said.err
    finally:
        cluster.remove("tides")
