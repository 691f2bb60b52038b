"""Which member of etcd is asked, where members differ in what they see."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest

from fleet.etcd import rpc_pb2 as rpc
from fleet.etcd import rpc_pb2_grpc as stubs
from fleet.transport import Role
from fleetctl.founding.etcd_admin import EtcdAdmin
from fleetctl.founding.founder import Founder
from fleetctl.founding.replica import Replica
from fleetctl.outcome import Unreachable
from tests.certificates import identity


class Member(stubs.MaintenanceServicer):
    """`leader`: the id of whom it follows; 0: it was cut off."""

    def __init__(self, name: str, leader: int) -> None:
        self._name, self._leader = name, leader

    def Status(self, request: rpc.StatusRequest, context: object) -> rpc.StatusResponse:
        return rpc.StatusResponse(leader=self._leader)

    def Snapshot(
        self, request: rpc.SnapshotRequest, context: object
    ) -> Iterator[rpc.SnapshotResponse]:
        yield rpc.SnapshotResponse(blob=self._name.encode())


@contextmanager
def serving(member: Member, founder: Founder) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    stubs.add_MaintenanceServicer_to_server(member, server)
    shown = founder.identities(Replica("c1", "127.0.0.1"))["etcd"]
    port = server.add_secure_port("127.0.0.1:0", shown.for_server())
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(10)


@pytest.mark.parametrize(
    ("leaders", "asked"),
    [((0, 7), "second"), ((7, 7), "first"), ((0, 0), "first")],
)
def test_a_backup_is_of_a_member_that_sees_a_leader_where_one_does(
    leaders: tuple[int, int], asked: str, tmp_path: Path
) -> None:
    founder = Founder(tmp_path)
    founder.make("alice")
    with ExitStack() as stack:
        addresses = [
            stack.enter_context(serving(Member(name, leader), founder))
            for name, leader in zip(("first", "second"), leaders, strict=True)
        ]
        admin = stack.enter_context(EtcdAdmin(addresses, founder.root_of_etcd()))
        assert [data for data, _ in admin.snapshot()] == [asked.encode()]


def test_where_nobody_answers_all_are_named() -> None:
    with EtcdAdmin(["127.0.0.1:1"], identity(Role.CONTROLLER, "c1")) as admin:
        with pytest.raises(Unreachable, match="no member of etcd answers"):
            list(admin.snapshot())
