"""An authority that is replaced in three steps while a host and a controller run."""

from __future__ import annotations

import shutil
from pathlib import Path

import grpc
import pytest

from fleet.certificates.authorities import digests
from fleet.certificates.host_issuer import root_of
from fleet.transport import Identity, Role
from fleet.v1 import cluster_pb2 as wire
from fleetctl.local.certificate_authority import Authority, write_identity
from tests.certificates import authority, identity
from tests.processes.cluster.joining_cluster import (
    JoiningCluster,
    Machine,
    agent_of,
    joining_cluster,
)
from tests.processes.daemons import channel_to, eventually, stub_for
from tests.processes.fleetctl_process import Fleetctl

SECONDS = 20.0


def nobody_is_behind(cluster: JoiningCluster) -> bool:
    said = cluster.fleetctl("status", "-o", "json")
    assert said.code == 0, said.err
    return bool(said.json["hosts_to_renew"] == 0)


def version(cluster: JoiningCluster, who: Identity) -> str:
    with channel_to(cluster.controllers[0].address, who) as channel:
        return stub_for(channel).Version(wire.VersionRequest(), timeout=5.0).version


def test_an_authority_is_replaced_and_no_stream_ends(tmp_path: Path) -> None:
    with joining_cluster(tmp_path) as cluster:
        ca = tmp_path / "ca"
        authority().save(ca)
        controller = cluster.controllers[0]
        folders = [str(controller.folder / "identity"), str(tmp_path / "operator")]
        machine = Machine(tmp_path / "dom0-1", "dom0-1")
        assert machine.join(cluster.create_token(), cluster.join_addresses["controller-1"])
        with agent_of(machine):
            cluster.until_live("dom0-1")
            assert nobody_is_behind(cluster)
            before = cluster.create_token()

            def step(*words: str) -> None:
                said = cluster.fleetctl("certs", "rotate", *words, "--ca", str(ca))
                assert said.code == 0, said.err

            step("begin", *folders)
            eventually(lambda: len(digests(machine.authorities)) == 2, "the host trusts both")
            eventually(lambda: nobody_is_behind(cluster), "and has said so")
            following = (ca / "next" / "ca.pem").read_bytes()
            issuing = str(cluster.issuing)
            step("reissue", *folders, issuing)
            eventually(
                lambda: nobody_is_behind(cluster) and _signed_below(machine, following),
                "the host has a certificate below the next",
            )
            # A token of before names the one that controllers' certificates are no longer by.
            late = Machine(tmp_path / "dom0-3", "dom0-3")
            said = late.join(before, cluster.join_addresses["controller-1"])
            assert said.returncode == 1 and "its authority is being replaced" in said.stderr
            token = cluster.create_token()
            assert late.join(token, cluster.join_addresses["controller-1"]).returncode == 0
            step("finish", *folders)
            eventually(lambda: machine.authorities == following, "the host trusts it alone")
            eventually(lambda: nobody_is_behind(cluster), "and has said so")
            assert cluster.kinds_about("dom0-1").count("host_live") == 1, "its stream never ended"
            assert (ca / "ca.pem").read_bytes() == following and not (ca / "next").exists()
            # Whoever shows a certificate of the former is nobody by now.
            former = identity(*_operator())
            with pytest.raises(grpc.RpcError):
                version(cluster, Identity(following, former.certificate, former.key))
            # All that connects anew does so by the next authority.
            controller.kill()
            controller.start()
            cluster.until_live("dom0-1")
            # A token names the authority that controllers' certificates are by.
            other = Machine(tmp_path / "dom0-2", "dom0-2")
            said = other.join(cluster.create_token(), cluster.join_addresses["controller-1"])
            assert said.returncode == 0, said.stderr


def test_nothing_is_finished_before_it_was_made_anew(tmp_path: Path) -> None:
    ca, one = tmp_path / "ca", tmp_path / "alice"
    made = Authority.create("Test")
    made.save(ca)
    write_identity(one, made.identity(*_operator()))
    fleetctl = Fleetctl(tmp_path)
    assert "begin with" in fleetctl("certs", "rotate", "finish", "--ca", str(ca), str(one)).err
    assert fleetctl("certs", "rotate", "begin", "--ca", str(ca), str(one)).code == 0
    refused = fleetctl("certs", "rotate", "finish", "--ca", str(ca), str(one))
    assert refused.code == 1 and "is not by the next authority yet" in refused.err
    shutil.rmtree(one)
    said = fleetctl("certs", "rotate", "begin", "--ca", str(ca), str(one))
    assert said.code == 1 and "is no folder of an identity" in said.err


def _operator() -> tuple[Role, str]:
    return Role.OPERATOR, "tester"


def _signed_below(machine: Machine, following: bytes) -> bool:
    issuing = machine.certificate.split(b"-----END CERTIFICATE-----", 1)[1].lstrip()
    try:
        root_of(issuing, following)
    except ValueError:
        return False
    return True
