"""Accepted changes as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import DOUBTFUL
from fleetctl.tables.column import Column, Kind, iso_text

_LONGEST_NUMBER = 20  # digits; whoever writes to the store writes any text


def record_json(one: cluster.AuditRecord) -> dict[str, Any]:
    """`time` is in seconds since 1970; `when` the same, as people read it."""
    return {
        "id": one.id,
        "time": one.time_unix,
        "when": iso_text(one.time_unix),
        "actor": one.actor,
        "action": one.action,
        "fleet": one.fleet or None,
        "host": one.host or None,
        "before": one.before or None,
        "after": one.after or None,
        "result": one.result,
        "change_id": one.change_id or None,
    }


def _about(one: cluster.AuditRecord) -> str:
    return " ".join(part for part in (one.fleet, one.host) if part)


def _change(one: cluster.AuditRecord) -> str:
    before, after = _shown(one.before), _shown(one.after)
    return f"{before} -> {after}" if before else after


def _result_colour(one: cluster.AuditRecord) -> str | None:
    return None if one.result == "accepted" else DOUBTFUL


HISTORY_COLUMNS: tuple[Column[cluster.AuditRecord], ...] = (
    Column("ID", lambda one: one.id, Kind.ORDINAL, 20, True),
    Column("WHEN", lambda one: one.time_unix, Kind.TIME),
    Column("WHO", lambda one: one.actor, rank=2),
    Column("WHAT", lambda one: one.action, Kind.NAME),
    Column("OF", _about, rank=1),
    Column("RESULT", lambda one: one.result, rank=4, colour=_result_colour),
    Column("CHANGE", _change, rank=3),
    Column("CHANGE ID", lambda one: one.change_id or None, Kind.NAME, 20, True),
)


def _shown(value: str) -> str:
    """Totals are kept as plain digits, for scripts."""
    return f"{int(value):,}" if value.isdecimal() and len(value) < _LONGEST_NUMBER else value
