"""Whoever asks daemons over mTLS, by role, and what hosts say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from fleet.transport import Identity, Role, channel_options, dns_name
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from tests.certificates import identity
from tests.processes.daemons import channel_to, stub_for
from tests.processes.small_cluster import SmallCluster

SECONDS = 30.0
HOST = "hollow-00001"


def announce(stub: ClusterServiceStub, address: str) -> wire.AnnounceResponse:
    facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=5))
    return stub.Announce(wire.AnnounceRequest(address=address, facts=facts), timeout=SECONDS)


@contextmanager
def asking(cluster: SmallCluster, who: Identity | None) -> Iterator[ClusterServiceStub]:
    with channel_to(cluster.controller.address, who) as channel:
        yield stub_for(channel)


def address_of(cluster: SmallCluster, host: str) -> str:
    request = wire.GetHostRequest(id=host)
    return cluster.stub.GetHost(request, timeout=SECONDS).summary.address


@contextmanager
def agent_channel(
    cluster: SmallCluster, role: Role = Role.CONTROLLER, host: str = "hollow-00001"
) -> Iterator[grpc.Channel]:
    options = channel_options(dns_name(Role.AGENT, host))
    credentials = identity(role, "tester").for_channel()
    address = address_of(cluster, "hollow-00001")
    with grpc.secure_channel(address, credentials, options) as channel:
        yield channel
