"""Fleets as rows of a list and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.tables.column import Column, Kind
from fleetctl.views.fleets.budgets import budget_json, short_text
from fleetctl.views.fleets.schedules import next_text, schedule_json

Fleet = cluster.FleetSummary


def _image(one: Fleet) -> str:
    return f"{one.spec.image.name}@{one.spec.image.snapshot}"


def _colour(one: Fleet) -> str:
    if one.deleting:
        return "magenta"
    if one.failed or one.placed < one.total:
        return "red"
    return "green" if _as_wanted(one) else "yellow"


def _as_wanted(one: Fleet) -> bool:
    """An older controller counts those that run alone."""
    return max(one.as_wanted, one.running) >= one.total


def _state(one: Fleet) -> str:
    """In a word; `status` has the rest."""
    if one.deleting:
        return "deleting"
    if one.failed:
        return "failing"
    if one.placed < one.total:
        return "unplaced"
    if not _as_wanted(one):
        return "changing"
    return "stopped" if one.total and one.powered_off == one.total else "running"


def _budget(one: Fleet) -> str | None:
    """None: what is done on purpose is not bounded."""
    return short_text(one.budget) if one.HasField("budget") else None


FLEET_COLUMNS: tuple[Column[Fleet], ...] = (
    Column("FLEET", lambda one: one.name, Kind.NAME),
    Column("TOTAL", lambda one: one.total, Kind.NUMBER),
    Column("PLACED", lambda one: one.placed, Kind.NUMBER, rank=3),
    Column("RUNNING", lambda one: one.running, Kind.NUMBER),
    Column(
        "FAILED", lambda one: one.failed, Kind.NUMBER, rank=2,
        colour=lambda one: "red" if one.failed else None,
    ),
    Column(
        "STOPPED", lambda one: one.powered_off or None, Kind.NUMBER, rank=7,
    ),
    Column("GENERATION", lambda one: one.generation, Kind.ORDINAL, rank=5),
    Column("IMAGE", _image, Kind.NAME, rank=4),
    Column("MEMORY", lambda one: one.spec.memory_bytes, Kind.BYTES, rank=6),
    Column("STATE", _state, Kind.NAME, rank=1, colour=_colour),
    Column("NEXT TOTAL", next_text, Kind.NAME, rank=8),
    Column("BUDGET", _budget, rank=8),
    Column("OWNERS", lambda one: ", ".join(one.owners), rank=19, spare=True),
    Column("VCPUS", lambda one: one.spec.vcpus, Kind.NUMBER, rank=20, spare=True),
    Column("UID", lambda one: one.uid, Kind.NAME, rank=22, spare=True),
)  # fmt: skip


def fleet_json(one: cluster.FleetSummary) -> dict[str, Any]:
    """A fleet as `fleets` and `delete` tell it."""
    return {
        "fleet": one.name,
        "uid": one.uid,
        "number": one.number,
        "total": one.total,
        "placed": one.placed,
        "running": one.running,
        "failed": one.failed,
        "powered_off": one.powered_off,
        "state": _state(one),
        "budget": budget_json(one.budget) if one.HasField("budget") else None,
        "generation": one.generation,
        "deleting": one.deleting,
        "image": f"{one.spec.image.name}@{one.spec.image.snapshot}",
        "memory_bytes": one.spec.memory_bytes,
        "vcpus": one.spec.vcpus,
        "owners": list(one.owners),
        "schedule": schedule_json(one.schedule) if one.HasField("schedule") else None,
    }
