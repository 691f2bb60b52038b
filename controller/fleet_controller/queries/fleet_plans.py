"""What applying fleet files would do, and the generations of a fleet, from the leader's memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

from fleet.template.settings import template_of
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.fleet_plans.model import Effect, FleetPlan, HostCounts, Known, Plans
from fleet_controller.core.generations.differences import Difference, differences
from fleet_controller.core.refusals import named_fleet
from fleet_controller.leader.memory import LeaderMemory

# Generations of a fleet that are told: the newest.
MOST_GENERATIONS = 100
_EFFECTS = {
    Effect.CREATE: cluster.FLEET_EFFECT_CREATE,
    Effect.CHANGE: cluster.FLEET_EFFECT_CHANGE,
    Effect.NOTHING: cluster.FLEET_EFFECT_NOTHING,
    Effect.DELETE: cluster.FLEET_EFFECT_DELETE,
}


def known(memory: LeaderMemory, request: cluster.PlanFleetsRequest) -> Known:
    """What there is, as it is now: for a plan that is made beside what changes meanwhile. Raises
    Refused for a fleet whose record nobody understands."""
    state, observed = memory.state, memory.observed
    for one in request.fleets:
        state.broken.refuse_fleet(one.name)
    asked = {one.name for one in request.fleets}
    fleets = [f for f in state.fleets.values() if request.prune or f.name in asked]
    vectors = {fleet.uid: observed.vectors[fleet.uid] for fleet in fleets}
    counts = {uid: vector.by_generation() for uid, vector in vectors.items()}
    names = tuple(observed.names)
    by_host = {
        fleet.uid: HostCounts(names, vectors[fleet.uid].by_host())
        for fleet in fleets
        if fleet.name in asked
    }
    return Known(
        dict(state.fleets), dict(state.specs), state.meta, dict(state.hosts), dict(state.rollouts),
        memory.links.all_live, counts.__getitem__, by_host.__getitem__,
    )  # fmt: skip


def answer(plans: Plans) -> cluster.PlanFleetsResponse:
    """As a message."""
    return cluster.PlanFleetsResponse(fleets=map(_plan, plans.fleets), token=plans.token)


def generations(memory: LeaderMemory, name: str) -> cluster.ListGenerationsResponse:
    """The newest first. Raises Refused."""
    state = memory.state
    fleet = named_fleet(state.fleets, name)
    specs = {g: spec for (uid, g), spec in state.specs.items() if uid == fleet.uid}
    newest = sorted(specs, reverse=True)
    counts = memory.observed.vectors[fleet.uid].by_generation()
    before = dict(pairwise(newest))
    return cluster.ListGenerationsResponse(
        fleet=fleet.name,
        generations=[
            cluster.FleetGeneration(
                generation=g,
                current=g == fleet.generation,
                assigned=counts.get(g, (0, 0))[0],
                running=counts.get(g, (0, 0))[1],
                fields=_template_changes(specs, before.get(g), g),
            )
            for g in newest[:MOST_GENERATIONS]
        ],
    )


def _template_changes(
    specs: Mapping[int, types.FleetSpec], before: int | None, generation: int
) -> Iterable[cluster.FieldChange]:
    """Settings are those of all generations. Nothing of the first one that is kept."""
    if before is None:
        return []
    return _fields(differences(template_of(specs[before]), template_of(specs[generation])))


def _plan(plan: FleetPlan) -> cluster.FleetPlan:
    return cluster.FleetPlan(
        fleet=plan.fleet,
        effect=_EFFECTS[plan.effect],
        total=plan.total,
        from_generation=plan.from_generation,
        generation=plan.generation,
        returns=plan.returns,
        fields=_fields(plan.fields),
        says=plan.says,
        generations=[
            cluster.GenerationCount(generation=g, assigned=placed, running=running)
            for g, (placed, running) in sorted(plan.counts.items())
        ],
        misplaced=plan.misplaced,
        token=plan.token,
    )


def _fields(found: Iterable[Difference]) -> list[cluster.FieldChange]:
    return [
        cluster.FieldChange(
            field=one.field, before=one.before, after=one.after, setting=one.setting
        )
        for one in found
    ]
