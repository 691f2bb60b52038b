"""The replicas of one cluster: which is asked first, and what people are told if none answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from fleet.certificates.file_stamp import Stamp, stamp_of
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from megafleet.connection.cancellation import Cancellation
from megafleet.connection.replicas.channels import Channels
from megafleet.connection.replicas.endpoint_rotation import EndpointRotation
from megafleet.connection.replicas.failure import Failure, most_telling, trouble
from megafleet.connection.replicas.own_certificate import certificate_fault, load_identity
from megafleet.contexts import ClusterContext
from megafleet.errors import MegafleetError, NotAllowed, Unreachable

# Seconds between two rounds over the replicas while none of them leads.
ELECTION_PAUSE = 0.2


@dataclass(slots=True)
class _Reached:
    """What is known of the replicas, shared by all who call them. Calls may be made from several
    threads."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    answered_last: str = ""
    channels: Channels | None = None
    stamp: Stamp = ()  # of the certificate's files, as the channels were made with them


@dataclass(slots=True)
class Replicas:
    """Nothing is dialled before the first stub is asked for."""

    context: ClusterContext
    clock: Callable[[], float]  # monotonic seconds
    cancellation: Cancellation = field(default_factory=Cancellation)
    _reached: _Reached = field(default_factory=_Reached)

    def for_calls_of(self, cancellation: Cancellation) -> Replicas:
        """The same replicas, over the same channels, for calls that this one ends."""
        return replace(self, cancellation=cancellation)

    def close(self) -> None:
        """Calls under way end. Whoever calls afterwards dials anew."""
        with self._reached.lock:
            channels, self._reached.channels = self._reached.channels, None
        if channels is not None:
            channels.close()

    def stub(self, endpoint: str) -> ClusterServiceStub:
        """Raises Unreachable when a file of the certificate cannot be read."""
        return self._opened.stub(endpoint)

    def rotation(self) -> EndpointRotation:
        """A round over all replicas, beginning with the one that answered last."""
        return EndpointRotation(self.context.endpoints, self._reached.answered_last, self._opened)

    def answered(self, endpoint: str) -> None:
        """This replica is asked first from now on."""
        self._reached.answered_last = endpoint

    def may_go_round_again(self, rotation: EndpointRotation, deadline: float) -> bool:
        """Whether a leader is being elected, and there is time to wait for it."""
        return rotation.electing and self.clock() + ELECTION_PAUSE < deadline

    def pause_or_raise(self, rotation: EndpointRotation, deadline: float, limit: float) -> None:
        """Waits a moment for a leader to be elected. Raises MegafleetError when nobody else can
        help."""
        if not self.may_go_round_again(rotation, deadline):
            raise self.trouble(rotation.failures, limit)
        self.cancellation.pause(ELECTION_PAUSE)

    def trouble(self, failures: list[Failure], limit: float) -> MegafleetError:
        """What people are told after these failures; `limit` is in seconds."""
        if most_telling(failures).hung_up and (why := certificate_fault(self.context)):
            return NotAllowed(f"not allowed: {why}")
        return trouble(failures, limit)

    @property
    def _opened(self) -> Channels:
        """Made anew where the certificate was replaced: calls under way go on over the former."""
        reached = self._reached
        stamp = stamp_of(self.context.ca, self.context.certificate, self.context.key)
        with reached.lock:
            if reached.channels is None or (stamp != reached.stamp and self._may_be_used()):
                reached.channels, reached.stamp = Channels(load_identity(self.context)), stamp
            return reached.channels

    def _may_be_used(self) -> bool:
        """Whether the files fit one another: they may be half copied."""
        from fleet.certificates.live_identity import check_pair

        try:
            check_pair(self.context.certificate, self.context.key)
            load_identity(self.context)
        except (OSError, ValueError, Unreachable):
            return False
        return True
