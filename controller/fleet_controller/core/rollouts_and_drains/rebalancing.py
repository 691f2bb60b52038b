"""Rebalances carried out: what the plan of this pass has leave hosts is staged where it goes.

The plan is made anew in each pass (`core.rebalance`), and what is on its way counts as being there.
So nothing is remembered but that the fleet is to be rebalanced, and whoever leads next goes on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import ClusterView, Shard
from fleet_controller.core.placement.drafts import Drafts
from fleet_controller.core.rebalance.filling import fill
from fleet_controller.core.rebalance.model import FleetRebalance
from fleet_controller.core.rebalance.plan import rebalance_of


class RebalanceProgress(msgspec.Struct, frozen=True):
    """`left`: VMs that are not where they go yet; of these, `moving` are being prepared there or
    let go here. `unplaced` and `waiting` as of a FleetRebalance."""

    left: int
    moving: int = 0
    unplaced: int = 0
    waiting: int = 0
    why: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the fleet need not be rebalanced any more."""
        return not (self.left or self.unplaced or self.waiting)


def rebalance(view: ClusterView, drafts: Drafts, most: int) -> dict[str, RebalanceProgress]:
    """Stage up to so many further VMs; how far each rebalance is, by fleet uid. What breaks a bound
    comes before anything that is only leveled."""
    on_its_way: Counter[str] = Counter()
    busy: dict[str, IndexSet] = {}
    for uid, shards in _staged(view, drafts).items():
        on_its_way[uid] = sum(map(len, shards))
        busy[uid] = IndexSet.union_of(shards)
    asked = {uid: one.only_bounds for uid, one in view.rebalances.items()}
    plans = rebalance_of(view, drafts.hosts, asked)
    begun: Counter[str] = Counter()
    takes = {uid: dict(plan.takes) for uid, plan in plans.items()}
    for urgent in (True, False):
        for uid, plan in plans.items():
            leaving = plan.must if urgent else _rest(plan)
            kinds = _chosen(view, drafts, uid, leaving, busy.get(uid, EMPTY), most)
            for kind in kinds:
                placed = _stage(drafts, kind, takes[uid])
                busy[uid] = busy.get(uid, EMPTY) | kind.ranges
                begun[uid] += placed
                most -= placed
    return {
        uid: RebalanceProgress(
            plan.moves + on_its_way[uid],
            on_its_way[uid] + begun[uid],
            plan.unplaced,
            plan.waiting,
            plan.why,
        )
        for uid, plan in plans.items()
    }


def _staged(view: ClusterView, drafts: Drafts) -> dict[str, list[IndexSet]]:
    """Of fleets that are rebalanced, by uid."""
    found: dict[str, list[IndexSet]] = defaultdict(list)
    for _, shard in drafts.shards():
        if shard.staged and shard.fleet in view.rebalances:
            found[shard.fleet].append(shard.ranges)
    return found


def _rest(plan: FleetRebalance) -> dict[str, int]:
    """What leaves hosts besides what breaks a bound."""
    return {host: count - plan.must.get(host, 0) for host, count in plan.gives.items()}


def _chosen(
    view: ClusterView,
    drafts: Drafts,
    uid: str,
    leaving: Mapping[str, int],
    busy: IndexSet,
    most: int,
) -> list[Shard]:
    """VMs that leave these hosts, at most so many, as the shards that are to be staged. Of a host's
    VMs those go first that are off, and then those with the highest indices."""
    kinds: dict[Shard, list[IndexSet]] = defaultdict(list)
    for host, count in leaving.items():
        for shard in sorted(_held(drafts, host, uid), key=lambda one: one.power):
            if (
                (part := (shard.ranges - busy).highest(min(count, most)))
                if count and most
                else None
            ):
                kind = structs.replace(shard, ranges=EMPTY, birth=view.revision, staged=True)
                kinds[kind].append(part)
                count -= len(part)
                most -= len(part)
        if not most:
            break
    return [structs.replace(kind, ranges=IndexSet.union_of(parts)) for kind, parts in kinds.items()]


def _held(drafts: Drafts, host: str, uid: str) -> Iterable[Shard]:
    return [one for one in drafts.hosts[host].shards if one.fleet == uid and not one.staged]


def _stage(drafts: Drafts, kind: Shard, takes: dict[str, int]) -> int:
    """Those that take most get VMs first, so that many hosts prepare them at once. `takes`: what
    each may yet get, which grows less. How many VMs are staged."""
    names = [name for name, count in takes.items() if count]
    counts = np.array([takes[name] for name in names], np.int64)
    if not names:
        return 0
    shares = fill(counts.max() - counts, counts, np.zeros_like(counts), len(kind.ranges))
    given = {name: int(share) for name, share in zip(names, shares, strict=True) if share}
    before = {name: drafts.hosts[name].own.get(kind.fleet, 0) for name in given}
    rest = drafts.add_to(kind, given)
    for name, had in before.items():
        takes[name] -= drafts.hosts[name].own.get(kind.fleet, 0) - had
    return len(kind.ranges) - len(rest)
