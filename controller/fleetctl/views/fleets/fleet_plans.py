"""What applying would do, and the generations of a fleet: as text and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import one_line, printable
from fleetctl.output import counted
from fleetctl.tables.column import Column, Kind
from fleetctl.tables.listing import table
from fleetctl.views.enum_names import UNKNOWN

_EFFECTS = {
    cluster.FLEET_EFFECT_CREATE: "create",
    cluster.FLEET_EFFECT_CHANGE: "change",
    cluster.FLEET_EFFECT_NOTHING: "nothing",
    cluster.FLEET_EFFECT_DELETE: "delete",
}
# Fields of a fleet that is made are all of its file.
_MOST_FIELDS = 40


def effect_of(plan: cluster.FleetPlan) -> str:
    """create, change, nothing or delete."""
    return _EFFECTS.get(plan.effect, UNKNOWN)


def does_anything(answer: cluster.PlanFleetsResponse) -> bool:
    """Whether applying would change anything."""
    return any(one.effect != cluster.FLEET_EFFECT_NOTHING for one in answer.fleets)


def plans_json(answer: cluster.PlanFleetsResponse) -> dict[str, Any]:
    return {
        "fleets": [_plan_json(one) for one in answer.fleets],
        "changes": does_anything(answer),
        "token": answer.token,
    }


def _plan_json(one: cluster.FleetPlan) -> dict[str, Any]:
    return {
        "fleet": one.fleet,
        "effect": effect_of(one),
        "total": one.total,
        "from_generation": one.from_generation,
        "generation": one.generation,
        "returns": one.returns,
        "fields": fields_json(one.fields),
        "says": list(one.says),
        "generations": [
            {"generation": g.generation, "vms": g.assigned, "running": g.running}
            for g in one.generations
        ],
        "misplaced": one.misplaced,
        "token": one.token,
    }


def fields_json(fields: Iterable[cluster.FieldChange]) -> list[dict[str, Any]]:
    return [
        {"field": one.field, "before": one.before, "after": one.after, "setting": one.setting}
        for one in fields
    ]


def plans_text(answer: cluster.PlanFleetsResponse, again: str) -> str:
    """`again`: the command line that does it, without the token; empty: it is not told."""
    texts = ["\n".join(_plan_lines(one)) for one in answer.fleets]
    if again and does_anything(answer):
        texts.append(
            "To do exactly this, and be refused if anything has changed meanwhile:\n"
            f"  {again} --token {one_line(answer.token)}"
        )
    return "\n\n".join(texts)


def _plan_lines(one: cluster.FleetPlan) -> Iterable[str]:
    yield f"{one_line(one.fleet)}: {_head(one)}"
    if one.effect != cluster.FLEET_EFFECT_CREATE and one.fields:
        rows = [(one_line(f.field), _change(f), _of(f)) for f in one.fields[:_MOST_FIELDS]]
        yield table(("FIELD", "CHANGE", "OF"), rows, "  ")
        if (more := len(one.fields) - _MOST_FIELDS) > 0:
            yield f"  and {counted(more, 'more field')}"
    yield from (f"  - {one_line(sentence)}" for sentence in one.says)


def _head(one: cluster.FleetPlan) -> str:
    match one.effect:
        case cluster.FLEET_EFFECT_CREATE:
            return "created"
        case cluster.FLEET_EFFECT_NOTHING:
            return "unchanged"
        case cluster.FLEET_EFFECT_DELETE:
            return f"deleted, with {counted(one.total, 'VM')}"
    if one.generation == one.from_generation:
        return f"other settings, generation {one.generation} as before"
    return f"generation {one.from_generation} -> {one.generation}"


def _change(one: cluster.FieldChange) -> str:
    return f"{one_line(one.before) or '(nothing)'} -> {one_line(one.after) or '(nothing)'}"


def _of(one: cluster.FieldChange) -> str:
    return "fleet" if one.setting else "template"


def _differs(one: cluster.FleetGeneration) -> str:
    return "; ".join(f"{one_line(f.field)}: {_change(f)}" for f in one.fields)


GENERATION_COLUMNS: tuple[Column[cluster.FleetGeneration], ...] = (
    Column("GENERATION", lambda one: one.generation, Kind.ORDINAL),
    Column("CURRENT", lambda one: "yes" if one.current else None, Kind.NAME, rank=1),
    Column("VMS", lambda one: one.assigned, Kind.NUMBER),
    Column("RUNNING", lambda one: one.running, Kind.NUMBER, rank=3),
    Column("DIFFERS FROM THE ONE BEFORE", _differs, Kind.TEXT, rank=2),
)


def generations_json(answer: cluster.ListGenerationsResponse) -> dict[str, Any]:
    return {
        "fleet": answer.fleet,
        "generations": [
            {
                "generation": one.generation,
                "current": one.current,
                "vms": one.assigned,
                "running": one.running,
                "fields": fields_json(one.fields),
            }
            for one in answer.generations
        ],
    }


def applied_json(answer: cluster.ApplyFleetResponse) -> dict[str, Any]:
    """What became of one fleet."""
    return {
        "fleet": answer.fleet.name,
        "uid": answer.fleet.uid,
        "created": answer.created,
        "changed": answer.changed,
        "generation": answer.fleet.generation,
        "total": answer.fleet.total,
        "returned": answer.returned,
        "settings": list(answer.settings),
        "not_cloned": list(answer.not_cloned),
    }


def applied_text(answer: cluster.ApplyFleetResponse) -> str:
    """The same as a sentence."""
    fleet = answer.fleet
    if answer.created:
        made = f"{fleet.name}: created; start VMs with 'fleetctl scale {fleet.name} --total NUMBER'"
        return "\n".join([made, *_not_cloned(answer)])
    parts: list[str] = []
    if answer.changed:
        again = " again" if answer.returned else ""
        parts.append(
            f"generation {fleet.generation}{again}, for VMs created from now on; "
            f"{counted(fleet.running, 'running VM')} unchanged"
        )
    if answer.settings:
        parts.append(f"other {_some(answer.settings)}, for all its VMs; none was touched")
    if not parts:
        parts.append(f"unchanged, generation {fleet.generation}")
    return "\n".join([f"{fleet.name}: {'; '.join(parts)}", *_not_cloned(answer)])


def _not_cloned(answer: cluster.ApplyFleetResponse) -> list[str]:
    return [f"not cloned: {printable(why)}" for why in answer.not_cloned]


def _some(fields: Sequence[str], most: int = 8) -> str:
    told = ", ".join(map(one_line, fields[:most]))
    return told if len(fields) <= most else f"{told} and {len(fields) - most} more"
