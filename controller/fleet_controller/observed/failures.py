"""Why VMs have failed, and since when, as their hosts tell it: claims, of their own VMs alone.

What a host says of VMs that it does not hold changes nothing: whoever asks knows the holder.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fleet.identity import MAX_INDEX
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire

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
