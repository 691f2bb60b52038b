"""Bare machines that become hosts: fleet-agent, controllers and etcd as processes."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from fleet.certificates.certificate import read_certificate
from fleet.certificates.join_token import JoinToken
from fleet.certificates.signing_request import make_request
from fleet.transport import CONTROLLER_NAME, Identity, channel_options, detail_of
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import joining_pb2 as joining
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleet_agent.joining.pinning import Stranger, authority_of
from tests.certificates import authority
from tests.doubles.joining_hosts import join_request
from tests.processes.cluster.joining_cluster import (
    JoiningCluster,
    Machine,
    agent_of,
    join_by_hand,
    joining_cluster,
)
from tests.processes.daemons import channel_to, eventually, stub_for
from tests.processes.etcd_process import free_ports


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JoiningCluster]:
    """Two controllers. Its processes are not to be touched."""
    with joining_cluster(tmp_path_factory.mktemp("joining"), controllers=2) as made:
        yield made


def test_a_bare_machine_joins_at_a_standby_and_is_a_live_host(
    cluster: JoiningCluster, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, "dom0-1")
    token = cluster.create_token("--name", "dom0-*", "--label", "rack=r07", "--cidr", "127.0.0.0/8")
    said = machine.join(token, cluster.join_addresses[cluster.standby().name])
    assert said.returncode == 0, said.stderr
    told = json.loads(said.stdout)
    assert told["host"] == "dom0-1" and told["labels"] == {"rack": "r07"}
    assert set(told["controllers"]) == {one.address for one in cluster.controllers}
    assert (machine.identity / "key.pem").stat().st_mode & 0o777 == 0o600
    with agent_of(machine):
        host = cluster.until_live("dom0-1")
        assert host.labels["rack"] == "r07"
        left = host.certificate_expires_unix - time.time()
        assert 13.9 * 86_400 < left < 14.1 * 86_400
    listed = cluster.fleetctl("tokens", "list", "-o", "json").json["tokens"]
    mine = next(one for one in listed if one["id"] == JoinToken.parse(token).id)
    assert (mine["state"], mine["uses"]) == ("used", 1)
    history = cluster.fleetctl("history", "--host", "dom0-1").out
    assert "use 1 of 1, from 127.0.0.1" in history and "made by operator/tester" in history


def test_a_token_is_read_from_stdin_be_it_a_pipe_or_the_socket_of_ssh(
    cluster: JoiningCluster, tmp_path: Path
) -> None:
    for name, (ours, theirs) in {"piped": os.pipe()[::-1], "by-ssh": _sockets()}.items():
        (tmp_path / name).mkdir()
        machine = Machine(tmp_path / name, name)
        os.write(ours, f"{cluster.create_token()}\n".encode())
        os.close(ours)
        where = cluster.join_addresses[cluster.leader().name]
        said = machine.join("none", where, "--token-file", "-", stdin=theirs)
        os.close(theirs)
        assert said.returncode == 0, said.stderr


def _sockets() -> tuple[int, int]:
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def test_a_machine_that_is_a_host_already_is_left_as_it_is(
    cluster: JoiningCluster, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, "dom0-2")
    token = cluster.create_token()
    where = cluster.join_addresses[cluster.leader().name]
    assert machine.join(token, where).returncode == 0
    before = machine.certificate
    said = machine.join(token, where)
    assert (said.returncode, machine.certificate) == (0, before)
    assert "is the host dom0-2 already" in said.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--name", "other-*"], "is for hosts called other-*, not dom0-3"),
        (["--cidr", "10.99.0.0/16"], "is for hosts in 10.99.0.0/16, not at 127.0.0.1"),
    ],
)
@pytest.mark.parametrize("at", ["leader", "standby"])
def test_a_token_for_others_is_refused_in_one_sentence(
    cluster: JoiningCluster, tmp_path: Path, options: list[str], said: str, at: str
) -> None:
    where = cluster.leader() if at == "leader" else cluster.standby()
    machine = Machine(tmp_path, "dom0-3")
    refused = machine.join(cluster.create_token(*options), cluster.join_addresses[where.name])
    assert refused.returncode == 1 and said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not (machine.identity / "cert.pem").exists()


def test_a_revoked_token_is_refused(cluster: JoiningCluster, tmp_path: Path) -> None:
    token = cluster.create_token()
    assert cluster.fleetctl("tokens", "revoke", JoinToken.parse(token).id).code == 0
    refused = Machine(tmp_path, "h").join(token, cluster.join_addresses["controller-1"])
    assert refused.returncode == 1 and "there is no such token" in refused.stderr


def test_whoever_is_not_the_controller_of_the_token_hears_nothing_of_it(
    cluster: JoiningCluster, tmp_path: Path
) -> None:
    token = JoinToken.parse(cluster.create_token())
    elsewhere = JoinToken(token.id, token.secret, bytes(32))
    refused = Machine(tmp_path, "h").join(elsewhere.text, cluster.join_addresses["controller-1"])
    assert refused.returncode == 1 and "is no controller of the cluster" in refused.stderr
    listed = cluster.fleetctl("tokens", "list", "-o", "json").json["tokens"]
    assert next(one["uses"] for one in listed if one["id"] == token.id) == 0


def test_at_the_port_for_joining_there_is_nothing_else(cluster: JoiningCluster) -> None:
    credentials = grpc.ssl_channel_credentials(authority().certificate)
    options = channel_options(CONTROLLER_NAME)
    address = cluster.join_addresses["controller-1"]
    with grpc.secure_channel(address, credentials, options) as channel:
        stub = ClusterServiceStub(channel)
        calls: list[tuple[Any, Any]] = [
            (stub.Version, wire.VersionRequest()),
            (stub.Join, joining.JoinRequest()),
            (stub.Renew, joining.RenewRequest()),
            (stub.CreateToken, joining.CreateTokenRequest()),
        ]
        for call, request in calls:
            with pytest.raises(grpc.RpcError) as error:
                call(request, timeout=10)
            assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_without_a_certificate_nothing_is_said_at_the_other_port(cluster: JoiningCluster) -> None:
    credentials = grpc.ssl_channel_credentials(authority().certificate)
    options = channel_options(CONTROLLER_NAME)
    with grpc.secure_channel(cluster.leader().address, credentials, options) as channel:
        with pytest.raises(grpc.RpcError) as error:
            ClusterServiceStub(channel).Version(wire.VersionRequest(), timeout=10)
        assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_request_that_is_large_or_rubbish_is_refused(cluster: JoiningCluster) -> None:
    address, root = cluster.join_addresses["controller-1"], authority().certificate
    large = joining.JoinRequest(machine_id="x" * 9_000)
    assert "larger than max" in join_by_hand(address, root, large)
    wrong = join_request("h", time.time())
    assert join_by_hand(address, root, wrong) == "BAD_TOKEN"


def test_who_says_for_whom_it_calls_is_not_believed(cluster: JoiningCluster) -> None:
    """The address that a token is checked against is the connection's."""
    token = JoinToken.parse(cluster.create_token("--cidr", "10.99.0.0/16"))
    request = join_request("h", time.time(), token_id=token.id, secret=token.secret)
    request.caller_address = "10.99.0.1"
    for address in cluster.join_addresses.values():
        assert join_by_hand(address, authority().certificate, request) == "BAD_TOKEN"


def test_certificates_renew_without_a_restart_and_without_a_broken_stream(
    tmp_path: Path,
) -> None:
    seconds = 16.0
    with joining_cluster(tmp_path, days=seconds / 86_400) as short:
        machine = Machine(tmp_path / "dom0-1", "dom0-1")
        said = machine.join(short.create_token(), short.join_addresses["controller-1"])
        assert said.returncode == 0, said.stderr
        first = read_certificate(machine.certificate)
        with agent_of(machine):
            short.until_live("dom0-1")
            eventually(lambda: machine.said().count("certificate is renewed") >= 2, "renewed twice")
            eventually(lambda: time.time() > first.not_after.timestamp(), "the first one has ended")
            host = short.host("dom0-1")
            assert host is not None
            assert host.certificate_expires_unix > first.not_after.timestamp()
            assert short.kinds_about("dom0-1").count("host_live") == 1, "its stream never ended"
            # Whoever connects anew is shown the new one, and shows its own.
            short.controllers[0].kill()
            short.controllers[0].start()
            short.until_live("dom0-1")


def test_a_host_that_was_away_for_longer_joins_again(tmp_path: Path) -> None:
    with joining_cluster(tmp_path, days=4.0 / 86_400) as short:
        machine = Machine(tmp_path / "dom0-1", "dom0-1")
        where = short.join_addresses["controller-1"]
        assert machine.join(short.create_token(), where).returncode == 0
        key = (machine.identity / "key.pem").read_bytes()
        ends = read_certificate(machine.certificate).not_after.timestamp()
        eventually(lambda: time.time() > ends, "it has ended")
        assert machine.join(short.create_token(), where).returncode == 0
        assert read_certificate(machine.certificate).not_after.timestamp() > ends
        assert (machine.identity / "key.pem").read_bytes() == key


def test_a_clock_that_is_a_year_off_is_told_before_the_token_is(cluster: JoiningCluster) -> None:
    token = JoinToken.parse(cluster.create_token())
    where, year = cluster.join_addresses["controller-1"], timedelta(days=400)
    for now in (datetime.now(UTC) - year, datetime.now(UTC) + year):
        with pytest.raises(Stranger, match=r"the clock here says .*: set the clock"):
            asyncio.run(authority_of(where, token.authority, now))
    assert asyncio.run(authority_of(where, token.authority))


def test_a_host_that_is_expelled_renews_nothing(cluster: JoiningCluster, tmp_path: Path) -> None:
    machine = Machine(tmp_path, "dom0-9")
    where = cluster.join_addresses["controller-1"]
    assert machine.join(cluster.create_token(), where).returncode == 0
    own = Identity.load(machine.identity)
    asked = joining.RenewRequest(
        signing_request=make_request("dom0-9", own.key), clock_unix=time.time()
    )
    with channel_to(cluster.standby().address, own) as channel:
        stub = stub_for(channel)
        assert stub.Renew(asked, timeout=10).certificates
        assert cluster.fleetctl("hosts", "expel", "dom0-9", "--reason", "x", "--yes").code == 0
        eventually(lambda: _refused(stub, asked) == "DENIED", "it is refused by its name")


def _refused(stub: ClusterServiceStub, asked: joining.RenewRequest) -> str:
    """By what reason; empty while its connections are being closed."""
    with pytest.raises(grpc.RpcError) as error:
        stub.Renew(asked, timeout=10)
    return detail_of(error.value).reason


def test_hosts_learn_where_controllers_are_by_now(tmp_path: Path) -> None:
    with joining_cluster(tmp_path, controllers=2) as cluster:
        machine = Machine(tmp_path / "dom0-1", "dom0-1")
        known = machine.folder / "controllers.json"
        said = machine.join(cluster.create_token(), cluster.join_addresses["controller-1"])
        assert said.returncode == 0, said.stderr
        with agent_of(machine):
            cluster.until_live("dom0-1")
            moves = cluster.standby()
            moves.stop()
            moves.address = f"127.0.0.1:{free_ports(1)[0]}"
            moves.start()
            eventually(lambda: moves.address in json.loads(known.read_text()), "it is told")
            # The host has nobody else: it finds the one that has moved.
            cluster.leader().kill()
            eventually(lambda: moves.running and cluster.leader() is moves, "the other leads")
            cluster.until_live("dom0-1")


@pytest.mark.skipif(os.geteuid() != 0, reason="a command line of its own takes root")
def test_a_machine_with_a_token_on_its_kernels_command_line_joins_by_starting(
    cluster: JoiningCluster, tmp_path: Path
) -> None:
    machine = Machine(tmp_path, "netbooted")
    line = tmp_path / "cmdline"
    where = ",".join(["127.0.0.1:9", *cluster.join_addresses.values()])
    line.write_text(
        f"quiet megafleet.token={cluster.create_token()} megafleet.controllers={where} "
        "megafleet.name=dom0-77\n"
    )
    mount = f'mount --bind {shlex.quote(str(line))} /proc/cmdline && exec "$@"'
    machine.within = ("unshare", "--mount", "sh", "-c", mount, "booted")
    with agent_of(machine):
        cluster.until_live("dom0-77")
    assert "this machine has joined" in machine.said()
