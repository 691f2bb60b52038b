"""What `wait` does for a host: it is looked at whenever the cluster's status has changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fleetctl.commands.cluster.wait_ending import Ended
from fleetctl.outcome import FailedForGood, NotConverged, Trouble, Unavailable, Unreachable
from fleetctl.output import duration, say
from fleetctl.session import Session
from megafleet.conditions import Condition, host_state, in_the_way
from megafleet.deadlines import READ_TIMEOUT
from megafleet.progress import GoalState

if TYPE_CHECKING:
    from fleet.v1 import cluster_pb2 as cluster
    from fleetctl.terminal.progress_line import ProgressLine

_NO_SUCH_HOST = "NO_SUCH_HOST"


class HostWait:
    """One wait for a host to be live. `timeout` is in seconds."""

    def __init__(self, session: Session, host: str, timeout: float) -> None:
        self._session = session
        self._host = host
        self._timeout = timeout
        self._started = time.monotonic()
        self._seen: cluster.HostSummary | None = None
        self._heard = False  # whether a controller has answered at all

    def run(self) -> Ended:
        """Raises Trouble when the controller refuses."""
        from fleetctl.views.hosts.hosts import host_json

        state, interrupted = GoalState.GOING_ON, False
        try:
            state = self._watch()
        except KeyboardInterrupt:
            interrupted = True
        shown = {"host": host_json(self._seen) if self._seen else None}
        seconds = time.monotonic() - self._started
        trouble = self._trouble(state, interrupted)
        return Ended(self._host, Condition.HOST_LIVE, self._text(), seconds, trouble, shown)

    def _watch(self) -> GoalState:
        from fleetctl.terminal.progress_line import progress_line
        from fleetctl.terminal.progress_viewers import ReachabilityNotes
        from megafleet.connection.follow import statuses

        deadline = self._started + self._timeout
        with progress_line(json=self._session.json, write=say) as line:
            # A status at least once a second, and at once where anything has changed.
            for _ in statuses(self._session.cluster, "", deadline, ReachabilityNotes()):
                state = self._look(line, deadline)
                if state is not GoalState.GOING_ON:
                    return state
        return GoalState.GOING_ON

    def _look(self, line: ProgressLine, deadline: float) -> GoalState:
        from fleet.v1 import cluster_pb2

        request = cluster_pb2.GetHostRequest(id=self._host)
        seconds = min(READ_TIMEOUT, max(0.1, deadline - time.monotonic()))
        try:
            answer = self._session.cluster.call(lambda stub: stub.GetHost, request, seconds)
            self._seen = answer.summary
        except Unavailable:
            return GoalState.GOING_ON  # the next status comes from whoever answers then
        except Trouble as trouble:
            if trouble.reason != _NO_SUCH_HOST:
                raise
            self._seen = None
        self._heard = True
        line.show(f"{duration(line.elapsed()):>6}  {self._text()}")
        return host_state(self._seen)

    def _text(self) -> str:
        from fleetctl.views.enum_names import health_name

        if self._seen is None:
            return f"{self._host} is not known: no agent of that name has announced itself"
        health = health_name(self._seen.health)
        why = f": {self._seen.link_error}" if self._seen.link_error else ""
        return f"{self._host} is {health}{why if health != 'live' else ''}"

    def _trouble(self, state: GoalState, interrupted: bool) -> Trouble | None:
        if state is GoalState.DONE:
            return None
        if state is GoalState.FAILED_FOR_GOOD and self._seen:
            why = in_the_way(self._seen)
            return FailedForGood(f"{self._host} does not become live by waiting: {why}")
        if interrupted:
            return NotConverged("no longer waiting; nothing was changed")
        within = duration(self._timeout)
        if not self._heard:
            return Unreachable(f"no controller answered within {within}")
        return NotConverged(f"{self._text()}, after {within}; see 'fleetctl hosts list'")
