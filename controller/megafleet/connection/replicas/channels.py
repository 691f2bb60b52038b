"""Channels to the controllers of one cluster, and which of them connects first.

A controller that is dead refuses a connection at once; one that is stopped, or behind a cut wire,
lets it hang. So the next one is dialled as well when one has not answered for a moment, and
whichever has a connection first is asked. As long as there is none, nothing has been sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType

import grpc

from fleet.endpoints import target
from fleet.transport import CONTROLLER_NAME, Identity, channel_options
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub

# How long one is given before the next is dialled too. A handshake takes some 10 ms; a leader
# that dials thousands of hosts may take a few hundred.
HEAD_START = 0.5
# All of them silent for so long: one is asked nevertheless, and the call says what is wrong.
CONNECT_SECONDS = 3.0
# A server that has been stopped is noticed within the sum of both, while a stream is silent.
# Controllers refuse pings more often than every 15 s.
KEEPALIVE_TIME_MS = 20_000
KEEPALIVE_TIMEOUT_MS = 4_000
# A controller that comes back at its address is found again within this.
RECONNECT_MS = 1_000

_OWN: dict[str, int] = {
    # It speaks to the cluster itself, whatever proxies the machine uses.
    "grpc.enable_http_proxy": 0,
    "grpc.keepalive_time_ms": KEEPALIVE_TIME_MS,
    "grpc.keepalive_timeout_ms": KEEPALIVE_TIMEOUT_MS,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": RECONNECT_MS,
}
_FAILED = (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN)


class Channels:
    """A channel to each endpoint, made when it is first needed."""

    def __init__(self, identity: Identity) -> None:
        self._credentials = identity.for_channel()
        self._channels: dict[str, grpc.Channel] = {}
        self._stubs: dict[str, ClusterServiceStub] = {}
        self._connected: set[str] = set()  # those that were, when they were looked at last
        self._lock = threading.RLock()

    def stub(self, endpoint: str) -> ClusterServiceStub:
        with self._lock:
            if endpoint not in self._stubs:
                self._stubs[endpoint] = ClusterServiceStub(self._channel(endpoint))
            return self._stubs[endpoint]

    def close(self) -> None:
        """Calls under way end."""
        with self._lock:
            for channel in self._channels.values():
                channel.close()

    def first_connected(self, endpoints: Sequence[str], seconds: float) -> tuple[str, bool]:
        """The first endpoint to have a connection, and True; those in front have a head start.

        Where none has one within so many seconds: the first of the list, and False.
        """
        deadline = time.monotonic() + seconds
        with _Dials() as dials:
            for endpoint in endpoints:
                dials.begin(endpoint, self._channel(endpoint), endpoint in self._connected)
                is_last = endpoint == endpoints[-1]
                head_start = time.monotonic() + HEAD_START
                if ready := dials.ready(deadline if is_last else min(deadline, head_start)):
                    self._connected.add(ready)
                    return ready, True
                self._connected.discard(endpoint)
        return endpoints[0], False

    def _channel(self, endpoint: str) -> grpc.Channel:
        with self._lock:
            if endpoint not in self._channels:
                common = [one for one in channel_options(CONTROLLER_NAME) if one[0] not in _OWN]
                self._channels[endpoint] = grpc.secure_channel(
                    target(endpoint), self._credentials, options=[*common, *_OWN.items()]
                )
            return self._channels[endpoint]


class _Dials:
    """Attempts under way; the channels go on by themselves afterwards."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._states: dict[str, grpc.ChannelConnectivity] = {}
        self._begun: list[tuple[grpc.Channel, _Callback]] = []
        self._ended = False

    def __enter__(self) -> _Dials:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._changed:
            self._ended = True
            for channel, callback in self._begun:
                channel.unsubscribe(callback)

    def begin(self, endpoint: str, channel: grpc.Channel, connected: bool) -> None:
        """`connected`: it was a moment ago. It is dialled only where it is so no more: gRPC looks
        at a channel that it was asked to dial once more, also when that was closed meanwhile, and
        prints a trace."""
        callback = _Callback(self, endpoint, channel, dialled=not connected)
        with self._changed:
            self._states[endpoint] = grpc.ChannelConnectivity.IDLE
        self.listen(channel, callback, dial=not connected)

    def listen(self, channel: grpc.Channel, callback: _Callback, *, dial: bool) -> None:
        with self._changed:
            if self._ended:
                return
            self._begun.append((channel, callback))
            channel.subscribe(callback, try_to_connect=dial)

    def set_state(self, endpoint: str, state: grpc.ChannelConnectivity) -> None:
        with self._changed:
            self._states[endpoint] = state
            self._changed.notify_all()

    def ready(self, until: float) -> str:
        """One that is connected; empty when all have failed, or when it is time to go on."""
        with self._changed:
            while True:
                for endpoint, state in self._states.items():
                    if state is grpc.ChannelConnectivity.READY:
                        return endpoint
                rest = until - time.monotonic()
                if rest <= 0 or all(state in _FAILED for state in self._states.values()):
                    return ""
                self._changed.wait(rest)


class _Callback:
    def __init__(
        self, dials: _Dials, endpoint: str, channel: grpc.Channel, *, dialled: bool
    ) -> None:
        self._dials = dials
        self._endpoint = endpoint
        self._channel = channel
        self._dialled = dialled

    def __call__(self, state: grpc.ChannelConnectivity) -> None:
        self._dials.set_state(self._endpoint, state)
        if state is grpc.ChannelConnectivity.IDLE and not self._dialled:
            self._dialled = True
            self._dials.listen(self._channel, self, dial=True)
