"""The replicas of one cluster: which is asked first, and what people are told if none answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fleet.certificates.file_stamp import Stamp, stamp_of
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleetctl.client.contexts import ClusterContext
from fleetctl.client.replicas.channels import Channels
from fleetctl.client.replicas.endpoint_rotation import EndpointRotation
from fleetctl.client.replicas.failure import Failure, most_telling, trouble
from fleetctl.client.replicas.own_certificate import certificate_fault, load_identity
from fleetctl.outcome import Trouble, Unreachable

# Seconds between two rounds over the replicas while none of them leads.
ELECTION_PAUSE = 0.2


@dataclass(slots=True)
class Replicas:
    """Nothing is dialled before the first stub is asked for."""

    context: ClusterContext
    clock: Callable[[], float]  # monotonic seconds
    _answered_last: str = ""
    _channels: Channels | None = None
    _stamp: Stamp = ()  # of the certificate's files, as the channels were made with them

    def stub(self, endpoint: str) -> ClusterServiceStub:
        """Raises Unreachable when a file of the certificate cannot be read."""
        return self._opened.stub(endpoint)

    def rotation(self) -> EndpointRotation:
        """A round over all replicas, beginning with the one that answered last."""
        return EndpointRotation(self.context.endpoints, self._answered_last, self._opened)

    def answered(self, endpoint: str) -> None:
        """This replica is asked first from now on."""
        self._answered_last = endpoint

    def may_go_round_again(self, rotation: EndpointRotation, deadline: float) -> bool:
        """Whether a leader is being elected, and there is time to wait for it."""
        return rotation.electing and self.clock() + ELECTION_PAUSE < deadline

    def pause_or_raise(self, rotation: EndpointRotation, deadline: float, limit: float) -> None:
        """Waits a moment for a leader to be elected. Raises Trouble when nobody else can help."""
        if not self.may_go_round_again(rotation, deadline):
            raise self.trouble(rotation.failures, limit)
        time.sleep(ELECTION_PAUSE)

    def trouble(self, failures: list[Failure], limit: float) -> Trouble:
        """What people are told after these failures; `limit` is in seconds."""
        if most_telling(failures).hung_up and (why := certificate_fault(self.context)):
            return Unreachable(f"not allowed: {why}")
        return trouble(failures, limit)

    @property
    def _opened(self) -> Channels:
        """Made anew where the certificate was replaced: calls under way go on over the former."""
        stamp = stamp_of(self.context.ca, self.context.certificate, self.context.key)
        if self._channels is None or (stamp != self._stamp and self._may_be_used()):
            self._channels, self._stamp = Channels(load_identity(self.context)), stamp
        return self._channels

    def _may_be_used(self) -> bool:
        """Whether the files fit one another: they may be half copied."""
        from fleet.certificates.live_identity import check_pair

        try:
            check_pair(self.context.certificate, self.context.key)
            load_identity(self.context)
        except (OSError, ValueError, Unreachable):
            return False
        return True
