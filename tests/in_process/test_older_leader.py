"""A standby whose leader is older: it sends frames in each viewer's own call."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.election.leader_key import Holder
from fleet_controller.replica.shared_states import SharedStates


class Admission:
    """The viewer's own call at the leader."""

    def __init__(self, *frames: cluster.StatesFrame) -> None:
        self._frames = list(frames)

    async def read(self) -> Any:
        return self._frames.pop(0).SerializeToString() if self._frames else grpc.aio.EOF


class Viewer:
    def __init__(self) -> None:
        self.frames: list[cluster.StatesFrame] = []

    async def write(self, data: bytes) -> None:
        self.frames.append(cluster.StatesFrame.FromString(data))


def test_frames_of_an_older_leader_are_passed_on_as_they_come() -> None:
    sent = [cluster.StatesFrame(number=7, cells=b"x"), cluster.StatesFrame(number=8, after=7)]
    admission: Any = Admission(*sent)
    viewer: Any = Viewer()
    nothing: Any = None  # no second call is made
    leader = Holder("controller-1", "127.0.0.1:1", 1, 3)
    asked = cluster.WatchStatesRequest()
    ended = asyncio.run(SharedStates().answers(asked, leader, nothing, admission, viewer))
    assert ended is None and viewer.frames == sent
