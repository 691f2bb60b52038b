"""One image handed in through the controller, which goes on where it broke.

Chunks are read as they are sent: so many are on their way at most, whatever the line takes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from fleet.image_content.manifest import Manifest, numbers_in
from fleet.image_content.packing import Packed
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from megafleet.connection.cluster import Cluster
from megafleet.errors import Failed, MegafleetError, Unreachable

# Bytes read ahead of what the host has: the host says so every 16 chunks.
AHEAD_BYTES = 64 << 20
# Seconds: between two tries, and for all tries that get no further.
RETRY_SECONDS, PATIENCE_SECONDS = 2.0, 120.0

Tell = Callable[[agent.PutImageAnswer], None]


class ImageUpload:
    """`first`: what is handed in, and to whom; `chunk`: reads one."""

    def __init__(
        self,
        cluster_: Cluster,
        first: cluster.HostPutImageRequest,
        manifest: Manifest,
        chunk: Callable[[int], Packed],
    ) -> None:
        self._cluster = cluster_
        self._first = first
        self._manifest = manifest
        self._chunk = chunk
        self._changed = threading.Condition()
        self._wanted: list[int] | None = None
        self._done = 0
        self._over = False
        self._error: Exception | None = None

    def run(self, tell: Tell) -> agent.PutImageAnswer:
        """The last answer, which holds the image. `tell` hears how far it is. Raises
        MegafleetError."""
        deadline, best = time.monotonic() + PATIENCE_SECONDS, -1
        while True:
            try:
                return self._once(tell)
            except Unreachable:
                if self._done > best:
                    deadline, best = time.monotonic() + PATIENCE_SECONDS, self._done
                if time.monotonic() + RETRY_SECONDS > deadline:
                    raise
            time.sleep(RETRY_SECONDS)

    def _once(self, tell: Tell) -> agent.PutImageAnswer:
        """Raises MegafleetError."""
        self._wanted, self._over = None, False
        call = self._cluster.bidi_call(lambda stub: stub.PutImage, self._requests())
        try:
            for one in call:
                self._heard(one.answer)
                tell(one.answer)
                if one.answer.HasField("image"):
                    return one.answer
        except MegafleetError as trouble:
            raise self._error or trouble from None
        finally:
            self._end()
            call.cancel()
        raise Failed("the host ended the upload without having made an image")

    def _heard(self, answer: agent.PutImageAnswer) -> None:
        with self._changed:
            if self._wanted is None:
                self._wanted = list(numbers_in(answer.wanted, self._manifest.count))
            self._done = max(self._done, answer.done_bytes)
            self._changed.notify_all()

    def _end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _requests(self) -> Iterator[cluster.HostPutImageRequest]:
        """Read by a thread of its own."""
        yield self._first
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._wanted is not None)
            wanted, began = self._wanted or [], self._done
        sent = 0
        for number in wanted:
            with self._changed:
                ahead = sent + began - AHEAD_BYTES
                self._changed.wait_for(lambda: self._over or self._done >= ahead)  # noqa: B023
                if self._over:
                    return
            try:
                packed = self._chunk(number)
            except MegafleetError as error:
                self._error = error
                return
            sent += self._manifest.place(number).size
            put = agent.PutImageRequest(
                number=number, data=packed.data, compressed=packed.compressed
            )
            yield cluster.HostPutImageRequest(put=put)
