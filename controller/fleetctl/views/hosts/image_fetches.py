"""How far hosts are with fetching a fleet's image, as text and as JSON. Pure."""

from __future__ import annotations

from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.output import byte_text, counted


def fetches_json(status: cluster.FleetStatus) -> dict[str, Any] | None:
    if not status.HasField("image_fetches"):
        return None
    told = status.image_fetches
    return {
        "hosts": told.hosts,
        "done_bytes": told.done_bytes,
        "total_bytes": told.total_bytes or None,
        "slowest": list(told.slowest),
        "trouble": told.trouble or None,
    }


def fetches_text(status: cluster.FleetStatus) -> str:
    """3 hosts fetch the image, 1.2 of 4.0 GiB (30 %); slowest: h7. Empty: none does."""
    if not status.HasField("image_fetches"):
        return ""
    told = status.image_fetches
    verb = "fetches" if told.hosts == 1 else "fetch"
    text = f"{counted(told.hosts, 'host')} {verb} the image"
    if told.total_bytes:
        share = min(1.0, told.done_bytes / told.total_bytes)
        done, total = byte_text(told.done_bytes), byte_text(told.total_bytes)
        text += f", {done} of {total} ({share:.0%})"
    if told.slowest:
        text += f"; slowest: {', '.join(told.slowest)}"
    if told.trouble:
        text += f"; {told.trouble}"
    return printable(text)
