"""Waits for a change of a fleet, through failures of the controller, until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from fleet.v1 import cluster_pb2 as cluster
from megafleet.connection.cluster import Cluster
from megafleet.errors import Unavailable
from megafleet.progress import ChangeProgress, GoalState

# Milliseconds: how often the controller may send a changed status.
INTERVAL_MS = 100
# Seconds after which a stream is opened anew: the first status on it comes at once, so that a
# controller that has gone silent is noticed.
STREAM_SECONDS = 10.0
# A controller sends a status once a second though nothing has changed.
SILENCE_SECONDS = 4.0
# Seconds between two attempts to reach a controller.
PAUSE = 0.3


class ReachabilityListener(Protocol):
    """Learns whether a controller can be reached."""

    def unreachable(self, message: str) -> None:
        """No controller answers. Called once, until one answers again."""

    def reachable_again(self) -> None:
        """A controller answers again."""


class ProgressViewer(ReachabilityListener, Protocol):
    """Shows a change while it is waited for."""

    def show(
        self, response: cluster.StatusResponse, progress: ChangeProgress, now: float
    ) -> None: ...


class NoViewer:
    """Shows nothing."""

    def show(self, response: cluster.StatusResponse, progress: ChangeProgress, now: float) -> None:
        pass

    def unreachable(self, message: str) -> None:
        pass

    def reachable_again(self) -> None:
        pass


@dataclass(slots=True)
class Reachability:
    """Passes on to a listener when answers cease and when they come again, and nothing twice."""

    listener: ReachabilityListener
    _reachable: bool = True

    def answered(self) -> None:
        if not self._reachable:
            self._reachable = True
            self.listener.reachable_again()

    def failed(self, message: str) -> None:
        if self._reachable:
            self._reachable = False
            self.listener.unreachable(message)


class FleetGoal(Protocol):
    """What is waited for of one fleet."""

    @property
    def fleet(self) -> str: ...

    def state(self, status: cluster.FleetStatus) -> GoalState: ...


@dataclass(slots=True)
class Waiting:
    """A wait for a goal: how far the goal is, and the last status seen."""

    goal: FleetGoal
    progress: ChangeProgress
    state: GoalState = GoalState.GOING_ON
    response: cluster.StatusResponse | None = None

    @property
    def status(self) -> cluster.FleetStatus | None:
        """The last status of the goal's fleet."""
        for one in self.response.fleets if self.response else ():
            if one.fleet == self.goal.fleet:
                return one
        return None


def wait(
    cluster_: Cluster,
    waiting: Waiting,
    timeout: float,
    viewer: ProgressViewer,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Until the goal is reached or given up, or the timeout has passed since its start.

    What was seen is kept in `waiting`, also when an interrupt ends it. Raises MegafleetError when
    the controller refuses.
    """
    deadline = waiting.progress.started + timeout
    for response in statuses(cluster_, waiting.goal.fleet, deadline, viewer, clock):
        waiting.response = response
        if (status := waiting.status) is None:
            continue
        now = clock()
        waiting.progress.record(status, now)
        viewer.show(response, waiting.progress, now)
        waiting.state = waiting.goal.state(status)
        if waiting.state is not GoalState.GOING_ON:
            return


def statuses(
    cluster_: Cluster,
    fleet: str,
    deadline: float,
    listener: ReachabilityListener,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[cluster.StatusResponse]:
    """Statuses whenever they change, until the deadline; over failovers of the controller."""
    request = cluster.WatchStatusRequest(fleet=fleet, interval_ms=INTERVAL_MS)
    reachability = Reachability(listener)
    while (rest := deadline - clock()) > 0:
        heard = False
        try:
            stream = cluster_.stream(
                lambda stub: stub.WatchStatus,
                request,
                min(rest, STREAM_SECONDS),
                silence=SILENCE_SECONDS,
            )
            for response in stream:
                heard = True
                reachability.answered()
                yield response
        except Unavailable as trouble:
            if clock() < deadline:
                reachability.failed(trouble.message)
        if not heard:
            cluster_.cancellation.pause(min(PAUSE, deadline - clock()))
