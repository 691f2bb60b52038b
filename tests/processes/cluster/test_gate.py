"""Who may call is decided before anything is parsed, and what may be asked for is bounded: asked
of a real controller over mTLS."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fleet.transport import Identity, Role
from fleet.v1 import cluster_pb2 as wire
from fleet_controller.api.service import MAX_SPEC_BYTES
from tests.certificates import authority, identity
from tests.processes.daemons import Controller, channel_to, eventually, stub_for
from tests.processes.small_cluster import refused

SECONDS = 30.0
MALFORMED = b"\xff\xff\xff"
FEW_FILES = 300


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    made = Controller(tmp_path_factory.mktemp("controller"), "memory:")
    made.files = FEW_FILES
    made.start()
    try:
        with channel_to(made.address) as channel:
            stub = stub_for(channel)
            eventually(lambda: stub.Status(wire.StatusRequest(), timeout=SECONDS), "it leads")
        yield made
    finally:
        made.kill()


@pytest.fixture
def channel(controller: Controller) -> Iterator[grpc.Channel]:
    with channel_to(controller.address) as made:
        yield made


def call(channel: grpc.Channel, method: str, request: bytes) -> bytes:
    service = wire.DESCRIPTOR.services_by_name["ClusterService"].full_name
    asking: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{service}/{method}")
    return asking(request, timeout=SECONDS)


def test_a_malformed_message_is_told_in_one_sentence(channel: grpc.Channel) -> None:
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE") as said:
        call(channel, "Scale", MALFORMED)
    assert said[0] == "the call of Scale has a message that cannot be read"


def test_a_malformed_message_of_a_stream_is_told_likewise(channel: grpc.Channel) -> None:
    service = wire.DESCRIPTOR.services_by_name["ClusterService"].full_name
    consoles: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        f"/{service}/Console"
    )
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE"):
        list(consoles(iter([MALFORMED]), timeout=SECONDS))


def test_who_may_call_is_decided_before_a_message_is_parsed(controller: Controller) -> None:
    ours = authority()
    issued = ours.issue_server("somebody", ["somebody.example"])
    nobody = Identity(ours.certificate, issued.certificate, issued.key)
    with channel_to(controller.address, nobody) as channel:
        with refused(grpc.StatusCode.UNAUTHENTICATED, "NO_ROLE"):
            call(channel, "Announce", MALFORMED)
    with channel_to(controller.address, identity(Role.AGENT, "h1")) as channel:
        with refused(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"):
            call(channel, "Scale", MALFORMED)


def test_a_message_is_bounded_by_its_method(channel: grpc.Channel) -> None:
    template = b"\xff" * (MAX_SPEC_BYTES + 1)
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_TOO_LARGE") as said:
        call(channel, "ApplyFleet", template)
    assert said[0] == "a message of ApplyFleet has at most 262,144 bytes, not 262,145"
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE"):
        call(channel, "ApplyFleet", template[1:])


def test_what_no_method_takes_is_refused_by_the_transport(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as told:
        call(channel, "ApplyFleet", b"x" * (2 * 1024 * 1024))
    assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_long_calls_of_one_caller_are_bounded_and_leave_room_for_short_ones(
    controller: Controller,
) -> None:
    with channel_to(controller.address, identity(Role.VIEWER, "many")) as channel:
        stub = stub_for(channel)
        watches = [stub.WatchStatus(wire.WatchStatusRequest(), timeout=60) for _ in range(384)]
        try:
            for watch in watches:
                next(iter(watch))
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS") as said:
                next(iter(stub.WatchStatus(wire.WatchStatusRequest(), timeout=SECONDS)))
            assert said[0] == (
                "viewer/many has 384 calls that last under way already: end some, or try again "
                "later"
            )
            stub.Version(wire.VersionRequest(), timeout=SECONDS)
        finally:
            for watch in watches:
                watch.cancel()
        eventually(lambda: next(iter(stub.WatchStatus(wire.WatchStatusRequest()))), "room again")


def test_connections_that_ask_nothing_take_no_descriptors_of_others(
    controller: Controller, channel: grpc.Channel
) -> None:
    """A caller that is connected goes on; a new one comes in once handshakes have timed out."""
    stub = stub_for(channel)
    stub.Version(wire.VersionRequest(), timeout=SECONDS)
    host, _, port = controller.address.rpartition(":")
    idle = [socket.create_connection((host, int(port)), timeout=5) for _ in range(2 * FEW_FILES)]
    try:
        assert len(list(Path(f"/proc/{controller.pid}/fd").iterdir())) < FEW_FILES - 16
        stub.Version(wire.VersionRequest(), timeout=SECONDS)
        with channel_to(controller.address, identity(Role.VIEWER, "late")) as another:
            stub_for(another).Version(
                wire.VersionRequest(), timeout=2 * SECONDS, wait_for_ready=True
            )
    finally:
        for one in idle:
            one.close()
