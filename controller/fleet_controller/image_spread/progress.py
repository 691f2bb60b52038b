"""How far a spread is, for whoever asked for it and for the status of fleets. Pure."""

from __future__ import annotations

from collections.abc import Collection

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.image_spread.part import Part
from fleet_controller.image_spread.spread import Spread

SLOWEST, FAILED = 3, 20
# A host that has not got further for so long while it should is named among those that failed.
STALLED_SECONDS = 120.0


def progress(spread: Spread, targets: Collection[str], now: float) -> cluster.SpreadProgress:
    """Of these hosts."""
    told = cluster.SpreadProgress(hosts=len(targets), liars=spread.suspects)
    under_way: list[Part] = []
    for host in sorted(targets):
        part = spread.parts.get(host) or Part(host, spread.content.size, moved=spread.began)
        total = part.total or spread.content.size
        told.total_bytes += total
        if spread.has(host):
            told.held += 1
            told.done_bytes += total
            continue
        told.done_bytes += part.done
        if why := _gone_wrong(part, now):
            if len(told.failed) < FAILED:
                told.failed.append(_host(part, total, why))
            continue
        under_way.append(part)
        if part.connected and part.order and part.order.sources:
            told.fetching += 1
        else:
            told.waiting += 1
    under_way.sort(key=lambda part: (part.done, part.host))
    told.slowest.extend(_host(one, one.total, one.why) for one in under_way[:SLOWEST])
    told.over = not under_way
    return told


def _gone_wrong(part: Part, now: float) -> str:
    if part.failed:
        return part.failed
    if now - part.moved > STALLED_SECONDS:
        return part.why or "no host that has it could be reached"
    return ""


def _host(part: Part, total: int, why: str) -> cluster.SpreadHost:
    return cluster.SpreadHost(host=part.host, done_bytes=part.done, total_bytes=total, why=why)
