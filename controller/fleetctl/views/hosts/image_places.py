"""Where each image is: which hosts have it, which lack it, and which have another content under its
name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import printable
from fleetctl.tables.column import Column, Kind
from fleetctl.views.hosts.images import DIGEST_CHARACTERS

_NAMED = 3


@dataclass(frozen=True, slots=True)
class Place:
    """One content under one name. `other`: hosts with another one under it."""

    image: str
    digest: str
    size: int
    clones: int
    have: tuple[str, ...]
    lack: tuple[str, ...]
    other: tuple[str, ...]


def places(hosts: Sequence[cluster.HostImages]) -> list[Place]:
    """Of hosts that have answered; by name, the content that most hosts have first."""
    answered = [one for one in hosts if not one.error]
    found: dict[tuple[str, str], list[tuple[str, int, int]]] = {}
    named: dict[str, set[str]] = {}
    for one in answered:
        for held in one.images.images:
            image = f"{held.image.name}@{held.image.snapshot}"
            key = (image, held.image.digest)
            found.setdefault(key, []).append((one.host, held.size_bytes, held.clones))
            named.setdefault(image, set()).add(one.host)
    everybody = {one.host for one in answered}
    rows = [
        Place(
            image,
            digest,
            max(size for _, size, _ in holders),
            sum(clones for _, _, clones in holders),
            tuple(sorted(host for host, _, _ in holders)),
            tuple(sorted(everybody - named[image])),
            tuple(sorted(named[image] - {host for host, _, _ in holders})),
        )
        for (image, digest), holders in found.items()
    ]
    return sorted(rows, key=lambda row: (row.image, -len(row.have), row.digest))


def few(hosts: Sequence[str]) -> str:
    """h1, h2, h3 and 12 more; empty for none."""
    more = f" and {len(hosts) - _NAMED:,} more" if len(hosts) > _NAMED else ""
    return printable(", ".join(hosts[:_NAMED]) + more)


PLACE_COLUMNS: tuple[Column[Place], ...] = (
    Column("IMAGE", lambda one: one.image, Kind.NAME),
    Column("DIGEST", lambda one: one.digest[:DIGEST_CHARACTERS] or "none", Kind.NAME, rank=3),
    Column("HAVE", lambda one: len(one.have), Kind.NUMBER),
    Column("LACK", lambda one: len(one.lack), Kind.NUMBER),
    Column("OTHER", lambda one: len(one.other), Kind.NUMBER),
    Column("SIZE", lambda one: one.size, Kind.BYTES, rank=2),
    Column("CLONES", lambda one: one.clones, Kind.NUMBER, rank=1),
    Column("LACKING", lambda one: few(one.lack), rank=4),
    Column("DIFFERING", lambda one: few(one.other), rank=5),
)


def places_json(rows: Sequence[Place]) -> dict[str, Any]:
    """`digest` is null where none was recorded."""
    return {
        "images": [
            {
                "image": one.image,
                "digest": one.digest or None,
                "size_bytes": one.size,
                "clones": one.clones,
                "have": list(one.have),
                "lack": list(one.lack),
                "other": list(one.other),
            }
            for one in rows
        ]
    }
