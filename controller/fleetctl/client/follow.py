"""Waits for a change of a fleet, through failures of the controller, until it is done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.client.cluster import Cluster
from fleetctl.outcome import Unavailable
from fleetctl.progress import Goal, Progress, Standing, standing

# How often the controller may tell of changes.
INTERVAL_MS = 100
# A stream is opened anew after this long: the first status on it comes at once, so that a
# controller that has gone silent is noticed.
STREAM_SECONDS = 10.0
# A controller tells a status once a second though nothing has changed.
SILENCE_SECONDS = 4.0
# Between two attempts to reach a controller.
PAUSE = 0.3


class Reachability(Protocol):
    """Who is told whether the controller can be reached."""

    def lost(self, message: str) -> None:
        """No controller answers. Said once, until one answers again."""

    def back(self) -> None:
        """One answers again."""


class Viewer(Reachability, Protocol):
    """Who shows what is seen while waiting."""

    def see(self, response: cluster.StatusResponse, progress: Progress, now: float) -> None: ...


class Unseen:
    """Shows nothing."""

    def see(self, response: cluster.StatusResponse, progress: Progress, now: float) -> None:
        pass

    def lost(self, message: str) -> None:
        pass

    def back(self) -> None:
        pass


@dataclass(slots=True)
class Waiting:
    """A wait for a goal: how it stands, and the last status seen."""

    goal: Goal
    progress: Progress
    standing: Standing = Standing.GOING_ON
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
    viewer: Viewer,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Until the goal is reached or given up, or the timeout has passed since its start.

    What was seen is kept in `waiting`, also when an interrupt ends it. Raises Trouble when the
    controller refuses.
    """
    deadline = waiting.progress.started + timeout
    for response in statuses(cluster_, waiting.goal.fleet, deadline, viewer, clock):
        waiting.response = response
        if (status := waiting.status) is None:
            continue
        now = clock()
        waiting.progress.see(status, now)
        viewer.see(response, waiting.progress, now)
        waiting.standing = standing(waiting.goal, status)
        if waiting.standing is not Standing.GOING_ON:
            return


def statuses(
    cluster_: Cluster,
    fleet: str,
    deadline: float,
    viewer: Reachability,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[cluster.StatusResponse]:
    """Statuses whenever they change, until the deadline; over failovers of the controller."""
    request = cluster.WatchStatusRequest(fleet=fleet, interval_ms=INTERVAL_MS)
    reachable = True
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
                if not reachable:
                    reachable = True
                    viewer.back()
                yield response
        except Unavailable as trouble:
            if reachable and clock() < deadline:
                reachable = False
                viewer.lost(trouble.message)
        if not heard:
            time.sleep(max(0.0, min(PAUSE, deadline - clock())))
