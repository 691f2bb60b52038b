"""Fleet files against what there is: decided as `apply` would, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence, Set

import numpy as np
from msgspec.structs import replace

from fleet.v1 import types_pb2 as types
from fleet_controller.core.changes import Application, apply_fleet
from fleet_controller.core.fleet_plans import sentences
from fleet_controller.core.fleet_plans.model import (
    Effect,
    FleetPlan,
    HostCounts,
    Hosts,
    Known,
    Plans,
)
from fleet_controller.core.fleet_plans.tokens import fleet_token, plan_token
from fleet_controller.core.generations.differences import differences
from fleet_controller.core.model import FleetRecord, HostRecord
from fleet_controller.core.refusals import Reason, Refused

# By name, in the order in which they are applied.
Asked = Sequence[tuple[str, types.FleetSpec]]
# Of one plan: each is held against all that there are.
MOST_FLEETS = 100
_PLANNER = "planned"  # stands for whoever applies, and for the uid of what is not made


def plan_fleets(
    known: Known,
    asked: Asked,
    *,
    prune: bool,
    others: Collection[str] = (),
    check: Callable[[Application, types.FleetSpec], None] | None = None,
) -> Plans:
    """`prune`: fleets that are neither asked for nor among the others are deleted afterwards.
    `check`: what else may refuse. Raises Refused for what could not be applied."""
    if len(asked) > MOST_FLEETS:
        message = f"a plan is of at most {MOST_FLEETS} fleets, and {len(asked):,} are asked for"
        raise Refused(Reason.BAD_QUERY, message)
    names = Counter(name for name, _ in asked)
    if twice := next((name for name, times in names.items() if times > 1), None):
        raise Refused(Reason.BAD_SPEC, f"fleet {twice[:60]!r} is asked for twice")
    if prune and not names:
        raise Refused(Reason.BAD_QUERY, "no fleet is named: then none is pruned either")
    plans: list[FleetPlan] = []
    for name, spec in asked:
        done = apply_fleet(
            known.fleets, known.specs, known.meta, name, spec,
            _PLANNER, f"{_PLANNER}-{name}", known.all_hosts_accounted, rollouts=known.rollouts,
        )  # fmt: skip
        if check is not None:
            check(done, spec)
        plans.append(_applied(known, done, spec))
        known = _afterwards(known, done)
    if prune:
        kept = {*names, *others}
        gone = (one for name, one in sorted(known.fleets.items()) if name not in kept)
        plans += [_deleted(known, one) for one in gone if not one.deleting]
    return Plans(tuple(plans), plan_token(one.token for one in plans))


def misplaced(placement: types.Placement, by_host: HostCounts, hosts: Hosts) -> int:
    """How many VMs stand where the placement would put none."""
    counts, beyond = by_host.counts, 0
    if selector := dict(placement.selector).items():
        fits = np.fromiter(
            (_fits(selector, hosts.get(name)) for name in by_host.names), bool, len(by_host.names)
        )[: len(counts)]
        beyond = int(counts[~fits].sum())
        counts = counts[fits]
    if placement.per_host:
        beyond += int(np.maximum(counts - placement.per_host, 0).sum())
    return beyond


def _fits(selector: Set[tuple[str, str]], host: HostRecord | None) -> bool:
    """Of a host that is not known nothing is known to be wrong."""
    return host is None or selector <= host.labels.items()


def _applied(known: Known, done: Application, spec: types.FleetSpec) -> FleetPlan:
    have, fleet = done.before, done.fleet
    before = known.spec(have)
    token = fleet_token(fleet.name, have, before, spec)
    if have is None:
        return FleetPlan(
            fleet.name, Effect.CREATE, 0, 0, fleet.generation, token,
            tuple(differences(None, spec)),
            (sentences.created(fleet.name, scheduled=spec.HasField("schedule")),),
        )  # fmt: skip
    counts = known.counts(have.uid)
    fields = tuple(differences(None, spec)) if before is None else done.fields
    beyond = 0
    if any(one.field.startswith("placement.") for one in fields):
        beyond = misplaced(spec.placement, known.by_host(have.uid), known.hosts)
    effect = Effect.CHANGE if done.matters else Effect.NOTHING
    plan = FleetPlan(
        fleet.name, effect, fleet.total, have.generation, fleet.generation, token, fields,
        returns=done.returned, counts=counts, misplaced=beyond,
    )  # fmt: skip
    older = [g for g in done.specs if g not in (fleet.generation, have.generation)]
    rollout = known.rollouts.get(have.uid)
    return replace(plan, says=tuple(sentences.changed(plan, older, rollout)))


def _deleted(known: Known, fleet: FleetRecord) -> FleetPlan:
    token = fleet_token(fleet.name, fleet, known.spec(fleet), None)
    counts = known.counts(fleet.uid)
    return FleetPlan(
        fleet.name, Effect.DELETE, fleet.total, fleet.generation, fleet.generation, token,
        says=(sentences.deleted(fleet.name, _placed(counts.values())),), counts=counts,
    )  # fmt: skip


def _placed(counts: Iterable[tuple[int, int]]) -> int:
    return sum(placed for placed, _ in counts)


def _afterwards(known: Known, done: Application) -> Known:
    fleet = done.fleet
    specs = {(fleet.uid, generation): spec for generation, spec in done.specs.items()}
    return replace(
        known,
        fleets={**known.fleets, fleet.name: fleet},
        specs={**known.specs, **specs},
        meta=done.meta or known.meta,
    )
