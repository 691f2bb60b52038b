"""A cluster under faults while an operator scales up and down; then, whether all is as asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import Unavailable
from tests.chaos.namespaces import Namespaces
from tests.chaos.schedule import Fault, Kind, schedule
from tests.processes.daemons import eventually, pause, resume
from tests.processes.replicated_cluster import ReplicatedCluster
from tests.processes.small_cluster import spec

FLEET = "spv"
# Once faults have ended: until changes are taken again, and until all runs as asked. What takes
# longest is a host that is dialled only now and then, up to 15 s apart.
ACCEPT_SECONDS = 60.0
CONVERGE_SECONDS = 120.0


@dataclass(slots=True)
class Outcome:
    """Seconds; `changes` and `faults` are counts."""

    without_control: float = 0.0
    to_converge: float = 0.0
    changes: int = 0
    faults: int = 0
    kinds: dict[str, int] = field(default_factory=dict)


class Operator:
    """Scales to one total after the other, each until it is accepted, by what fleetctl uses."""

    def __init__(self, under: ReplicatedCluster, random: Random, most: int) -> None:
        self._client = under.client(timeout=5.0)
        self._client.change_timeout = 5.0
        self._random = random
        self._most = most
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="operator")
        self._failed: BaseException | None = None
        self.total = 0
        self.changes = 0
        self.longest = 0.0

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        """Its last change is accepted on return. Raises what went wrong."""
        self._over.set()
        self._thread.join(ACCEPT_SECONDS)
        if self._failed is not None:
            raise self._failed
        assert not self._thread.is_alive(), f"no change is accepted {ACCEPT_SECONDS:.0f} s later"

    def _work(self) -> None:
        try:
            while not self._over.wait(self._random.uniform(0.1, 2.0)):
                self._scale(self._random.randint(0, self._most))
        except BaseException as error:
            self._failed = error

    def _scale(self, total: int) -> None:
        # What does not fit while hosts are away is placed when they are back.
        request = cluster.ScaleRequest(fleet=FLEET, total=total, partial=True)
        started = time.monotonic()
        while True:
            try:
                self._client.change(lambda stub: stub.Scale, request, again=True)
                break
            except Unavailable:
                continue  # said so in a few seconds, and asked again
        self.total, self.changes = total, self.changes + 1
        self.longest = max(self.longest, time.monotonic() - started)


class Ordeal:
    """Rounds of faults on one cluster. `say` is told each fault as it begins."""

    def __init__(
        self,
        under: ReplicatedCluster,
        net: Namespaces | None,
        seed: int,
        most: int,
        say: Callable[[str], None],
    ) -> None:
        """`most`: VMs the operator scales to at most. Without `net` nothing is cut off."""
        self._under = under
        self._net = net
        self._random = Random(seed)
        self._most = most
        self._say = say
        self._client = under.client(timeout=5.0)
        self.outcome = Outcome()

    def prepare(self) -> None:
        request = cluster.ApplyFleetRequest(name=FLEET, spec=spec())
        self._client.change(lambda stub: stub.ApplyFleet, request, again=True)

    def round(self, seconds: float) -> None:
        """Faults for so long; then all must be as the last accepted change asked for. Raises
        AssertionError."""
        parts = list(self._under.parts)
        faults = schedule(self._random, parts, seconds, cuts=self._net is not None)
        operator = Operator(self._under, Random(self._random.random()), self._most)
        operator.start()
        try:
            self._inflict(faults)
        finally:
            operator.finish()
        self._note(faults, operator)
        started = time.monotonic()
        self._until_converged(operator.total)
        took = time.monotonic() - started
        self.outcome.to_converge = max(self.outcome.to_converge, took)
        self._under.check(FLEET, operator.total)
        self._say(f"equal: {operator.total:,} VMs, {took:.1f} s after the last change")

    def _inflict(self, faults: list[Fault]) -> None:
        started = time.monotonic()
        turns = [(fault.at, True, fault) for fault in faults]
        turns += [(fault.until, False, fault) for fault in faults]
        for when, begins, fault in sorted(turns, key=lambda turn: turn[:2]):
            time.sleep(max(0.0, started + when - time.monotonic()))
            if begins:
                self._say(str(fault))
                self._begin(fault)
            else:
                self._end(fault)

    def _begin(self, fault: Fault) -> None:
        part = self._under.parts[fault.parts[0]]
        match fault.kind:
            case Kind.KILL:
                part.must_run()
                part.kill()
            case Kind.STOP:
                part.must_run()
                pause(part)
            case Kind.CUT:
                assert self._net is not None
                self._net.cut(fault.parts)

    def _end(self, fault: Fault) -> None:
        part = self._under.parts[fault.parts[0]]
        match fault.kind:
            case Kind.KILL:
                part.begin()
            case Kind.STOP:
                resume(part)
            case Kind.CUT:
                assert self._net is not None
                self._net.mend()

    def _until_converged(self, total: int) -> None:
        def look() -> bool:
            for part in self._under.parts.values():
                part.must_run()
            try:
                request = cluster.StatusRequest(fleet=FLEET)
                answer = self._client.call(lambda stub: stub.Status, request)
            except Unavailable:
                return False
            found = answer.fleets[0]
            live = answer.hosts.live == self._under.live
            return live and found.converged and found.total == total and not answer.read_only

        eventually(look, f"{total:,} VMs run as asked", CONVERGE_SECONDS)

    def _note(self, faults: list[Fault], operator: Operator) -> None:
        out = self.outcome
        out.faults += len(faults)
        out.changes += operator.changes
        out.without_control = max(out.without_control, operator.longest)
        for fault in faults:
            out.kinds[fault.kind] = out.kinds.get(fault.kind, 0) + 1
