"""What one host says takes no more of the leader, and of the store, than one host may; and whoever
reads what the leader says of a host whose lies can be seen finds it named there."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from fleet_controller.queries.fleets import problems
from fleet_controller.replica.leader import Leader
from fleet_controller.store.keys import HOSTS
from fleet_controller.store.port import Change
from tests.simulation.doubles.liars import Liars
from tests.simulation.doubles.lies.table import LIES
from tests.simulation.doubles.machine import Machine
from tests.simulation.doubles.operator import Operator
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.store_view import NOTHING, StoreView
from tests.simulation.rules.troubles import Troubles

# Ranges, ids and problems that are kept of one host, for each VM that it may have, and beside them.
# A host that is as it should be has fewer ranges than VMs.
EACH, BESIDE = 4, 1_024
TEXT_BYTES = 64 << 10  # of problems and errors; a record of 64 labels has half of that
# Writes of a host's own record, its own doing: one in ten seconds, and a few that others ask for.
WRITES_SECONDS, MOST_WRITES = 60.0, 20
NAMED_SECONDS = 25.0  # more than the longest wait before a host is dialled again
# What is said of its agent's restart is no word of its lies.
NO_NEWS = frozenset({"host_live", "host_unreachable", "host_suspect"})
# What a host may be given, whatever it says of its capacity: as four like it; or as any host has.
LIKE_IT, ANY = 4, 256


class Bounded(Witness):
    """Looks every second at what the leader keeps of hosts that lie; hears every revision."""

    def __init__(
        self,
        clock: Callable[[], float],
        machines: Mapping[str, Machine],
        operator: Operator,
        store: StoreView,
        liars: Liars,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._machines = machines
        self._operator = operator
        self._store = store
        self._liars = liars
        self._fail = fail
        self._written: dict[str, deque[float]] = {}  # by host that lies, of late

    def revision_written(self, revision: int, changes: Sequence[Change]) -> None:
        for change in changes:
            host = change.key.removeprefix(HOSTS)
            if change.key.startswith(HOSTS) and host in self._liars.since:
                self._note_write(host, len(change.value or b""))

    def _note_write(self, host: str, size: int) -> None:
        now = self._clock()
        of_late = self._written.setdefault(host, deque())
        of_late.append(now)
        while of_late[0] < now - WRITES_SECONDS:
            of_late.popleft()
        if len(of_late) > MOST_WRITES:
            self._fail("bounded", f"the record of {host} is written {len(of_late)} times a minute")
        if size > TEXT_BYTES:
            self._fail("bounded", f"the record of {host} takes {size:,} bytes of the store")

    def look(self) -> None:
        found = self._operator.leading()
        for host in self._liars.since if found is not None else ():
            assert found is not None
            self._check(host, found[1])

    def _check(self, host: str, leader: Leader) -> None:
        have, assignment = (
            leader.memory.observed.hosts.get(host),
            self._store.assignments.get(host, NOTHING),
        )
        if have is None:
            return
        link = leader.memory.links.get(host)
        kept = sum(len(ranges.ranges) for _, _, ranges in have.orphans)
        kept += len(have.released) + len(have.problems) + len(have.orphans)
        kept += sum(len(ranges.ranges) for ranges in have.prepared.values())
        given = sum(len(shard.ranges) for shard in assignment.shards)
        given += sum(len(stone.ranges) for stone in assignment.tombstones)
        most = EACH * (self._machines[host].capacity + given) + BESIDE
        if kept > most:
            self._fail("bounded", f"the leader keeps {kept:,} things of {host}, not {most} at most")
        if given > max(ANY, LIKE_IT * self._machines[host].capacity):
            self._fail("bounded", f"{host} is given {given} VMs, since it says that it has room")
        text = sum(problem.ByteSize() for problem in have.problems)
        text += len(link.error) if link is not None else 0
        if text > TEXT_BYTES:
            self._fail("bounded", f"the leader keeps {text:,} bytes of texts of {host}")


class Named:
    """Looks every second."""

    def __init__(
        self,
        clock: Callable[[], float],
        machines: Mapping[str, Machine],
        operator: Operator,
        troubles: Troubles,
        liars: Liars,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._machines = machines
        self._operator = operator
        self._troubles = troubles
        self._liars = liars
        self._fail = fail
        self._unnamed: dict[str, float] = {}  # hosts whose lies can be seen, and since when
        self._term = -1  # of whoever leads: the next one has heard nothing yet
        self._off = 0.0  # seconds: how wrong a controller's time of day ever was

    def look(self) -> None:
        now, found = self._clock(), self._operator.leading()
        self._off = max(self._off, *(abs(one.wall_ahead) for one in self._operator.controllers))
        well = found is not None and self._troubles.all_is_calm
        term = found[1].memory.term_revision if found is not None else -1
        if term != self._term:
            self._term, self._unnamed = term, {}
        self._unnamed = {
            host: self._unnamed.get(host, now)
            for host, lies in self._liars.lies.items()
            if found is not None and well and not self._liars.recovering
            if any(LIES[lie].named and LIES[lie].hidden_by not in lies for lie in lies)
            if self._is_heard(found[0].name, self._machines[host])
            if not _is_named(host, found[1], self._liars.since[host] - self._off)
        }
        for host, since in self._unnamed.items():
            if now - since > NAMED_SECONDS:
                lies = ", ".join(sorted(self._liars.lies[host]))
                self._fail(
                    "named", f"nothing that the leader says names {host}, which lies: {lies}"
                )

    def _is_heard(self, leader: str, machine: Machine) -> bool:
        return machine.agent is not None and machine.runs and self._joined(leader, machine.id)

    def _joined(self, leader: str, host: str) -> bool:
        return self._troubles.are_joined(leader, host)


def _is_named(host: str, leader: Leader, since: float) -> bool:
    """In an event, as a problem of its own or of the cluster, as refused, or by its link."""
    memory = leader.memory
    link = memory.links.get(host)
    have = memory.observed.hosts.get(host)
    return (
        link is None
        or not link.live
        or bool(link.error)
        or any(host in str(problem) for problem in problems(memory, ""))
        or (have is not None and bool(have.problems))
        or any(name == host for name, _ in memory.refused.of_late(memory.clock()))
        or any(event.time_unix > since for event in memory.events.page(0, 50, "", host).events)
    )
