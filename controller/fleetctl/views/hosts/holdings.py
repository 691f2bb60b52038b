"""What a host has of what fleets ask for, as JSON and as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fleet.v1 import types_pb2 as types

SHOWN = 6


def holdings_json(facts: types.HostFacts) -> dict[str, Any]:
    """None where the host does not tell."""
    return {
        "images": _images(facts) if facts.HasField("images") else None,
        "kernels": list(facts.kernels.files) if facts.HasField("kernels") else None,
        "bridges": list(facts.bridges.names) if facts.HasField("bridges") else None,
    }


def holdings_rows(facts: types.HostFacts) -> list[tuple[str, str]]:
    """Names and values of what is told; the first of each kind."""
    rows = []
    if facts.HasField("images"):
        rows.append(("images", _listed(_images(facts), more=facts.images.more)))
    if facts.HasField("kernels"):
        rows.append(("kernels", _listed(facts.kernels.files)))
    if facts.HasField("bridges"):
        rows.append(("bridges", _listed(facts.bridges.names, more=facts.bridges.more)))
    return rows


def _images(facts: types.HostFacts) -> list[str]:
    return [f"{one.name}@{one.snapshot}" for one in facts.images.images]


def _listed(names: Sequence[str], *, more: bool = False) -> str:
    told = ", ".join(names[:SHOWN]) or "none"
    beyond = len(names) - SHOWN
    if more:
        return f"{told} and others"
    return f"{told} and {beyond:,} more" if beyond > 0 else told
