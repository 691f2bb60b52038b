"""What pages are fed with: frames of the cluster, with the operator's own certificate."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import Trouble
from fleetctl.wall.questions import Questions
from megafleet.connection.cluster import Cluster

# A leader says something each second: one that is silent for longer is left for the next replica.
_SILENCE = 6.0
_STREAM_SECONDS = 3600.0
# Between two rounds over replicas of which none answers.
PAUSE = 1.0
# Before each frame: of what kind it is, and how many bytes follow.
_HEAD = struct.Struct("<BI")
_LAYOUT, _NOTE, _LEGEND = 0x10, 0x11, 0x12
_ENCODINGS = frozenset(cluster.StatesEncoding.values())
# As the page names them.
_LAYERS = {
    "fleet": cluster.STATES_LAYER_FLEET,
    "generation": cluster.STATES_LAYER_GENERATION,
    "problem": cluster.STATES_LAYER_PROBLEM,
    "hypervisor": cluster.STATES_LAYER_HYPERVISOR,
}
_GROUPINGS = {"fleet": cluster.STATES_GROUPING_FLEET}


class Feed:
    """Used by many threads, until `ending` is set. `new_cluster` makes a connection that a single
    thread uses."""

    def __init__(
        self, new_cluster: Callable[[], Cluster], questions: Questions, ending: threading.Event
    ) -> None:
        self._new_cluster = new_cluster
        self.questions = questions
        self._ending = ending

    def check_admitted(self) -> None:
        """Raises Trouble where there is no controller, or the operator may not watch."""
        asked = cluster.WatchStatesRequest(admission_only=True)
        with closing(self._new_cluster().follow(lambda stub: stub.WatchStates, asked)) as frames:
            next(frames, None)

    def messages(self, layer: str = "state", grouping: str = "host") -> Iterator[bytes]:
        """Frames for one page, over failovers, until the wall ends: after each failover from the
        beginning. A page that reads slowly lets the leader wait, which then merges frames."""
        connection = self._new_cluster()
        request = cluster.WatchStatesRequest(
            layer=_LAYERS.get(layer, cluster.STATES_LAYER_STATE),
            grouping=_GROUPINGS.get(grouping, cluster.STATES_GROUPING_HOST),
        )
        while not self._ending.is_set():
            try:
                frames = connection.stream(
                    lambda stub: stub.WatchStates, request, _STREAM_SECONDS, silence=_SILENCE
                )
                for frame in frames:
                    if self._ending.is_set():
                        return
                    yield from _asked_for(frame, request)
            except Trouble as trouble:
                yield _message(_NOTE, trouble.message.encode())
            self._ending.wait(PAUSE)


def _asked_for(frame: cluster.StatesFrame, asked: cluster.WatchStatesRequest) -> Iterator[bytes]:
    if (frame.layer, frame.grouping) == (asked.layer, asked.grouping):
        yield from as_messages(frame)
    else:
        yield _message(_NOTE, b"the controllers are older than this fleetctl and show states alone")


def as_messages(frame: cluster.StatesFrame) -> Iterator[bytes]:
    """A frame as pages read it."""
    if frame.HasField("layout"):
        yield _message(_LEGEND, "\n".join(frame.layout.legend).encode())
        lines = (f"{one.id}\t{one.rack}\t{one.cells}" for one in frame.layout.hosts)
        yield _message(_LAYOUT, "\n".join(lines).encode())
    if frame.encoding in _ENCODINGS:
        yield _message(frame.encoding, frame.cells)
    else:  # it must not pass for a message of another kind
        yield _message(_NOTE, b"the controller says states in a way that this fleetctl cannot read")


def _message(kind: int, body: bytes) -> bytes:
    return _HEAD.pack(kind, len(body)) + body
