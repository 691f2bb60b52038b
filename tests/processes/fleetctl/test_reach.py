"""Which cluster fleetctl speaks to, as whom, and what it says when it cannot."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import cluster_pb2 as wire
from fleetctl.local.certificate_authority import Authority, write_identity
from megafleet.connection.replicas.failure import Failure, trouble
from megafleet.contexts import ClusterContext, editing
from tests.certificates import authority, issue
from tests.processes.controller_double import ControllerDouble, accepted, status
from tests.processes.fleetctl_process import Fleetctl


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        double.on("Status", status())
        yield double


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    return issue(tmp_path / "alice", Role.OPERATOR, "alice")


@pytest.fixture
def closed_port() -> Iterator[str]:
    """An endpoint at which nothing listens, and nothing can while the test runs."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


def test_nothing_listens(tmp_path: Path, alice: Path, closed_port: str) -> None:
    said = Fleetctl(tmp_path, (closed_port,), alice)("status")
    assert said.code == 4
    assert said.err == (
        f"fleetctl: cannot reach the controller at {closed_port}: nothing listens there\n"
    )


def test_the_next_endpoint_is_tried(
    tmp_path: Path, alice: Path, closed_port: str, controller: ControllerDouble
) -> None:
    said = Fleetctl(tmp_path, (closed_port, controller.endpoint), alice)("status")
    assert said.code == 0 and "1,000 VMs wanted  converged" in said.out


def test_a_standby_names_the_leader(
    tmp_path: Path, alice: Path, controller: ControllerDouble
) -> None:
    with ControllerDouble(name="c2") as standby:
        code = grpc.StatusCode.FAILED_PRECONDITION
        named = {"leader_address": controller.endpoint}
        standby.on("Status", Refusal(code, "NOT_LEADER", "this replica stands by", named))
        assert Fleetctl(tmp_path, (standby.endpoint,), alice)("status").code == 0


def test_without_any_leader_it_asks_until_one_is_elected(tmp_path: Path, alice: Path) -> None:
    with ControllerDouble() as double:
        refusal = Refusal(grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", "nobody leads")
        double.refusing("Status", refusal, times=2)
        double.on("Status", status())
        assert Fleetctl(tmp_path, (double.endpoint,), alice)("status").code == 0
        assert len(double.asked("Status")) == 3


def test_without_any_leader_it_gives_up_in_time(
    tmp_path: Path, alice: Path, controller: ControllerDouble
) -> None:
    controller.on("Status", Refusal(grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", "nobody leads"))
    said = Fleetctl(tmp_path, (controller.endpoint,), alice)("status", "--request-timeout", "1")
    assert (said.code, said.err) == (
        4,
        "fleetctl: no controller leads at the moment: nobody leads\n",
    )


def test_a_controller_that_does_not_answer(tmp_path: Path, alice: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        said = Fleetctl(tmp_path, (endpoint,), alice)("status", "--request-timeout", "0.5")
    assert said.code == 4
    assert said.err.startswith(f"fleetctl: no answer from {endpoint} within 0.5 s")


def test_a_viewer_may_not_scale(tmp_path: Path, controller: ControllerDouble) -> None:
    why = "viewer/bob may not do this; it takes the role operator"
    controller.on("Scale", Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED", why))
    bob = issue(tmp_path / "bob", Role.VIEWER, "bob")
    said = Fleetctl(tmp_path, (controller.endpoint,), bob)("scale", "--total", "1")
    assert (said.code, said.err) == (4, f"fleetctl: not allowed: {why}\n")


def test_a_certificate_of_another_authority(tmp_path: Path, controller: ControllerDouble) -> None:
    stranger = Authority.create("Stranger").identity(Role.OPERATOR, "alice")
    write_identity(tmp_path / "me", stranger)
    said = Fleetctl(tmp_path, (controller.endpoint,), tmp_path / "me")("status")
    assert said.code == 4
    assert said.err == (
        f"fleetctl: not allowed: {controller.endpoint} and these certificates do not trust each "
        f"other; are they of this cluster, and not expired?\n"
    )


def test_a_certificate_that_expired(tmp_path: Path, controller: ControllerDouble) -> None:
    expired = authority().identity(Role.OPERATOR, "alice", valid=timedelta(minutes=-1))
    write_identity(tmp_path / "me", expired)
    said = Fleetctl(tmp_path, (controller.endpoint,), tmp_path / "me")("status")
    assert said.code == 4
    assert said.err.startswith(f"fleetctl: not allowed: {tmp_path}/me/cert.pem expired on ")


def test_a_certificate_that_its_own_authority_did_not_sign(
    tmp_path: Path, alice: Path, controller: ControllerDouble
) -> None:
    stranger = Authority.create("Stranger").issue(Role.OPERATOR, "alice")
    (alice / "cert.pem").write_bytes(stranger.certificate)
    (alice / "key.pem").write_bytes(stranger.key)
    said = Fleetctl(tmp_path, (controller.endpoint,), alice)("status")
    assert (said.code, said.err) == (
        4,
        f"fleetctl: not allowed: {alice}/cert.pem is not signed by {alice}/ca.pem\n",
    )


def test_a_server_that_is_no_controller(tmp_path: Path, alice: Path) -> None:
    agent = authority().identity(Role.AGENT, "h1", ["127.0.0.1"])
    with ControllerDouble(own=agent) as impostor:
        impostor.on("Status", status())
        said = Fleetctl(tmp_path, (impostor.endpoint,), alice)("status")
        assert said.code == 4 and not impostor.requests


@pytest.mark.parametrize("file", ["ca.pem", "cert.pem", "key.pem"])
def test_certificate_files_that_are_missing_or_broken(
    tmp_path: Path, alice: Path, controller: ControllerDouble, file: str
) -> None:
    fleetctl = Fleetctl(tmp_path, (controller.endpoint,), alice)
    (alice / file).write_text("junk")
    said = fleetctl("status")
    assert (said.code, said.err) == (4, f"fleetctl: {alice / file} is not a PEM file\n")
    (alice / file).unlink()
    said = fleetctl("status")
    assert said.code == 4
    assert said.err.startswith(f"fleetctl: cannot read {alice / file}: No such file or directory")
    (alice / file).write_text("-----BEGIN CERTIFICATE-----\njunk\n-----END CERTIFICATE-----\n")
    assert fleetctl("status").code == 4


def test_nothing_names_a_cluster(tmp_path: Path) -> None:
    said = Fleetctl(tmp_path)("status")
    assert said.code == 4 and said.err.startswith("fleetctl: no cluster is named: start one with")


def test_a_context_of_the_file_is_used_and_flags_outrank_it(
    tmp_path: Path, alice: Path, closed_port: str, controller: ControllerDouble
) -> None:
    fleetctl = Fleetctl(tmp_path)
    with editing(tmp_path / "config.toml") as contexts:
        contexts.named["here"] = ClusterContext.with_identity([controller.endpoint], alice)
        contexts.named["gone"] = ClusterContext.with_identity([closed_port], alice)
        contexts.current = "gone"
    assert fleetctl("status").code == 4
    assert fleetctl("status", "--context", "here").code == 0
    assert fleetctl("--context", "here", "status").code == 0
    assert fleetctl("status", "--endpoint", controller.endpoint).code == 0
    said = fleetctl("status", "--context", "nope")
    assert said.code == 2 and "there are: here, gone" in said.err


def test_what_the_controller_says_cannot_steer_the_terminal(
    tmp_path: Path, alice: Path, controller: ControllerDouble
) -> None:
    controller.on("Status", Refusal(grpc.StatusCode.NOT_FOUND, "X", "no \x1b[31m fleet"))
    said = Fleetctl(tmp_path, (controller.endpoint,), alice)("status")
    assert (said.code, said.err) == (1, "fleetctl: no \\x1b[31m fleet\n")


def test_proxies_of_the_machine_are_not_used(
    tmp_path: Path,
    alice: Path,
    closed_port: str,
    controller: ControllerDouble,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://{closed_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert Fleetctl(tmp_path, (controller.endpoint,), alice)("status").code == 0  # fmt: skip


def test_a_change_without_an_answer_may_have_been_carried_out(
    tmp_path: Path, alice: Path, controller: ControllerDouble
) -> None:
    never = threading.Event()
    controller.on("Scale", lambda request: never.wait(20) and accepted())
    fleetctl = Fleetctl(tmp_path, (controller.endpoint,), alice)
    said = fleetctl("scale", "--total", "1", "--request-timeout", "0.5")
    never.set()
    assert said.code == 4
    assert said.told == (
        f"fleetctl: no answer from {controller.endpoint} within 0.5 s; it may have been done all "
        "the same, see 'fleetctl history'\n"
    )


def test_a_change_says_until_when_it_is_waited_for(
    tmp_path: Path, alice: Path, controller: ControllerDouble
) -> None:
    controller.instant = wire.InstantResponse(leadership="c1 1.7", seconds=5000.0)
    controller.on("Scale", accepted())
    fleetctl = Fleetctl(tmp_path, (controller.endpoint,), alice)
    said = fleetctl("scale", "--total", "1000", "--no-wait", "--request-timeout", "20")
    assert said.code == 0
    (told,) = controller.bounds
    seconds, _, leadership = told.partition(" ")
    assert leadership == "c1 1.7" and 5000.0 < float(seconds) <= 5020.0


def test_a_change_that_came_late_is_asked_for_again_with_a_new_bound(
    tmp_path: Path, alice: Path, controller: ControllerDouble
) -> None:
    """Another controller leads by now."""
    controller.instant = wire.InstantResponse(leadership="c1 1.7", seconds=5000.0)
    late = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "LATE", "asked of another one")
    controller.refusing("Scale", late, times=1)
    controller.on("Scale", accepted())
    fleetctl = Fleetctl(tmp_path, (controller.endpoint,), alice)
    assert fleetctl("scale", "--total", "1000", "--no-wait").code == 0
    assert len(controller.bounds) == 2


def test_a_drain_that_is_followed_over_a_failover_is_asked_for_once(
    tmp_path: Path, alice: Path, controller: ControllerDouble
) -> None:
    """Somebody else may have cancelled it meanwhile, by the next leader."""
    with ControllerDouble() as other:
        leaves = Refusal(grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", "it leads no more")
        controller.streams["Drain"] = [wire.DrainProgress(left=9), leaves]
        other.streams["Drain"] = [wire.DrainProgress(left=3), wire.DrainProgress(done=True)]
        endpoints = (controller.endpoint, other.endpoint)
        said = Fleetctl(tmp_path, endpoints, alice)("hosts", "drain", "h1", "--yes")
        assert said.code == 0, said
        assert controller.asked("Drain") == [wire.DrainRequest(host="h1")]
        assert other.asked("Drain") == [wire.DrainRequest(host="h1", watch_only=True)]


def test_a_change_that_no_controller_was_asked_for_is_certain_not_to_be_made(
    tmp_path: Path, alice: Path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"127.0.0.1:{silent.getsockname()[1]}"
        fleetctl = Fleetctl(tmp_path, (endpoint,), alice)
        said = fleetctl("scale", "--total", "1", "--request-timeout", "0.5")
    assert said.code == 4
    assert said.err == (f"fleetctl: no answer from {endpoint} within 0.5 s; nothing was changed\n")


def test_a_name_that_resolves_to_nothing(tmp_path: Path, alice: Path) -> None:
    fleetctl = Fleetctl(tmp_path, ("controller.invalid:7440",), alice)
    said = fleetctl("status", "--request-timeout", "20")
    assert said.code == 4 and said.err.count("\n") == 1
    assert "controller.invalid:7440" in said.err


def test_a_controller_that_is_stopped_is_not_taken_for_one_that_distrusts() -> None:
    """What gRPC says after 20 s of a handshake with a socket that nobody reads."""
    said = (
        "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:7440: "
        "Handshake read failed (Endpoint closing)"
    )
    failure = Failure("127.0.0.1:7440", grpc.StatusCode.UNAVAILABLE, said, "")
    assert failure.untouched
    told = trouble([failure], 30.0)
    assert told.message == (
        "the controller at 127.0.0.1:7440 takes connections and says nothing: it may be stopped"
    )
