"""One console, opened through the controller: what is typed goes in, what is printed comes out.

A thread reads the answers, so that its reader can wait for a terminal and for them at once.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from collections.abc import Iterator
from types import TracebackType

from fleet.v1 import agent_pb2 as wire
from megafleet.connection.calls.bidi_call import BidiCall
from megafleet.connection.cluster import Cluster
from megafleet.errors import MegafleetError, Unreachable

# Messages that wait on either side; beyond these the sender does.
WAITING = 64
# What a thread is given to end by itself once the console is left.
LEAVE_SECONDS = 1.0

_END = None
_Outcome = wire.ConsoleOutput | BaseException | None


class ConsoleCall:
    """To be used as a context. `wake` is a descriptor that can be read when there is an output."""

    def __init__(self, cluster: Cluster, name: str, first: wire.ConsoleInput) -> None:
        self._cluster = cluster
        self._name = name
        self._first = first
        self._inputs: queue.Queue[wire.ConsoleInput | None] = queue.Queue(WAITING)
        self._outputs: queue.Queue[_Outcome] = queue.Queue(WAITING)
        self._call: BidiCall[wire.ConsoleOutput] | None = None
        self._left = threading.Event()
        self.wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._read, name="console", daemon=True)

    def __enter__(self) -> ConsoleCall:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._left.set()
        with contextlib.suppress(queue.Full):
            self._inputs.put_nowait(_END)
        if self._call is not None:
            self._call.cancel()
        self._thread.join(LEAVE_SECONDS)
        if not self._thread.is_alive():
            os.close(self.wake)
            os.close(self._waker)

    def send(self, message: wire.ConsoleInput) -> None:
        """Waits while too much has not been taken yet. Raises Unreachable when nobody will."""
        while True:
            try:
                return self._inputs.put(message, timeout=0.2)
            except queue.Full:
                if not self._thread.is_alive():
                    raise Unreachable(f"the console of {self._name} takes no more") from None

    def next_output(self) -> wire.ConsoleOutput | None:
        """The next output, awaited; None when the other end has closed the console. Raises
        MegafleetError: why it was refused, or that it broke."""
        outcome = self._outputs.get()
        os.read(self.wake, 1)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def _read(self) -> None:
        heard = False
        ended: _Outcome = _END
        try:
            typed = _messages(self._first, self._inputs)
            self._call = self._cluster.bidi_call(lambda stub: stub.Console, typed)
            for output in self._call:
                heard = True
                if not self._deliver(output):
                    return
        except MegafleetError as trouble:
            ended = trouble
            if heard:
                broke = f"the connection to the console of {self._name} broke: {trouble.message}"
                ended = Unreachable(broke, reason=trouble.reason)
        except BaseException as error:
            ended = error
        self._deliver(ended)

    def _deliver(self, outcome: _Outcome) -> bool:
        """False when nobody takes it any more."""
        while not self._left.is_set():
            with contextlib.suppress(queue.Full):
                self._outputs.put(outcome, timeout=0.2)
                os.write(self._waker, b".")
                return True
        return False


def _messages(
    first: wire.ConsoleInput, inputs: queue.Queue[wire.ConsoleInput | None]
) -> Iterator[wire.ConsoleInput]:
    yield first
    while (message := inputs.get()) is not _END:
        yield message
