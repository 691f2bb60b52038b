"""Events as they come, through failovers: nothing is lost unless an answer says so."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

from fleet.v1 import cluster_pb2 as cluster
from megafleet.connection.cluster import Cluster
from megafleet.errors import Unavailable

# A controller is asked to wait this long for the next event.
WAIT_SECONDS = 10.0
# As many events as a controller keeps.
ALL = 10_000
# Between two attempts to reach one.
PAUSE = 0.5


def follow_events(
    cluster_: Cluster,
    request: cluster.ListEventsRequest,
    unreachable: Callable[[Unavailable], None],
    *,
    patience: float = math.inf,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[cluster.ListEventsResponse]:
    """Answers with what came after `request.after`, whether they have events or not, without an
    end. `unreachable` hears once when no controller answers any more; after `patience` seconds of
    that Unavailable is raised. The request's `after` and `wait_ms` are set here.

    It goes on from what was seen, so a controller that fails costs no event. What the next leader
    does not know any more, its answer tells: `former_leader`, `truncated`.
    """
    request.wait_ms = int(WAIT_SECONDS * 1000)
    limit = WAIT_SECONDS + cluster_.timeout
    reachable, heard = True, clock()
    while True:
        try:
            answer = cluster_.call(lambda stub: stub.ListEvents, request, limit, takes=WAIT_SECONDS)
        except Unavailable as trouble:
            if clock() - heard >= patience:
                raise
            if reachable:
                unreachable(trouble)
            reachable = False
            cluster_.cancellation.pause(PAUSE)
            continue
        reachable, heard, request.after = True, clock(), answer.next
        yield answer
