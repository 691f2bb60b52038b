"""The lists that are held as a whole: fleets, hosts, events and problems."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import number
from fleetctl.tables.column import Column
from fleetctl.ui.rows import HeldList
from fleetctl.views.cluster.events import EVENT_COLUMNS
from fleetctl.views.cluster.problems import PROBLEM_COLUMNS, ProblemRow, problem_rows
from fleetctl.views.fleets.fleets import FLEET_COLUMNS
from fleetctl.views.hosts.host_list import host_columns
from megafleet.connection.cluster import Cluster

# Hosts of one answer: the first ones are on the screen before the others are asked for.
FIRST_HOSTS, MORE_HOSTS = 200, 1_000
MAX_HOSTS = 50_000
# Events that are held, the newest: a controller keeps 10,000.
MAX_EVENTS, FIRST_EVENTS = 2_000, 500


class FleetList(HeldList[cluster.FleetSummary]):
    def __init__(self) -> None:
        super().__init__(FLEET_COLUMNS)

    def ask(self, connection: Cluster, first: int, count: int) -> cluster.ListFleetsResponse:
        return connection.call(lambda stub: stub.ListFleets, cluster.ListFleetsRequest())

    def take(self, answer: cluster.ListFleetsResponse) -> bool:
        self.hold(answer.fleets)
        return False


class HostList(HeldList[cluster.HostSummary]):
    """Page by page: those of a round before are shown until all of the new one are there."""

    def __init__(self) -> None:
        super().__init__(host_columns(time.time()))
        self._coming: list[cluster.HostSummary] = []
        self._cursor = ""
        self._whole = False

    def ask(self, connection: Cluster, first: int, count: int) -> cluster.ListHostsResponse:
        limit = MORE_HOSTS if self._whole or self._cursor else FIRST_HOSTS
        request = cluster.ListHostsRequest(cursor=self._cursor, limit=limit)
        return connection.call(lambda stub: stub.ListHosts, request)

    def take(self, answer: cluster.ListHostsResponse) -> bool:
        self._coming += answer.hosts
        self._cursor = answer.next_cursor if len(self._coming) < MAX_HOSTS else ""
        if not self._cursor or not self._whole:
            self.columns = host_columns(time.time())
            self.hold(self._coming)
        self.remark = f"the first {number(MAX_HOSTS)} alone" if answer.next_cursor else ""
        if self._cursor:
            self.remark = f"{number(len(self._coming))} of {number(answer.matching)} heard so far"
            return True
        self._coming, self._whole = [], True
        return False


class EventList(HeldList[cluster.Event]):
    """The latest first. Each look asks for what has happened since."""

    top_is_newest = True

    def __init__(self) -> None:
        super().__init__(EVENT_COLUMNS)
        self._latest: list[cluster.Event] = []
        self._after = 0

    def ask(self, connection: Cluster, first: int, count: int) -> cluster.ListEventsResponse:
        request = cluster.ListEventsRequest(after=self._after, limit=FIRST_EVENTS)
        return connection.call(lambda stub: stub.ListEvents, request)

    def take(self, answer: cluster.ListEventsResponse) -> bool:
        self._after = answer.next
        if answer.former_leader:
            self.remark = "another controller leads: of events before it has those that matter"
        if answer.events or not self.held:
            self._latest = [*reversed(answer.events), *self._latest][:MAX_EVENTS]
            self.hold(self._latest)
        return len(answer.events) == FIRST_EVENTS


class ProblemList(HeldList[ProblemRow]):
    """What `status --check` judges by, and why VMs fail and fit nowhere; the worst first."""

    columns: Sequence[Column[ProblemRow]]

    def __init__(self) -> None:
        super().__init__(PROBLEM_COLUMNS)

    def ask(self, connection: Cluster, first: int, count: int) -> cluster.StatusResponse:
        return connection.call(lambda stub: stub.Status, cluster.StatusRequest())

    def take(self, answer: cluster.StatusResponse) -> bool:
        self.hold(problem_rows(answer, time.time()))
        return False
