"""The VMs of one fleet: a window over as many as a million, of which a few pages are held."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.v1 import cluster_pb2 as cluster
from fleet.wire_ranges import to_wire
from fleetctl.ui.rows import RowList
from fleetctl.ui.vm_filter import VmFilter, vm_filter
from fleetctl.views.enum_names import vm_state
from fleetctl.views.vms.vms import VM_COLUMNS, ListedVm, fleet_of, listed_vms
from megafleet.connection.cluster import Cluster

PAGE = 200
PAGES = 8  # that are held: what was in view lately is there at once when somebody goes back

# By column: what a controller can list by.
_ORDERS: Mapping[str, cluster.VmOrder.ValueType] = {
    "index": cluster.VM_ORDER_UNSPECIFIED,
    "state": cluster.VM_ORDER_STATE,
    "host": cluster.VM_ORDER_HOST,
    "generation": cluster.VM_ORDER_GENERATION,
    "since": cluster.VM_ORDER_SINCE,
    "restarts": cluster.VM_ORDER_RESTARTS,
}
_TOO_OLD = "this controller is too old to show other than the first VMs in this order"


@dataclass(frozen=True, slots=True)
class _Question:
    """What all rows of one list were asked for with. Answers to another one are not for it."""

    fleet: str
    filter: str
    sort: str


@dataclass(frozen=True, slots=True)
class _Answer:
    question: _Question
    first: int
    pages: Sequence[cluster.ListVmsResponse]
    fleets: Sequence[str]


class VmList(RowList[ListedVm]):
    """Of the fleet that was chosen, or of the first one."""

    columns = VM_COLUMNS

    def __init__(self, fleet: str = "", text: str = "") -> None:
        self.fleet = fleet
        self.fleets: Sequence[str] = ()
        self._pages: dict[int, Sequence[ListedVm]] = {}
        self._total = 0
        self.filter = text
        self._filter = vm_filter(text, fleet)

    @property
    def total(self) -> int:
        return self._total

    @property
    def held(self) -> int:
        """Rows in memory."""
        return sum(map(len, self._pages.values()))

    @property
    def sortable(self) -> Sequence[str]:
        return list(_ORDERS)

    def row(self, at: int) -> ListedVm | None:
        page = self._pages.get(at // PAGE, ())
        return page[at % PAGE] if at % PAGE < len(page) else None

    def set_filter(self, text: str) -> None:
        self._filter = vm_filter(text, self.fleet)
        self.filter = text
        self._forget()

    def set_sort(self, sort: str) -> None:
        self.sort = sort
        self._forget()

    def set_fleet(self, fleet: str) -> None:
        """Its VMs from now on, all of them."""
        self.fleet, self.filter, self._filter = fleet, "", VmFilter()
        self._forget()

    def next_fleet(self) -> str:
        """The one after the one that is listed; the same where there is no other."""
        if self.fleet not in self.fleets:
            return self.fleets[0] if self.fleets else self.fleet
        return self.fleets[(self.fleets.index(self.fleet) + 1) % len(self.fleets)]

    def ask(self, connection: Cluster, first: int, count: int) -> _Answer:
        question, fleets = _Question(self.fleet, self.filter, self.sort), self.fleets
        fleet, chosen = self.fleet, self._filter
        if not fleet or not fleets:
            listed = connection.call(lambda stub: stub.ListFleets, cluster.ListFleetsRequest())
            fleets = [one.name for one in listed.fleets]
            if not fleets:
                return _Answer(question, 0, (), ())
            fleet = fleet or fleets[0]
        page, last = first // PAGE, (first + max(1, count) - 1) // PAGE
        answers = [
            connection.call(lambda stub: stub.ListVms, _request(fleet, chosen, question.sort, at))
            for at in range(page, last + 1)
        ]
        return _Answer(question, page, answers, fleets)

    def take(self, answer: _Answer) -> bool:
        if answer.question != _Question(self.fleet, self.filter, self.sort):
            return True  # it was asked for before the list became another
        self.fleets = answer.fleets
        heard, self.known = time.time(), True
        for page, one in enumerate(answer.pages, answer.first):
            self._take_page(page, one, heard)
        if answer.pages:
            self.fleet = fleet_of(answer.pages[0].fleet).name
        self.title = f"of {self.fleet}" if self.fleet else ""
        return False

    def _take_page(self, page: int, answer: cluster.ListVmsResponse, heard: float) -> None:
        self._total = answer.matching
        self.remark = ""
        if not answer.HasField("position") and (page or self.sort):
            # It has answered with the first page in the order of indices.
            self.remark = _TOO_OLD
            self._total, page = min(len(answer.vms), PAGE), 0
        self._pages.pop(page, None)  # the newest last
        self._pages[page] = listed_vms(answer, heard)
        while len(self._pages) > PAGES:
            del self._pages[next(iter(self._pages))]

    def _forget(self) -> None:
        self._pages.clear()
        self._total, self.known = 0, False


def _request(fleet: str, chosen: VmFilter, sort: str, page: int) -> cluster.ListVmsRequest:
    return cluster.ListVmsRequest(
        fleet=fleet,
        state=vm_state(chosen.state),
        powered_off_only=chosen.stopped,
        host=chosen.host,
        indices=to_wire(chosen.indices) if chosen.indices is not None else (),
        host_selector=chosen.selector,
        limit=PAGE,
        skip=page * PAGE,
        order=_ORDERS.get(sort.removeprefix("-"), cluster.VM_ORDER_UNSPECIFIED),
        descending=sort.startswith("-"),
    )
