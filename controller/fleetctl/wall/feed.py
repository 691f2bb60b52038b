"""What the page is fed with: calls to the cluster, with the operator's own certificate."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.client.cluster import Cluster
from fleetctl.outcome import Trouble
from fleetctl.views.cluster.status import status_json
from fleetctl.wall.host_cells import host_cells_json

Json: TypeAlias = "dict[str, Any]"
# A leader says something each second: one that is silent for longer is left for the next replica.
_SILENCE = 6.0
_STREAM_SECONDS = 3600.0
# Between two rounds over replicas of which none answers.
PAUSE = 1.0
_EVENTS = 50
# Before each frame: of what kind it is, and how many bytes follow.
_HEAD = struct.Struct("<BI")
_LAYOUT, _NOTE = 0x10, 0x11
_ENCODINGS = frozenset(cluster.StatesEncoding.values())


class Feed:
    """Used by many threads, until `ending` is set. `new_cluster` makes a connection that a single
    thread uses; `event_json` says how an event is told."""

    def __init__(
        self,
        new_cluster: Callable[[], Cluster],
        event_json: Callable[[cluster.Event], Json],
        ending: threading.Event,
    ) -> None:
        self._new_cluster = new_cluster
        self._event_json = event_json
        self._asked = new_cluster()
        self._one_at_a_time = threading.Lock()
        self._ending = ending

    def status(self) -> Json:
        """Raises Trouble."""
        return status_json(self._ask(lambda stub: stub.Status, cluster.StatusRequest()))

    def version(self) -> Json:
        """Raises Trouble."""
        answer = self._ask(lambda stub: stub.Instant, cluster.InstantRequest())
        return {"leader": answer.leadership, "cluster": self._asked.context.endpoints[0]}

    def events(self, after: int) -> Json:
        """Raises Trouble."""
        request = cluster.ListEventsRequest(limit=_EVENTS, after=after)
        answer = self._ask(lambda stub: stub.ListEvents, request)
        return {"events": [self._event_json(one) for one in answer.events], "cursor": answer.next}

    def host(self, host_id: str) -> Json:
        """Raises Trouble."""
        request = cluster.GetHostRequest(id=host_id)
        return host_cells_json(self._ask(lambda stub: stub.GetHost, request))

    def messages(self) -> Iterator[bytes]:
        """Frames for one page, over failovers, until the wall ends: after each failover from the
        beginning. A page that reads slowly lets the leader wait, which then merges frames."""
        connection = self._new_cluster()
        while not self._ending.is_set():
            try:
                frames = connection.stream(
                    lambda stub: stub.WatchStates,
                    cluster.WatchStatesRequest(),
                    _STREAM_SECONDS,
                    silence=_SILENCE,
                )
                for frame in frames:
                    if self._ending.is_set():
                        return
                    yield from _messages(frame)
            except Trouble as trouble:
                yield _message(_NOTE, trouble.message.encode())
            self._ending.wait(PAUSE)

    def _ask(self, rpc: Any, request: Any) -> Any:
        with self._one_at_a_time:
            return self._asked.call(rpc, request)


def _messages(frame: cluster.StatesFrame) -> Iterator[bytes]:
    if frame.HasField("layout"):
        lines = (f"{one.id}\t{one.rack}\t{one.cells}" for one in frame.layout.hosts)
        yield _message(_LAYOUT, "\n".join(lines).encode())
    if frame.encoding in _ENCODINGS:
        yield _message(frame.encoding, frame.cells)
    else:  # it must not pass for a message of another kind
        yield _message(_NOTE, b"the controller says states in a way that this fleetctl cannot read")


def _message(kind: int, body: bytes) -> bytes:
    return _HEAD.pack(kind, len(body)) + body
