"""Accepted changes as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import table

HEADERS = ("WHEN", "WHO", "WHAT", "OF", "RESULT", "CHANGE")


def record_json(one: cluster.AuditRecord) -> dict[str, Any]:
    """`time` is in seconds since 1970, UTC."""
    return {
        "id": one.id,
        "time": one.time_unix,
        "actor": one.actor,
        "action": one.action,
        "fleet": one.fleet or None,
        "host": one.host or None,
        "before": one.before or None,
        "after": one.after or None,
        "result": one.result,
    }


def history_text(records: Iterable[cluster.AuditRecord]) -> str:
    """A table in the reader's own time zone, in the order given."""
    return table(HEADERS, [_row(one) for one in records])


def _row(one: cluster.AuditRecord) -> tuple[str, ...]:
    when = datetime.fromtimestamp(one.time_unix).strftime("%Y-%m-%d %H:%M:%S")
    about = " ".join(part for part in (one.fleet, one.host) if part)
    before, after = _shown(one.before), _shown(one.after)
    change = f"{before} -> {after}" if before else after
    return when, one.actor, one.action, about, one.result, change


def _shown(value: str) -> str:
    """Totals are kept as plain digits, for scripts."""
    return f"{int(value):,}" if value.isdecimal() else value
