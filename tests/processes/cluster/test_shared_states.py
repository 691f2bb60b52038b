"""The states of VMs at a standby: one stream of the leader's for all who watch there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from fleet.states.frames import Encoded, apply_frame, starts_of
from fleet.transport import Role, detail_of
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from tests.certificates import identity
from tests.processes.daemons import channel_to, eventually, stub_for
from tests.processes.etcd_process import free_ports
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.scraping import scraped, scraped_anew
from tests.processes.small_cluster import spec

SECONDS = 60.0
RUNNING = int(types.VM_STATE_RUNNING)


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[ReplicatedCluster]:
    """4 hosts of 10 VMs, three controllers with metrics on one etcd."""
    made = ReplicatedCluster(tmp_path, hosts=4, per_host=10, processes=1, members=1)
    for controller in made.controllers:
        controller.metrics = f"127.0.0.1:{free_ports(1)[0]}"
    with made as cluster:
        stub = cluster.stubs[cluster.leader().name]
        stub.ApplyFleet(wire.ApplyFleetRequest(name="spv", spec=spec()), timeout=SECONDS)
        yield cluster


class Viewer:
    """Reads all that it is sent, until the stream ends."""

    def __init__(self, address: str, name: str) -> None:
        self.error: grpc.RpcError | None = None
        self.running = -1
        self.frames = 0
        self._channel = channel_to(address, identity(Role.VIEWER, name))
        request = wire.WatchStatesRequest()
        self._call = stub_for(self._channel).WatchStates(request, timeout=SECONDS)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        starts, cells = starts_of(np.zeros(0, np.int64)), np.zeros(0, np.uint8)
        try:
            for frame in self._call:
                if frame.HasField("layout"):
                    starts = starts_of(np.array([one.cells for one in frame.layout.hosts]))
                    cells = np.zeros(int(starts[-1]), np.uint8)
                if frame.cells:
                    apply_frame(cells, starts, Encoded(frame.encoding, frame.cells))
                self.running = int((cells == RUNNING).sum())
                self.frames += 1
        except grpc.RpcError as error:
            self.error = error

    def close(self) -> None:
        self._call.cancel()
        self._reading.join(SECONDS)
        self._channel.close()


def show(viewers: list[Viewer], total: int) -> None:
    eventually(lambda: {one.running for one in viewers} == {total}, f"all see {total} VMs run")


def test_all_who_watch_at_a_standby_share_one_stream_of_the_leaders(
    replicas: ReplicatedCluster,
) -> None:
    leader, standby = replicas.leader(), replicas.standbys()[0]
    stub = replicas.stubs[leader.name]
    viewers = [Viewer(standby.address, f"screen-{number}") for number in range(3)]
    for total in (7, 23, 11):
        stub.Scale(wire.ScaleRequest(fleet="spv", total=total), timeout=SECONDS)
        show(viewers, total)
    told = scraped(leader.metrics)
    assert told["state_watchers",] == 1
    late = Viewer(standby.address, "late")
    show([late], 11)
    assert scraped_anew(leader.metrics, told)["state_watchers",] == 1
    for viewer in (*viewers, late):
        viewer.close()
    eventually(lambda: scraped(leader.metrics)["state_watchers",] == 0, "nobody watches any more")


def test_who_is_denied_while_watching_at_a_standby_sees_no_more(
    replicas: ReplicatedCluster,
) -> None:
    leader, standby = replicas.leader(), replicas.standbys()[0]
    stub = replicas.stubs[leader.name]
    one, other = (Viewer(standby.address, name) for name in ("mallory", "alice"))
    show([one, other], 0)
    denied = wire.DenyRequest(role=Role.VIEWER, name="mallory", reason="left")
    stub.Deny(denied, timeout=SECONDS)
    eventually(lambda: one.error is not None, "the stream of who is denied ends")
    assert one.error is not None and detail_of(one.error).reason == "DENIED"
    stub.Scale(wire.ScaleRequest(fleet="spv", total=5), timeout=SECONDS)
    show([other], 5)
    again = Viewer(standby.address, "mallory")
    eventually(lambda: again.error is not None, "it is not admitted again")
    assert again.error is not None and detail_of(again.error).reason == "DENIED"
    assert again.frames == 0
    for viewer in (one, other, again):
        viewer.close()


def test_streams_end_with_the_leader_and_begin_anew_with_the_next(
    replicas: ReplicatedCluster,
) -> None:
    leader, standby = replicas.leader(), replicas.standbys()[0]
    stub = replicas.stubs[leader.name]
    stub.Scale(wire.ScaleRequest(fleet="spv", total=9), timeout=SECONDS)
    viewers = [Viewer(standby.address, f"screen-{number}") for number in range(2)]
    show(viewers, 9)
    leader.kill()
    eventually(lambda: all(one.error is not None for one in viewers), "their streams end")
    for one in viewers:
        assert one.error is not None and one.error.code() is grpc.StatusCode.UNAVAILABLE
        assert detail_of(one.error).reason == "LEADER_GONE"
        one.close()

    def sees(address: str) -> bool:
        viewer = Viewer(address, "again")
        try:
            eventually(lambda: viewer.running == 9 or viewer.error is not None, "it sees or ends")
            return viewer.running == 9
        finally:
            viewer.close()

    for replica in replicas.controllers:
        if replica is not leader:
            eventually(lambda: sees(replica.address), "who asks anew sees all", 2 * SECONDS)  # noqa: B023
