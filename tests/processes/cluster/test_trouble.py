"""Processes killed, paused and filled while a fleet changes: what is left is what was asked for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from fleet.ranges import IndexSet
from fleet.transport import Role, detail_of
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment
from fleet_controller.settings import parse
from tests.certificates import issue
from tests.processes.daemons import (
    Controller,
    Daemon,
    Hollow,
    channel_to,
    eventually,
    pause,
    resume,
    stub_for,
)
from tests.processes.small_cluster import RUNNING, SmallCluster, spec

pytest_plugins = ["tests.processes.cluster_fixtures"]

HOSTS = 24
# Boots of 20 VMs on each host take two seconds.
SLOW = spec(admission=types.Admission(parallel=250, per_second=10))
TOTAL = HOSTS * 20


def begin_slow_scale(cluster: SmallCluster) -> dict[str, Assignment]:
    """Return in the midst of it, with the division as it is in etcd."""
    cluster.apply(template=SLOW)
    cluster.scale(TOTAL)
    eventually(lambda: cluster.fleet().states[RUNNING] >= HOSTS, "the first VMs run")
    assert cluster.fleet().states[RUNNING] < TOTAL
    return cluster.assignments()


def test_a_controller_killed_in_the_midst_of_a_scale_goes_on_where_it_was(
    cluster: SmallCluster,
) -> None:
    division = begin_slow_scale(cluster)
    cluster.controller.kill()
    made = [hollow.listing() for hollow in cluster.hollows]
    cluster.controller.start()
    cluster.until_converged(TOTAL)
    cluster.check("spv", TOTAL)
    assert cluster.assignments() == division, "nothing was moved or born again"
    for hollow, before in zip(cluster.hollows, made, strict=True):
        for uid, had in before.items():
            assert hollow.listing()[uid]["births"].keys() == had["births"].keys()


def test_killed_hosts_come_back_to_what_they_were_told_and_no_other_vm_is_made_anew(
    cluster: SmallCluster,
) -> None:
    division = begin_slow_scale(cluster)
    dead, alive = cluster.hollows
    uid = cluster.records()["spv"].uid
    births = alive.listing()[uid]["births"].keys()
    dead.kill()
    eventually(lambda: cluster.status().hosts.unreachable == len(dead.hosts), "seen as gone")
    status = cluster.fleet()
    assert status.states[types.VM_STATE_UNKNOWN] == len(dead.hosts) * 20
    assert {problem.kind for problem in status.problems} == {"host_unreachable"}
    cluster.assert_division("spv", TOTAL)
    dead.start()
    cluster.until_converged(TOTAL)
    cluster.check("spv", TOTAL)
    assert cluster.assignments() == division
    assert alive.listing()[uid]["births"].keys() == births


def test_what_an_unreachable_host_still_holds_is_given_to_nobody(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(TOTAL)
    dead = cluster.hollows[1]
    dead.kill()
    shares = len(dead.hosts) * 20
    eventually(lambda: cluster.status().hosts.unreachable == len(dead.hosts), "seen as gone")
    cluster.scale(0)
    eventually(lambda: cluster.fleet().releasing == shares, "the others have let go")
    cluster.scale(TOTAL)
    eventually(lambda: cluster.fleet().states[RUNNING] == TOTAL - shares, "the rest runs again")
    status = cluster.fleet()
    (reason,) = status.unplaced_reasons
    assert (reason.reason, reason.count, status.converged) == ("releasing", shares, False)
    uid = cluster.records()["spv"].uid
    held = IndexSet.union_of(
        stone.ranges for host in dead.hosts for stone in cluster.assignments()[host].tombstones
    )
    assert len(held) == shares and cluster.assigned_once(uid).isdisjoint(held)
    cluster.assert_division("spv", TOTAL)
    dead.start()
    cluster.until_converged(TOTAL)
    cluster.check("spv", TOTAL)


def test_hosts_that_hang_for_a_while_do_in_the_end_what_was_asked_last(
    cluster: SmallCluster,
) -> None:
    cluster.apply()
    cluster.scale_and_wait(TOTAL)
    hanging = cluster.hollows[1]
    pause(hanging)
    try:
        uid = cluster.records()["spv"].uid
        for total in (0, TOTAL // 2, TOTAL, 100, 300):
            cluster.scale(total)
            cluster.assigned_once(uid)
    finally:
        resume(hanging)
    cluster.until_converged(300)
    cluster.check("spv", 300)


def test_without_etcd_a_scale_is_refused_in_time_and_nothing_changes(
    cluster: SmallCluster,
) -> None:
    cluster.apply()
    cluster.scale_and_wait(TOTAL)
    division = cluster.assignments()
    uid = cluster.records()["spv"].uid
    cluster.etcd.kill()
    request = wire.ScaleRequest(fleet="spv", total=5)
    with pytest.raises(grpc.RpcError) as refusal:
        cluster.stub.Scale(request, timeout=15)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
    assert detail_of(refusal.value).reason in ("STORE_UNAVAILABLE", "NOT_LEADER")
    assert "etcd" in (refusal.value.details() or "")
    assert sum(hollow.listing()[uid]["running"] for hollow in cluster.hollows) == TOTAL
    cluster.etcd.start()
    cluster.until_converged(TOTAL)
    assert cluster.assignments() == division
    cluster.check("spv", TOTAL)
    cluster.scale_and_wait(30)
    cluster.check("spv", 30)


def test_etcd_killed_in_the_midst_of_a_scale_costs_time_only(cluster: SmallCluster) -> None:
    begin_slow_scale(cluster)
    cluster.etcd.kill()
    cluster.etcd.start()
    cluster.until_converged(TOTAL)
    cluster.check("spv", TOTAL)


def test_a_scale_that_meets_the_death_of_etcd_is_told_the_truth(cluster: SmallCluster) -> None:
    cluster.apply()
    cluster.scale_and_wait(TOTAL)

    def scale() -> str:
        try:
            cluster.stub.Scale(wire.ScaleRequest(fleet="spv", total=60), timeout=30)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
            return detail_of(error).reason
        return "accepted"

    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(scale)
        cluster.etcd.kill()
        cluster.etcd.start()
        outcome = told.result(60)
    total = cluster.records()["spv"].total
    match outcome:
        case "accepted":
            assert total == 60
        case "STORE_UNAVAILABLE" | "NOT_LEADER":
            assert total == TOTAL
        case _:
            assert outcome == "OUTCOME_UNKNOWN"
    cluster.until_converged(total)
    cluster.check("spv", total)


def test_a_second_host_with_the_same_certificate_is_refused_and_reported(
    expendable: SmallCluster, tmp_path: Path
) -> None:
    expendable.apply()
    expendable.scale_and_wait(40)
    twin = Hollow(tmp_path, 3, 3, expendable.controller.address, name="twin")
    twin.start()
    try:
        said = eventually(
            lambda: [
                one for one in expendable.events("host_refused") if one.host == "hollow-00003"
            ],
            "the twin is refused",
        )
        assert "two dom0s use one certificate" in said[0].message
        assert twin.listing() == {}
        expendable.check("spv", 40)
    finally:
        twin.kill()


def test_a_standby_passes_calls_on_and_takes_over(cluster: SmallCluster, tmp_path: Path) -> None:
    cluster.apply()
    cluster.scale_and_wait(TOTAL)
    division = cluster.assignments()
    first = cluster.controller
    second = Controller(tmp_path, f"etcd://{cluster.etcd.endpoint}", "controller-2")
    with channel_to(second.address) as channel:
        stub = stub_for(channel)
        try:
            second.start()
            said = stub.Version(wire.VersionRequest(), timeout=15)
            assert not said.leader and said.leader_address == first.address
            assert stub.Status(wire.StatusRequest(), timeout=15).fleets[0].converged
            first.kill()
            eventually(
                lambda: stub.Status(wire.StatusRequest(), timeout=15).fleets[0].converged,
                "the standby leads and has heard all hosts",
            )
            assert cluster.assignments() == division
        finally:
            first.start()
            assert second.stop() == 0
    cluster.until_converged(TOTAL)
    cluster.check("spv", TOTAL)


def test_a_controller_killed_between_two_transactions_ends_with_what_was_asked_for(
    tmp_path: Path,
) -> None:
    hosts, per_host = 140, 4
    with SmallCluster(tmp_path, hosts=hosts, per_host=per_host) as cluster:
        cluster.apply()
        with ThreadPoolExecutor(1) as pool:
            scaling = pool.submit(cluster.scale, hosts * per_host)
            eventually(lambda: cluster.stored("assignments/"), "the first assignments")
            cluster.controller.kill()
            scaling.exception(60)
        before = cluster.assignments()
        cluster.controller.start()
        cluster.until_converged(hosts * per_host)
        cluster.check("spv", hosts * per_host)
        after = cluster.assignments()
        assert all(after[host] == one for host, one in before.items())
        revision = cluster.revision()
        cluster.scale_and_wait(0)
        assert cluster.revision() - revision <= -(-hosts // 127) + 1
        cluster.check("spv", 0)


def test_a_record_that_nobody_understands_takes_out_its_host_and_nothing_else(
    expendable: SmallCluster,
) -> None:
    cluster = expendable
    cluster.apply()
    cluster.scale_and_wait(40)
    good = cluster.stored("assignments/")["hollow-00002"]
    cluster.put("assignments/hollow-00002", b'{"shards": 7}')

    def problems() -> str:
        return "; ".join(one.example for one in cluster.status("spv").fleets[0].problems)

    named = "the store's key assignments/hollow-00002 cannot be understood"
    eventually(lambda: named in problems(), "the record is named")
    assert cluster.controller.running and "Traceback" not in cluster.controller.said()
    assert cluster.hollows[0].listing()[cluster.records()["spv"].uid]["running"] == 40
    cluster.put("assignments/hollow-00002", good)
    eventually(lambda: named not in problems(), "the record is mended")
    cluster.until_converged(40)
    cluster.check("spv", 40)


def test_a_controller_with_too_few_descriptors_says_so_and_goes_on_with_what_it_reaches(
    tmp_path: Path,
) -> None:
    cluster = SmallCluster(tmp_path, hosts=12, per_host=4, processes=1)
    cluster.controller.files = 256 + 8
    cluster.live = 8
    with cluster:
        eventually(lambda: cluster.status().hosts.total == 12, "all have announced themselves")
        cluster.apply()
        cluster.scale(32)
        eventually(lambda: cluster.fleet().states[RUNNING] == 32, "what can be reached runs")
        (problem,) = cluster.fleet().problems
        assert (problem.kind, problem.hosts) == ("host_unreachable", 4)
        assert "may open too few files for more than 8 hosts; raise its limit" in problem.example


# Daemons that cannot start


class _Short(Daemon):
    """A controller that is expected to end by itself."""

    def end(self) -> tuple[int, str]:
        assert self._process is not None
        return self._process.wait(60), self.said()


def test_a_controller_that_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    identity = issue(tmp_path / "identity", Role.CONTROLLER, "c")
    (tmp_path / "broken").mkdir()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / "broken" / name).write_text("not a certificate")
        (tmp_path / "broken" / name).chmod(0o600)
    there = ("--identity", str(identity))
    cases: list[tuple[str, tuple[str, ...]]] = [
        ("No such file", ("--store", "memory:", "--identity", str(tmp_path / "none"))),
        ("cert.pem: it is not PEM", ("--store", "memory:", "--identity",
                                       str(tmp_path / "broken"))),
        ("cannot listen on 192.0.2.1:1", ("--store", "memory:", "--listen", "192.0.2.1:1",
                                             *there)),
    ]  # fmt: skip
    tries = [_Short(f"short-{at}", tmp_path) for at in range(len(cases))]
    for one, (_, options) in zip(tries, cases, strict=True):
        one.launch("fleet-controller", *options)
    for one, (sentence, _) in zip(tries, cases, strict=True):
        code, said = one.end()
        assert (code, "Traceback" in said) == (1, False), said
        assert sentence in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--store", "etcd://nowhere"], "--store: 'nowhere' is not HOST:PORT: it has no port"),
        (["--store", "etcd://::1:2379"], "write an IPv6 address in brackets"),
        (["--listen", "127.0.0.1"], "--listen: '127.0.0.1' is not HOST:PORT: it has no port"),
        (["--listen", "0.0.0.0:7750"], "say with --advertise HOST:PORT where"),
        (["--listen", "[::]:7750"], "say with --advertise HOST:PORT where"),
        (["--advertise", "0.0.0.0:7750"], "--advertise: '0.0.0.0:7750' cannot be dialled"),
        (["--store", "redis://x"], "neither memory: nor etcd://"),
        (["--lease-seconds", "1"], "--lease-seconds is from 3 to 120"),
        (["--lease-seconds", "soon"], "invalid int value"),
    ],
)
def test_settings_that_are_wrong_are_a_mistake_of_usage(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--identity", "/nowhere", *options])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


def test_a_controller_waits_for_an_etcd_that_is_not_there_yet(tmp_path: Path) -> None:
    cluster = SmallCluster(tmp_path, hosts=1)
    cluster.etcd.start()
    cluster.etcd.kill()
    identity = issue(tmp_path / "identity", Role.CONTROLLER, "c")
    ready = tmp_path / "ready"
    waiting = Daemon("waiting", tmp_path)
    waiting.launch(
        "fleet-controller", "--listen", "127.0.0.1:0", "--identity", str(identity),
        "--store", f"etcd://{cluster.etcd.endpoint}", "--ready-file", str(ready),
    )  # fmt: skip
    try:
        eventually(lambda: "waiting for the store" in waiting.said(), "it says that it waits")
        assert not ready.exists()
        cluster.etcd.start()
        eventually(lambda: waiting.must_run() and ready.exists(), "it serves")
        assert waiting.stop() == 0
    finally:
        waiting.kill()
        cluster.etcd.kill()
