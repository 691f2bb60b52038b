"""Why VMs have failed, and since when, as their hosts tell it: claims, of their own VMs alone.

What a host says of VMs that it does not hold changes nothing: whoever asks knows the holder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from fleet.identity import MAX_INDEX
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet_controller.core.model import Shard
from fleet_controller.core.vm_states import FAILED
from fleet_controller.observed.vectors import FleetVector

_NO_DATE = 253_402_300_800  # the year 10000: a time that is none


@dataclass(frozen=True, slots=True)
class Failure:
    """Of one VM. `since_unix`: 0 where its host does not say."""

    problem: wire.Problem
    since_unix: int


def failure_of(problems: Iterable[wire.Problem], fleet_uid: str, index: int) -> Failure | None:
    """Of a VM that has failed, by the problems of its host. One of an older agent names no VMs: it
    stands for all of its fleet."""
    unnamed = None
    for problem in problems:
        if problem.fleet_uid != fleet_uid:
            continue
        if not problem.failed:
            unnamed = problem
            continue
        at = bisect_right(problem.failed, index, key=lambda one: one.start) - 1
        if at >= 0 and index < problem.failed[at].stop:
            return Failure(problem, problem.failed[at].since_unix)
    return Failure(unnamed, 0) if unnamed is not None else None


def lasting(problems: Iterable[wire.Problem], fleet_uid: str) -> IndexSet:
    """VMs of the fleet that no waiting mends."""
    return IndexSet(
        (one.start, one.stop)
        for problem in problems
        if problem.lasting and problem.fleet_uid == fleet_uid
        for one in problem.failed
    )


def failed_for_good(
    shards: Iterable[Shard],
    problems: Sequence[wire.Problem],
    number: int,
    vectors: Mapping[str, FleetVector],
) -> Counter[tuple[str, int]]:
    """How many of a host's own VMs, wanted on, have failed so, by fleet and generation. `number`:
    the host's."""
    found: Counter[tuple[str, int]] = Counter()
    told = {problem.fleet_uid for problem in problems if problem.lasting and problem.failed}
    for shard in shards:
        if shard.fleet in told and shard.power and not shard.staged:
            named = lasting(problems, shard.fleet) & shard.ranges
            vector = vectors[shard.fleet]
            failed = vector.count_within(vector.held(number, named), FAILED)
            found[shard.fleet, shard.generation] += failed
    return +found


class LastingFailures:
    """The sum of all hosts, kept: a status of a million failed VMs costs no more than another."""

    def __init__(self) -> None:
        self._of_host: dict[str, Counter[tuple[str, int]]] = {}
        self._sums: Counter[tuple[str, int]] = Counter()

    def set(self, host_id: str, failed: Counter[tuple[str, int]]) -> None:
        """What the host has now."""
        before = self._of_host.pop(host_id, None)
        if before:
            self._sums -= before
        if failed:
            self._of_host[host_id] = failed
            self._sums += failed

    def of_fleet(self, uid: str) -> int:
        return sum(count for (fleet, _), count in self._sums.items() if fleet == uid)

    def of_generation(self, uid: str, generation: int) -> int:
        return self._sums[uid, generation]


def are_fit(failed: Sequence[wire.FailedRange], most: int) -> bool:
    """Whether these can be some of `most` VMs: sorted, disjoint, and of a time that is one."""
    last = count = 0
    for one in failed:
        in_order = last <= one.start < one.stop <= MAX_INDEX + 1
        if not in_order or not 0 < one.since_unix < _NO_DATE:
            return False
        last = one.stop
        count += one.stop - one.start
    return count <= most
