"""VMs that more than one host says it runs, whatever the store says of them.

Whoever holds such a VM keeps it; where none or several do, the newest birth. What any other host
runs of it is one too many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.shards import had_by_an_earlier_one


@dataclass(frozen=True, slots=True)
class Run:
    """VMs of one fleet and birth that a host says it runs: at least one."""

    host: str
    birth: int
    indices: IndexSet


def running_twice(runs: Iterable[Run], held: Callable[[str], IndexSet]) -> dict[str, IndexSet]:
    """By host, what it runs and another one is to go on running. `held`: what the store says that
    a host has of the fleet.

    Some milliseconds for a million VMs on 4,480 hosts: only what overlaps is looked into.
    """
    surplus: dict[str, IndexSet] = {}
    for near in _beside_one_another(runs):
        both = _more_than_once(near)
        parts = _by_right(near, both, held) if both else []
        losing = had_by_an_earlier_one([part.indices for part in parts])
        for part, lost in zip(parts, losing, strict=True):
            if lost:
                surplus[part.host] = surplus.get(part.host, EMPTY) | lost
    return surplus


def _beside_one_another(runs: Iterable[Run]) -> Iterator[list[Run]]:
    """Those that share no index with any other one are left out where their first and last index
    say so. The rest in groups that share none."""
    near: list[Run] = []
    last = -1
    for run in sorted(runs, key=lambda one: one.indices.first):
        if run.indices.first > last:
            if len(near) > 1:
                yield near
            near = []
        near.append(run)
        last = max(last, run.indices.last)
    if len(near) > 1:
        yield near


def _more_than_once(runs: Iterable[Run]) -> IndexSet:
    twice: list[tuple[int, int]] = []
    end = 0
    for start, stop in sorted(pair for run in runs for pair in run.indices.ranges):
        if start < end:
            twice.append((start, min(stop, end)))
        end = max(end, stop)
    return IndexSet(twice)


def _by_right(runs: Iterable[Run], both: IndexSet, held: Callable[[str], IndexSet]) -> list[Run]:
    """What they have of `both`, that with the best right to its VMs first."""
    parts: list[tuple[bool, Run]] = []
    for run in runs:
        if run.indices.isdisjoint(both):
            continue
        mine, others = run.indices & both & held(run.host), run.indices & both
        parts += [
            (holds, Run(run.host, run.birth, part))
            for holds, part in ((True, mine), (False, others - mine))
            if part
        ]
    parts.sort(key=lambda part: (not part[0], -part[1].birth, part[1].host))
    return [run for _, run in parts]
