"""Fleets made, scaled and deleted on real processes; etcd and the hosts are read after each."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from fleet.v1 import cluster_pb2 as wire
from fleet_controller.store.keys import EVENTS
from tests.processes.daemons import eventually, pause, resume
from tests.processes.small_cluster import RUNNING, SmallCluster, refused, spec

pytest_plugins = ["tests.processes.cluster_fixtures"]

HOSTS = 24
PER_HOST = 40
CAPACITY = HOSTS * PER_HOST
LARGEST = 2**24


def births(cluster: SmallCluster, fleet: str = "spv") -> list[str]:
    """One digest a process of hosts: it changes with every VM that is made or goes."""
    uid = cluster.records()[fleet].uid
    return [hollow.listing()[uid]["births_digest"] for hollow in cluster.hollows]


def cordon(cluster: SmallCluster, host: str, cordoned: bool = True) -> None:
    request = wire.SetCordonRequest(id=host, cordoned=cordoned)
    assert cluster.stub.SetCordon(request, timeout=30).cordoned == cordoned


def test_a_fleet_grows_to_the_brim_shrinks_and_goes_to_zero(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.check("spv", 0)
    for total in (300, CAPACITY, 299, 1, 0, 500):
        cluster.scale_and_wait(total)
        cluster.check("spv", total)


def test_what_runs_stays_while_a_fleet_grows(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(200)
    before = cluster.assignments()
    cluster.scale_and_wait(700)
    uid = cluster.records()["spv"].uid
    after = cluster.assignments()
    assert all(one.indices(uid).issubset(after[host].indices(uid)) for host, one in before.items())
    assert {s for one in before.values() for s in one.shards if s.fleet == uid} <= {
        s for one in after.values() for s in one.shards
    }
    cluster.check("spv", 700)


def test_a_scale_costs_one_transaction_for_each_127_hosts(cluster: SmallCluster) -> None:
    cluster.apply()
    for total in (CAPACITY, 0):
        before = cluster.revision()
        cluster.scale_and_wait(total)
        assert cluster.revision() - before <= -(-HOSTS // 127) + 1
    cluster.check("spv", 0)


def test_nothing_is_written_while_nothing_is_asked_for(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(100)
    (*_, scaled) = cluster.stub.ListEvents(wire.ListEventsRequest(fleet="spv"), timeout=30).events

    def kept() -> bool:
        return any(
            b'"cursor":%d,' % scaled.cursor in one for one in cluster.stored(EVENTS).values()
        )

    eventually(kept, "what was told of it is in the store")
    before = cluster.revision()

    ages: dict[str, float] = {}
    heartbeats: Counter[str] = Counter()

    def all_have_spoken_twice() -> bool:
        for host in cluster.stub.ListHosts(wire.ListHostsRequest(), timeout=30).hosts:
            heartbeats[host.id] += host.report_age_seconds < ages.get(host.id, 0.0)
            ages[host.id] = host.report_age_seconds
        return min(heartbeats.values()) >= 2

    eventually(all_have_spoken_twice, "every host has sent two heartbeats")
    assert cluster.revision() == before
    cluster.check("spv", 100)


def test_a_fleet_made_again_shares_nothing_with_the_deleted_one(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(120)
    old = cluster.records()["spv"]
    cluster.remove("spv")
    assert not cluster.records()
    eventually(lambda: cluster.nothing_left(old.uid), "nothing names the deleted fleet")
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_FLEET") as said:
        cluster.scale(1)
    assert "apply a fleet file first" in said[0]
    cluster.apply()
    new = cluster.records()["spv"]
    assert (new.uid != old.uid, new.number != old.number) == (True, True)
    cluster.scale_and_wait(120)
    cluster.check("spv", 120)


def test_a_fleet_that_is_being_deleted_takes_no_orders(cluster: SmallCluster) -> None:
    cluster.apply(template=spec())
    cluster.scale_and_wait(CAPACITY)
    paused = cluster.hollows[0]
    pause(paused)
    try:
        cluster.stub.DeleteFleet(wire.DeleteFleetRequest(name="spv"), timeout=30)
        for order in (lambda: cluster.scale(5), cluster.apply):
            with refused(grpc.StatusCode.FAILED_PRECONDITION, "FLEET_DELETING"):
                order()
        assert cluster.fleet().deleting
    finally:
        resume(paused)


def test_a_changed_template_is_for_vms_made_from_then_on(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(200)
    before = births(cluster)
    answer = cluster.stub.ApplyFleet(
        wire.ApplyFleetRequest(name="spv", spec=spec(memory_bytes=8 << 20)), timeout=30
    )
    assert (answer.created, answer.changed, answer.fleet.generation) == (False, True, 2)
    again = cluster.stub.ApplyFleet(
        wire.ApplyFleetRequest(name="spv", spec=spec(memory_bytes=8 << 20)), timeout=30
    )
    assert (again.created, again.changed, again.fleet.generation) == (False, False, 2)
    cluster.scale_and_wait(200)
    assert births(cluster) == before
    status = cluster.scale_and_wait(300)
    assert [(g.generation, g.assigned, g.running) for g in status.generations] == [
        (1, 200, 200),
        (2, 100, 100),
    ]
    cluster.check("spv", 300)


def test_a_cordoned_host_keeps_what_it_has_and_gets_nothing_more(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(HOSTS * 5)
    cordon(cluster, "hollow-00003")
    uid = cluster.records()["spv"].uid
    cluster.scale_and_wait(HOSTS * 20)
    assert len(cluster.assignments()["hollow-00003"].indices(uid)) == 5
    cluster.check("spv", HOSTS * 20)
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "BEYOND_CAPACITY") as said:
        cluster.scale(CAPACITY)
    assert "1 more is cordoned, draining or out of reach" in said[0]
    cluster.scale(CAPACITY, partial=True)
    eventually(lambda: cluster.fleet().unplaced == PER_HOST - 5, "all that fits is placed")
    cluster.assert_division("spv", CAPACITY)
    cordon(cluster, "hollow-00003", False)
    cluster.until_converged(CAPACITY)
    cluster.check("spv", CAPACITY)


def test_two_fleets_share_the_hosts_and_stay_apart(cluster: SmallCluster) -> None:
    cluster.apply("red")
    cluster.apply("blue", spec(memory_bytes=16 << 20))
    cluster.scale_and_wait(600, "red")
    cluster.scale_and_wait(360, "blue")
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "BEYOND_CAPACITY") as said:
        cluster.scale(400, "blue")
    assert said[0].startswith("400 VMs do not fit: 360 would.")
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "WHICH_FLEET") as said:
        cluster.scale(1, "")
    assert "blue, red" in said[0]
    cluster.scale(100, "red")
    cluster.scale_and_wait(100, "blue")
    cluster.until_converged(100, "red")
    for fleet in ("red", "blue"):
        cluster.check(fleet, 100)


def test_of_two_scales_at_once_the_later_stands_and_the_earlier_can_tell(
    cluster: SmallCluster,
) -> None:
    cluster.apply()
    with ThreadPoolExecutor(8) as pool:
        totals = (100, 200, 300, 400, 500, 600, 700, 800)
        answers = list(pool.map(cluster.scale, totals))
    by_change = {answer.change: answer.total for answer in answers}
    assert len(by_change) == len(answers)
    status = cluster.until_converged(by_change[max(by_change)])
    assert status.change == max(by_change)
    cluster.check("spv", status.total)


def test_a_plan_says_what_will_happen_and_is_refused_once_stale(cluster: SmallCluster) -> None:
    cluster.apply()
    shown = cluster.scale(480, plan_only=True)
    assert (shown.plan.adds, shown.plan.moves, shown.plan.removes) == (480, 0, 0)
    assert shown.plan.hosts_changed == HOSTS
    assert cluster.records()["spv"].total == 0
    cluster.scale(480, plan_token=shown.plan.token)
    cluster.until_converged(480)
    shown = cluster.scale(500, plan_only=True)
    cluster.scale_and_wait(490)
    with refused(grpc.StatusCode.ABORTED, "STALE_PLAN"):
        cluster.scale(500, plan_token=shown.plan.token)
    cluster.check("spv", 490)


def test_what_does_not_fit_is_refused_with_numbers_or_placed_as_far_as_it_fits(
    cluster: SmallCluster,
) -> None:
    cluster.apply()
    with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "BEYOND_CAPACITY") as said:
        cluster.scale(CAPACITY + 41)
    assert f"{CAPACITY + 41:,} VMs do not fit: {CAPACITY:,} would" in said[0]
    assert "2 more hosts like these would do" in said[0]
    assert "--partial" in said[0]
    cluster.check("spv", 0)
    cluster.scale(CAPACITY + 41, partial=True)
    eventually(lambda: cluster.fleet().states[RUNNING] == CAPACITY, "what fits runs")
    status = cluster.fleet()
    (reason,) = status.unplaced_reasons
    assert (reason.reason, reason.count, reason.first_index) == ("capacity", 41, CAPACITY)
    assert (status.unplaced, status.converged) == (41, False)
    cluster.assert_division("spv", CAPACITY + 41)
    cluster.scale_and_wait(10)
    cluster.check("spv", 10)


@pytest.mark.parametrize("total", [-1, -(2**63), LARGEST + 1, 2**63 - 1])
def test_totals_that_can_never_be_are_refused(cluster: SmallCluster, total: int) -> None:
    cluster.apply()
    for plan_only in (True, False):
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_TOTAL") as said:
            cluster.scale(total, plan_only=plan_only)
        assert f"from 0 to {LARGEST:,}" in said[0]
    cluster.check("spv", 0)


def test_what_is_not_there_is_said_to_be_missing(cluster: SmallCluster) -> None:
    cluster.apply()
    stub = cluster.stub
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_FLEET"):
        cluster.scale(1, "other")
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_FLEET"):
        cluster.status("other")
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_FLEET"):
        stub.DeleteFleet(wire.DeleteFleetRequest(name="other"), timeout=30)
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_HOST"):
        stub.GetHost(wire.GetHostRequest(id="hollow-99999"), timeout=30)
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_HOST"):
        stub.SetCordon(wire.SetCordonRequest(id="../etc", cordoned=True), timeout=30)
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_HOST"):
        stub.ListVms(wire.ListVmsRequest(fleet="spv", host="nowhere"), timeout=30)
    with refused(grpc.StatusCode.NOT_FOUND, "NO_SUCH_VM"):
        stub.GetVm(wire.GetVmRequest(fleet="spv", index=0), timeout=30)
