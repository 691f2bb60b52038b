"""Leaders that are killed, stopped or cut from their store, and what goes on meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from fleet.v1 import cluster_pb2 as wire
from fleet_controller.core.events.event_ring import is_kept
from fleetctl.outcome import Unavailable
from megafleet.connection.follow import NoViewer, Waiting, wait
from megafleet.progress import ChangeProgress, Goal, GoalState
from tests.processes.daemons import eventually, pause, resume
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import refused, spec

HANDOVER_SECONDS = 10.0


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedCluster]:
    """12 hosts of 20 VMs in two processes, three controllers, three members of etcd."""
    with ReplicatedCluster(tmp_path_factory.mktemp("failover"), agents_log="info") as cluster:
        request = wire.ApplyFleetRequest(name="spv", spec=spec())
        cluster.client().change(lambda stub: stub.ApplyFleet, request)
        yield cluster


def scale(replicas: ReplicatedCluster, total: int) -> None:
    """As fleetctl scale does it: accepted, then followed over whatever happens."""
    client = replicas.client()
    request = wire.ScaleRequest(fleet="spv", total=total)
    accepted = client.change(lambda stub: stub.Scale, request, again=True)
    waiting = Waiting(
        Goal("spv", total, accepted.change, False), ChangeProgress(time.monotonic(), 0)
    )
    wait(client, waiting, 60.0, NoViewer())
    assert waiting.state is GoalState.DONE
    replicas.check("spv", total)


@contextmanager
def handed_over(replicas: ReplicatedCluster, seconds: float = HANDOVER_SECONDS) -> Iterator[None]:
    """What the block does to the leader lets another one take changes within the time."""
    before = replicas.leader()
    started = time.monotonic()
    yield
    request = wire.SetCordonRequest(id="hollow-00001", cordoned=False)
    client = replicas.client()
    client.change(lambda stub: stub.SetCordon, request, again=True)
    assert time.monotonic() - started < seconds
    assert replicas.leader() is not before


def test_a_leader_that_is_killed_is_followed_by_another(replicas: ReplicatedCluster) -> None:
    scale(replicas, 60)
    before = replicas.digest("spv")
    leader = replicas.leader()
    with handed_over(replicas):
        leader.kill()
    replicas.until_live()
    assert replicas.digest("spv") == before, "the same VMs, none made anew"
    scale(replicas, 120)
    leader.start()


def test_what_a_killed_leader_told_is_told_by_the_next_one(
    replicas: ReplicatedCluster, tmp_path: Path
) -> None:
    fleetctl = Fleetctl(tmp_path, tuple(replicas.endpoints), replicas.operator)
    scale(replicas, 40)
    before = told(fleetctl)
    assert {"fleet_scaled", "leader_elected"} <= {kind for _, kind, _ in before}
    leader = replicas.leader()
    with handed_over(replicas):
        leader.kill()
    after = told(fleetctl)
    assert [one for one in after if one in before] == before, "all of it, in its order"
    assert after[-1] not in before and "leader_elected" in {kind for _, kind, _ in after}
    leader.start()


def test_one_id_of_a_change_is_told_by_fleetctl_the_history_events_and_all_logs(
    replicas: ReplicatedCluster, tmp_path: Path
) -> None:
    scale(replicas, 40)
    standby = replicas.standbys()[0]
    fleetctl = Fleetctl(tmp_path, (standby.address,), replicas.operator)
    said = fleetctl("scale", "spv", "--total", "220", "-v")
    last = said.err.splitlines()[-1]
    assert said.code == 0 and last.startswith("fleetctl: change ")
    change = last.split()[-1]
    lines = fleetctl("history", "-o", "json").json["records"]
    assert [one["action"] for one in lines if one["change_id"] == change] == ["scale"]
    events = fleetctl("events", "-o", "json").json["events"]
    assert [one["kind"] for one in events if one["change_id"] == change] == ["fleet_scaled"]
    assert change in replicas.leader().said()
    for hollow in replicas.hollows:
        steps = [line for line in hollow.said().splitlines() if change in line]
        assert any("assigned" in line for line in steps), hollow.name
        assert any("step" in line and "start" in line for line in steps), hollow.name
    assert fleetctl("status", "-v").err == "", "what only reads has none"
    named = fleetctl("hosts", "cordon", "hollow-00001", "-o", "json").json["change_id"]
    assert named not in ("", change)
    fleetctl("hosts", "uncordon", "hollow-00001")


def told(fleetctl: Fleetctl) -> list[tuple[int, str, str]]:
    """The events that outlive their leader, as fleetctl shows them."""
    events = fleetctl("events", "-o", "json", "--limit", "1000").json["events"]
    return [(one["cursor"], one["kind"], one["message"]) for one in events if is_kept(one["kind"])]


def test_a_question_outlives_a_leader_that_is_stopped(
    replicas: ReplicatedCluster, tmp_path: Path
) -> None:
    scale(replicas, 30)
    leader = replicas.leader()
    others = [one.address for one in replicas.controllers if one is not leader]
    pause(leader)
    try:
        for endpoints in ((leader.address, *others), (*others, leader.address)):
            said = Fleetctl(tmp_path, endpoints, replicas.operator)("status", "spv", "-o", "json")
            assert (said.code, said.json["total"], said.json["read_only"]) == (0, 30, None)
    finally:
        resume(leader)
    replicas.until_live()


def test_a_leader_that_was_stopped_and_wakes_changes_nothing(replicas: ReplicatedCluster) -> None:
    scale(replicas, 50)
    old = replicas.leader()
    for hollow in replicas.hollows:
        pause(hollow)
    with handed_over(replicas):
        # It is stopped with work to do: what it has written it could not yet tell the hosts.
        replicas.stubs[old.name].Scale(wire.ScaleRequest(fleet="spv", total=240), timeout=10)
        pause(old)
    for hollow in replicas.hollows:
        resume(hollow)
    scale(replicas, 80)
    replicas.until_live()
    before, stored = replicas.digest("spv"), replicas.stored()
    resume(old)
    eventually(lambda: standing_by(replicas, old.name), "it stands by")
    eventually(lambda: "not leading" in old.said(), "it has given up all its work")
    # All that it had begun before it was stopped has ended by now.
    assert replicas.stored() == stored, "nothing was written by it"
    assert replicas.digest("spv") == before, "no agent obeyed it"
    assert replicas.leader() is not old
    scale(replicas, 90)


def standing_by(replicas: ReplicatedCluster, name: str) -> bool:
    said = replicas.version_of(name)
    return said is not None and not said.leader and bool(said.leader_address)


def test_a_leader_cut_from_its_store_answers_read_only_until_it_is_back(
    replicas: ReplicatedCluster, tmp_path: Path
) -> None:
    scale(replicas, 70)
    uid = replicas.uid("spv")
    leader = replicas.leader()
    for member in replicas.members[:2]:
        member.kill()
    client = replicas.client()

    def recalled() -> bool:
        client.call(lambda stub: stub.Status, wire.StatusRequest(fleet="spv"))
        return client.read_only is not None

    eventually(recalled, "answers are read-only", HANDOVER_SECONDS)
    fleetctl = Fleetctl(tmp_path, tuple(replicas.endpoints), replicas.operator)
    shown = fleetctl("status", "spv", "-o", "json")
    assert shown.code == 0 and shown.json["states"]["running"] == 70
    assert "no controller leads" in shown.json["read_only"] and shown.json["as_of_seconds"] > 0
    for command in (("hosts",), ("vms",), ("fleets",), ("events",)):
        said = fleetctl(*command)
        assert said.code == 0 and "read-only, as of" in said.err, command
        assert leader.name in said.err
    with refused(grpc.StatusCode.UNAVAILABLE, "NOT_LEADER") as why:
        replicas.stubs[leader.name].Scale(wire.ScaleRequest(fleet="spv", total=1), timeout=10)
    assert "etcd" in why[0] and "cannot be reached" in why[0]
    assert replicas.running(uid) == 70, "no VM is stopped for want of a controller"
    for member in replicas.members[:2]:
        member.begin()
    scale(replicas, 75)
    assert client.call(lambda stub: stub.Status, wire.StatusRequest()).read_only == ""
    assert client.read_only is None


def test_a_replica_that_never_led_and_knows_no_leader_says_so(replicas: ReplicatedCluster) -> None:
    replicas.leader()
    standby = replicas.standbys()[0]
    standby.kill()
    standby.start()
    others = [one for one in replicas.parts.values() if one is not standby]
    stopped = [one for one in others if one.name.startswith(("etcd", "controller"))]
    for one in stopped:
        one.kill()
    client = replicas.client([standby.address], timeout=2.0)
    with pytest.raises(Unavailable) as said:
        client.call(lambda stub: stub.Status, wire.StatusRequest())
    assert "cannot be reached" in said.value.message
    for one in stopped:
        one.begin()
    replicas.until_live()


def test_a_wait_outlives_leaders_that_are_stopped_and_killed(
    replicas: ReplicatedCluster, tmp_path: Path
) -> None:
    scale(replicas, 100)
    for hollow in replicas.hollows:
        pause(hollow)
    fleetctl = Fleetctl(tmp_path, tuple(replicas.endpoints), replicas.operator)
    scaling = fleetctl.start("scale", "spv", "--total", "200", "--timeout", "90")
    eventually(lambda: replicas.total("spv") == 200, "the change is accepted")
    first = replicas.leader()
    pause(first)
    eventually(lambda: replicas.leader() is not first, "another leads")
    second = replicas.leader()
    second.kill()
    second.start()
    resume(first)
    for hollow in replicas.hollows:
        resume(hollow)
    out, err = scaling.communicate(timeout=90)
    assert scaling.returncode == 0, err
    assert "200 VMs running" in out
    replicas.check("spv", 200)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedCluster]:
    """4 hosts, three controllers whose leases last a minute, one etcd."""
    folder = tmp_path_factory.mktemp("patient")
    with ReplicatedCluster(
        folder, hosts=4, per_host=10, processes=1, members=1, lease_seconds=60
    ) as cluster:
        request = wire.ApplyFleetRequest(name="spv", spec=spec())
        cluster.client().change(lambda stub: stub.ApplyFleet, request)
        yield cluster


def test_a_leader_whose_process_is_gone_is_not_waited_for(patient: ReplicatedCluster) -> None:
    leader = patient.leader()
    with handed_over(patient):
        leader.kill()
    leader.start()
    scale(patient, 12)


def test_silence_alone_ends_no_leadership(patient: ReplicatedCluster) -> None:
    leader = patient.leader()
    scale(patient, 15)
    stored = patient.stored()
    pause(leader)
    client = patient.client(timeout=8.0)
    with pytest.raises(Unavailable):
        client.call(lambda stub: stub.Status, wire.StatusRequest())
    resume(leader)
    assert patient.leader() is leader
    assert patient.stored() == stored
    scale(patient, 18)


def test_a_dead_member_of_etcd_is_named_in_status_version_and_events(
    replicas: ReplicatedCluster, tmp_path: Path
) -> None:
    fleetctl = Fleetctl(tmp_path, tuple(replicas.endpoints), replicas.operator)
    dead = replicas.members[2]

    def store() -> dict[str, Any]:
        told: dict[str, Any] | None = fleetctl("status", "-o", "json").json["store"]
        return told or {"members": [], "troubles": ["not looked at"]}

    eventually(lambda: store()["troubles"] == [], "all members are up", 40.0)
    dead.kill()
    eventually(lambda: bool(store()["troubles"]), "it is missed", 40.0)
    reachable = {one["name"]: one["reachable"] for one in store()["members"]}
    assert reachable == {one.name: one is not dead for one in replicas.members}
    shown = fleetctl("status").out
    assert "2 of 3 members" in shown and f"member {dead.name} at {dead.client}" in shown
    eventually(lambda: dead.name in fleetctl("version").out, "version names it", 40.0)
    events = [one for one in fleetctl("events").out.splitlines() if dead.name in one]
    # Once by each replica that has led since: the dead member may have been why it changed.
    assert 1 <= len(events) <= len(replicas.endpoints)
    assert all("store_degraded" in one for one in events)
    dead.begin()
    eventually(lambda: store()["troubles"] == [], "it is back", 40.0)
    assert "store_mended" in fleetctl("events").out
