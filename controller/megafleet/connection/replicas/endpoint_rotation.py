"""One round over the replicas of a controller: which of them is asked next, and how each failed."""

from __future__ import annotations

from collections.abc import Sequence

from megafleet.connection.replicas.channels import CONNECT_SECONDS, HEAD_START, Channels
from megafleet.connection.replicas.failure import Failure, most_telling


class EndpointRotation:
    """`failures`: of the replicas that were asked, in order."""

    def __init__(self, endpoints: Sequence[str], first: str, channels: Channels) -> None:
        """`first`: the one that answered last, if any; it is asked before all others."""
        self._endpoints = endpoints
        self._channels = channels
        others = [one for one in endpoints if one != first]
        self._untried = [first, *others] if first else others
        self.failures: list[Failure] = []

    @property
    def left(self) -> int:
        """How many have not been asked."""
        return len(self._untried)

    @property
    def electing(self) -> bool:
        """Whether those that were asked wait for a leader."""
        return most_telling(self.failures).passing

    def next(self, seconds: float) -> tuple[str, float]:
        """The endpoint that is asked next, and for how many seconds it may be waited for.

        One that does not even connect is given less of the `seconds` left, so that it keeps
        nobody from asking the others again, least of all while those wait for a leader.
        """
        if len(self._endpoints) == 1 and len(self._untried) == 1:
            return self._untried.pop(), seconds
        electing = any(failure.passing for failure in self.failures)
        connect_seconds = min(seconds, HEAD_START if electing else CONNECT_SECONDS)
        endpoint, connected = self._channels.first_connected(self._untried, connect_seconds)
        self._untried.remove(endpoint)
        return endpoint, seconds if connected else connect_seconds

    def failed(self, failure: Failure) -> None:
        """The replica that leads, if this one has named it, is tried next, unless it has been."""
        self.failures.append(failure)
        leader = failure.leader
        if leader and all(one.endpoint != leader for one in self.failures):
            if leader in self._untried:
                self._untried.remove(leader)
            self._untried.insert(0, leader)

    def restart(self, without: str) -> None:
        """All are worth a try again but this one, which has answered and does so no more."""
        self.failures.clear()
        self._untried = [one for one in self._endpoints if one != without]
