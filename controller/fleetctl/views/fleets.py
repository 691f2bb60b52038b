"""Fleets as rows of a list and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.tables.column import Column, Kind

Fleet = cluster.FleetSummary


def _image(one: Fleet) -> str:
    return f"{one.spec.image.name}@{one.spec.image.snapshot}"


def _running_colour(one: Fleet) -> str | None:
    return "green" if one.running == one.total else "yellow"


FLEET_COLUMNS: tuple[Column[Fleet], ...] = (
    Column("FLEET", lambda one: one.name, Kind.NAME),
    Column("TOTAL", lambda one: one.total, Kind.NUMBER),
    Column("PLACED", lambda one: one.placed, Kind.NUMBER, rank=3),
    Column("RUNNING", lambda one: one.running, Kind.NUMBER, colour=_running_colour),
    Column("GENERATION", lambda one: one.generation, Kind.ORDINAL, rank=5),
    Column("IMAGE", _image, Kind.NAME, rank=4),
    Column("MEMORY", lambda one: one.spec.memory_bytes, Kind.BYTES, rank=6),
    Column(
        "STATE", lambda one: "deleting" if one.deleting else None, Kind.NAME, rank=1,
        colour=lambda one: "magenta" if one.deleting else None,
    ),
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
        "generation": one.generation,
        "deleting": one.deleting,
        "image": f"{one.spec.image.name}@{one.spec.image.snapshot}",
        "memory_bytes": one.spec.memory_bytes,
        "vcpus": one.spec.vcpus,
    }
