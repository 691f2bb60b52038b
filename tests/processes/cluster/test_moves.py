"""fleetctl hosts drain and remove, vms stop and the like, rollout: against real daemons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fleet.transport import Role, detail_of
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment
from tests.certificates import issue
from tests.processes.daemons import eventually, pause, resume
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.small_cluster import SmallCluster, spec

pytest_plugins = ["tests.processes.cluster_fixtures"]

HOST = "hollow-00003"


@pytest.fixture
def fleetctl(tmp_path: Path, cluster: SmallCluster) -> Iterator[Fleetctl]:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    yield Fleetctl(tmp_path, (cluster.controller.address,), alice)
    request = wire.DrainRequest(host=HOST, cancel=True)
    list(cluster.stub.Drain(request, timeout=30))


def births(cluster: SmallCluster) -> dict[int, int]:
    return {
        index: shard.birth
        for one in cluster.assignments().values()
        for shard in one.shards
        for index in shard.ranges
    }


def test_a_drained_host_is_empty_and_everything_runs_elsewhere(
    cluster: SmallCluster, fleetctl: Fleetctl
) -> None:
    cluster.apply()
    cluster.scale_and_wait(480)
    before = len(cluster.assignments()[HOST].shards[0].ranges)
    told = fleetctl("hosts", "drain", HOST, "--plan", "-o", "json").json
    assert (told["outcome"], told["moved"], told["unplaced"]) == ("plan", before, 0)
    said = fleetctl("hosts", "drain", HOST, "--yes", "-o", "json")
    assert said.code == 0, said.err
    assert (said.json["outcome"], said.json["left"], said.json["moved"]) == ("done", 0, before)
    cluster.until_converged(480)
    cluster.check("spv", 480)
    assert not cluster.assignments()[HOST].shards
    assert cluster.status().hosts.draining == 1
    assert fleetctl("hosts", "drain", HOST, "--cancel").out == (
        f"{HOST}: not drained; it takes VMs unless it is cordoned\n"
    )
    assert cluster.status().hosts.draining == 0
    cluster.scale_and_wait(600)
    assert cluster.assignments()[HOST].shards


def test_a_drain_without_waiting_goes_on_by_itself(
    cluster: SmallCluster, fleetctl: Fleetctl
) -> None:
    cluster.apply()
    cluster.scale_and_wait(240)
    said = fleetctl("hosts", "drain", HOST, "--yes", "--no-wait")
    assert said.code == 0 and said.out.endswith("; the drain goes on\n"), said
    eventually(lambda: not cluster.assignments().get(HOST, Assignment()).shards, "it is empty")
    cluster.until_converged(240)
    cluster.check("spv", 240)


def test_who_only_watches_a_drain_drains_nothing(cluster: SmallCluster, fleetctl: Fleetctl) -> None:
    cluster.apply()
    cluster.scale_and_wait(240)
    with pytest.raises(grpc.RpcError) as error:
        list(cluster.stub.Drain(wire.DrainRequest(host=HOST, watch_only=True), timeout=30))
    assert detail_of(error.value).reason == "DRAIN_CANCELLED"
    assert cluster.status().hosts.draining == 0


def test_a_drain_that_cannot_end_says_why_and_that_it_goes_on(
    cluster: SmallCluster, fleetctl: Fleetctl
) -> None:
    cluster.apply()
    cluster.scale_and_wait(24 * 40)
    said = fleetctl("hosts", "drain", HOST, "--yes", "--timeout", "3")
    assert said.code == 3, said
    why = "40 VMs fit on no other host and stay where they are: 23 hosts are full at 40 each"
    assert why in said.err
    assert why in fleetctl("hosts", "show", HOST).out
    assert f"drain        {HOST}: 40 left; {why}" in fleetctl("status").out
    assert fleetctl("status", "-o", "json").json["drains"][0]["unplaced"] == 40
    told = fleetctl("hosts", "list", "--draining", "-o", "json").json
    assert ([one["host"] for one in told["hosts"]], told["matching"]) == ([HOST], 1)
    assert "it goes on" in said.err
    cluster.check("spv", 24 * 40)


def test_vms_that_there_are_not_are_named_and_nothing_is_done_to_the_others(
    cluster: SmallCluster, fleetctl: Fleetctl
) -> None:
    cluster.apply()
    cluster.scale_and_wait(24)
    for plan in ((), ("--plan",)):
        said = fleetctl("vms", "stop", "--index", "22-25,99", "--yes", *plan)
        assert (said.code, said.out) == (1, "")
        assert said.err == (
            "fleetctl: fleet spv has VMs 0 to 23: there is no 24-25,99; nothing was done to any\n"
        )
    assert cluster.fleet().powered_off == 0


@pytest.mark.parametrize(
    "command",
    [
        ("hosts", "drain", HOST),
        ("hosts", "remove", HOST),
        ("vms", "stop", "--all"),
        ("rollout", "start"),
    ],
)
def test_what_destroys_asks_first(
    cluster: SmallCluster, fleetctl: Fleetctl, command: tuple[str, ...]
) -> None:
    cluster.apply()
    cluster.scale_and_wait(24)
    cluster.apply(template=spec(vcpus=2))
    said = fleetctl(*command)
    assert said.code == 2 and "give --yes" in said.err
    cluster.check("spv", 24)


def test_a_host_in_use_is_not_removed(cluster: SmallCluster, fleetctl: Fleetctl) -> None:
    cluster.apply()
    cluster.scale_and_wait(240)
    said = fleetctl("hosts", "remove", HOST, "--yes")
    assert said.code == 1 and "10 VMs are assigned to hollow-00003: drain it first" in said.err
    said = fleetctl("hosts", "remove", HOST, "--yes", "--force")
    assert said.code == 1 and "hollow-00003 answers" in said.err
    assert fleetctl("hosts", "remove", "nowhere", "--yes").code == 1
    plan = fleetctl("hosts", "remove", HOST, "--plan").out
    assert plan.endswith(
        "would be refused: it has, or has not let go of, 10 VMs; drain it, or when it is gone for "
        "good give them up with --force\n"
    )
    plan = fleetctl("hosts", "remove", HOST, "--plan", "--force").out
    assert plan.endswith(f"would be refused: {HOST} answers, and its VMs run; drain it\n")


def test_stopped_vms_stay_defined_and_are_no_failure(
    cluster: SmallCluster, fleetctl: Fleetctl
) -> None:
    cluster.apply()
    cluster.scale_and_wait(240)
    plan = fleetctl("vms", "stop", "--index", "0-19", "--plan", "-o", "json").json
    assert (plan["vms"], plan["indices"], plan["outcome"]) == (20, "0-19", "plan")
    said = fleetctl("vms", "stop", "--index", "0-19", "--yes", "--token", plan["token"])
    assert said.code == 0 and said.out.startswith("stop: accepted, 20 VMs on "), said
    again = fleetctl("vms", "stop", "--index", "0-19", "--yes", "--token", plan["token"])
    assert again.code == 1 and "has changed since that plan was made" in again.err
    eventually(lambda: cluster.fleet().states[types.VM_STATE_DEFINED] == 20, "20 are off")
    status = cluster.until_converged(240)
    assert status.powered_off == 20
    assert "20 stopped" in fleetctl("status").out
    listed = fleetctl("vms", "list", "--index", "19-20", "-o", "json").json["vms"]
    assert [(one["state"], one["powered_off"]) for one in listed] == [
        ("defined", True),
        ("running", False),
    ]
    assert "defined, stopped" in fleetctl("vms", "list", "--index", "19").out
    shown = fleetctl("vms", "show", "spv-19")
    assert "defined, stopped" in shown.out and "powered" not in shown.out
    host = fleetctl("hosts", "show", listed[0]["host"], "-o", "json").json
    assert {one["power"] for one in host["shards"]} >= {"off"}
    assert fleetctl("vms", "start", "--all", "--yes").code == 0
    eventually(lambda: not cluster.fleet().powered_off, "none is off")
    cluster.until_converged(240)
    cluster.check("spv", 240)


def test_restarted_vms_keep_their_disks_and_reimaged_ones_do_not(
    cluster: SmallCluster, fleetctl: Fleetctl
) -> None:
    cluster.apply()
    cluster.scale_and_wait(240)
    first = births(cluster)
    assert fleetctl("vms", "restart", "--host", HOST, "--yes").code == 0
    cluster.until_converged(240)
    assert births(cluster) == first
    assert fleetctl("vms", "reimage", "--index", "5-6", "--yes").code == 0
    cluster.until_converged(240)
    eventually(lambda: cluster.status().hosts.converged == cluster.live, "all is done")
    assert {i for i, birth in births(cluster).items() if birth != first[i]} == {5, 6}
    cluster.check("spv", 240)


def test_which_vms_are_meant_must_be_said(cluster: SmallCluster, fleetctl: Fleetctl) -> None:
    cluster.apply()
    for odd in ((), ("--all", "--index", "3")):
        said = fleetctl("vms", "restart", *odd, "--yes")
        assert said.code == 2 and "say which VMs are meant" in said.err


def test_a_rollout_is_followed_to_its_end_and_undone(
    cluster: SmallCluster, fleetctl: Fleetctl
) -> None:
    cluster.apply()
    cluster.scale_and_wait(240)
    assert fleetctl("rollout", "status").code == 1
    assert "have generation 1 already" in fleetctl("rollout", "start", "--yes").err
    cluster.apply(template=spec(vcpus=2))
    plan = fleetctl("rollout", "start", "--plan").out
    assert plan.startswith("spv: 240 VMs would be made anew, from generation 1 to 2")
    said = fleetctl(
        "rollout", "start", "--by-label", "rack", "--max-unavailable", "40", "--yes", "-o", "json"
    )
    assert said.code == 0, said.err
    assert (said.json["state"], said.json["done"], said.json["left"]) == ("done", 240, 0)
    cluster.until_converged(240)
    cluster.check("spv", 240)
    assert [(g.generation, g.running) for g in cluster.fleet().generations] == [(2, 240)]
    said = fleetctl("rollout", "undo", "--yes", "--no-wait")
    assert said.code == 0 and "generation 2 -> 1, running" in said.out
    said = fleetctl("rollout", "pause")
    assert said.code == 0 or "is done: there is nothing to pause" in said.err
    fleetctl("rollout", "resume")
    said = fleetctl("rollout", "status", "--follow")
    assert said.code == 0 and "generation 2 -> 1, done: 240 VMs" in said.out
    cluster.until_converged(240)
    cluster.check("spv", 240)


def test_a_lost_host_is_drained_by_force_without_waiting_for_it(
    cluster: SmallCluster, fleetctl: Fleetctl
) -> None:
    cluster.apply(template=spec(on_loss=types.ON_LOSS_WAIT))
    cluster.scale_and_wait(240)
    hanging = next(one for one in cluster.hollows if HOST in one.hosts)
    held = sum(len(shard.ranges) for shard in cluster.assignments()[HOST].shards)
    for asked in ("--yes", "--plan"):
        refused = fleetctl("hosts", "drain", HOST, "--force", asked)
        assert "only a lost host is drained by force" in refused.err and refused.code
    pause(hanging)
    try:
        gone = len(hanging.hosts)
        eventually(lambda: cluster.status().hosts.live == cluster.live - gone, "they are missed")
        assert f"{HOST} cannot be reached" in fleetctl("hosts", "drain", HOST, "--plan").out
        cluster.stub.DeclareLost(wire.DeclareLostRequest(hosts=[HOST]), timeout=30)
        assert "lost, and is not drained" in fleetctl("hosts", "drain", HOST, "--plan").out
        plan = fleetctl("hosts", "drain", HOST, "--plan", "--force")
        assert f"{HOST}: {held} VMs would move" in plan.out and "lost" not in plan.out
        told = fleetctl("hosts", "drain", HOST, "--yes")
        assert f"{HOST} is declared lost" in told.err
        said = fleetctl("hosts", "drain", HOST, "--force", "--yes", "--timeout", "20", "-o", "json")
        assert (said.code, said.json["outcome"]) == (0, "done")
        assert (said.json["left"], said.json["moved"]) == (0, held)
        told = fleetctl("hosts", "remove", HOST, "--yes")
        assert f"has not yet let go of {held} VMs" in told.err
    finally:
        resume(hanging)
    eventually(lambda: cluster.fleet().duplicates == 0, "nothing runs twice")
    eventually(lambda: cluster.status().hosts.live == cluster.live, "all are back")
    cluster.until_converged(240)
    cluster.check("spv", 240)
