"""One planning pass of the leader: placement, moves, rollouts, then orders for VMs, over one
snapshot. What the last three take down on purpose they take from one budget.

Each begins with what the one before has decided, so that no room is given out twice. Neither moves
nor rollouts give a host what another one releases in the same pass, so only what placement names as
`first` has to be written before the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

import msgspec

from fleet_controller.core.causes import causes
from fleet_controller.core.host_loss.duplicates import duplicates
from fleet_controller.core.model import (
    Assignment,
    ClusterView,
    FleetRecord,
    HostRecord,
    HostView,
    RolloutRecord,
    RolloutState,
)
from fleet_controller.core.placement.placement import FleetPlan, Placement, place
from fleet_controller.core.rollouts_and_drains.disruption import BudgetUse, DisruptionBudget
from fleet_controller.core.rollouts_and_drains.moves import Stuck, move
from fleet_controller.core.rollouts_and_drains.rebalancing import RebalanceProgress
from fleet_controller.core.rollouts_and_drains.rollout import RolloutProgress, roll
from fleet_controller.core.rollouts_and_drains.vm_orders import (
    OrderOver,
    OrderProgress,
    carry_out,
)

# VMs. One host's worth: a clone and a definition each, a few seconds a wave on a real dom0.
MOVES_AT_ONCE = 250


class Pass(msgspec.Struct, frozen=True):
    """What a pass decides."""

    assignments: Mapping[str, Assignment] = {}  # those that change, by host id
    plans: Mapping[str, FleetPlan] = {}  # by the fleet's name
    unplaced: Mapping[str, Stuck] = {}  # VMs of draining hosts that fit nowhere, by host id
    rollouts: tuple[RolloutRecord, ...] = ()  # those that change
    fleets: Mapping[str, FleetRecord] = {}  # those that change with a rollout, by uid
    progress: Mapping[str, RolloutProgress] = {}  # of rollouts under way, by uid
    first: Set[str] = frozenset()  # hosts whose assignments are written before all others
    # VMs that may run twice once all this is written, by host and fleet uid.
    duplicates: Mapping[str, Mapping[str, int]] = {}
    causes: Mapping[str, str] = {}  # the change that each assignment follows from, by host id
    orders_over: tuple[OrderOver, ...] = ()
    orders: Mapping[str, OrderProgress] = {}  # of orders under way, by uid
    budgets: Mapping[str, BudgetUse] = {}  # by uid, of fleets of which VMs were asked for
    taken: Mapping[str, int] = {}  # VMs taken down by this pass, by uid of fleets with a budget
    rebalances: Mapping[str, RebalanceProgress] = {}  # of those under way, by the fleet's uid

    @property
    def look_again(self) -> float | None:
        """Seconds until something may be otherwise by itself, as canaries that have run for long
        enough; None: nothing is."""
        waits = [one.canaries.look_again for one in self.progress.values() if one.canaries]
        return min((seconds for seconds in waits if seconds), default=None)

    def in_order(self) -> tuple[dict[str, Assignment], dict[str, Assignment]]:
        """The assignments that are written before the others, and the others."""
        first = {host: one for host, one in self.assignments.items() if host in self.first}
        rest = {host: one for host, one in self.assignments.items() if host not in self.first}
        return first, rest


def decide(view: ClusterView, moves_at_once: int) -> Pass:
    """The next step towards what is asked for."""
    placement = place(view)
    decided, starved = _decided(view, placement, moves_at_once, frozenset())
    if starved and _is_turn_of_others(view.revision):
        decided, _ = _decided(view, placement, moves_at_once, starved)
    return decided


def _decided(
    view: ClusterView, placement: Placement, moves_at_once: int, giving_way: Set[str]
) -> tuple[Pass, Set[str]]:
    """A pass, in which moves give way for these fleets; and of which fleets moves have taken what
    rollouts or orders would have had."""
    budget = DisruptionBudget(view, placement.assignments, giving_way)
    moves = move(view, placement.assignments, moves_at_once, budget)
    taken, waiting = budget.taken(), budget.waiting()
    budget.next_asker()
    rolled = roll(view, moves.assignments, budget)
    carried = carry_out(view, rolled.assignments, budget)
    starved = {uid for uid, now in budget.waiting().items()
               if taken.get(uid) and now > waiting.get(uid, 0)}  # fmt: skip
    decided = Pass(
        carried.assignments,
        placement.fleets,
        moves.unplaced,
        rolled.rollouts,
        rolled.fleets,
        rolled.progress,
        placement.first,
        duplicates(view, carried.assignments),
        causes(view, carried.assignments),
        carried.over,
        carried.progress,
        budget.uses(),
        budget.taken(),
        moves.rebalances,
    )
    return decided, starved


def _is_turn_of_others(revision: int) -> bool:
    """Whether moves give way in this pass, where somebody waits who could go on: every other time,
    by a bit in which revisions differ however many writes lie between them."""
    return bool((revision * 0x9E3779B1 >> 16) & 1)


# What is held waits for a person alone.
_OVER = frozenset({RolloutState.DONE, RolloutState.ABORTED, RolloutState.HELD})


def is_at_rest(view: ClusterView, decided: Pass) -> bool:
    """Whether nothing is left to do that a host could take part in: passes decide nothing while
    hosts come, go or describe themselves otherwise (`concerns_rest`), and nothing else happens."""
    return not (
        decided.assignments
        or decided.rollouts
        or decided.unplaced
        or decided.duplicates
        or view.gone
        or view.held_back
        or view.orders
        or view.rebalances
        or any(plan.unplaced for plan in decided.plans.values())
        or any(fleet.deleting for fleet in view.fleets.values())
        or any(rollout.state not in _OVER for rollout in view.rollouts.values())
        or any(map(_has_something_to_do, view.hosts.values()))
    )


def concerns_rest(record: HostRecord) -> bool:
    """Whether a pass has to be made for a host that has become so, though all is at rest."""
    return record.draining or record.lost


def _has_something_to_do(host: HostView) -> bool:
    return (
        concerns_rest(host.record)
        or bool(host.orphans)
        or bool(host.prepared)
        or bool(host.pending_tombstones)
        or any(shard.staged for shard in host.assignment.shards)
    )
