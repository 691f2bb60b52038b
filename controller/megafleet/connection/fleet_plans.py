"""A plan of any number of fleets, asked for part by part: a request is bounded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from fleet.v1 import cluster_pb2 as cluster
from megafleet.fleet_file.parser import ParsedFleet

# Of one request; the controller takes up to 100, and 1 MiB.
MOST_FLEETS = 100
MOST_BYTES = 512 * 1024


def plan_requests(
    fleets: Sequence[ParsedFleet], *, prune: bool
) -> Iterator[cluster.PlanFleetsRequest]:
    """The last one prunes: it names all fleets of those before it."""
    request, size = cluster.PlanFleetsRequest(), 0
    for number, fleet in enumerate(fleets):
        one = cluster.ApplyFleetRequest(name=fleet.name, spec=fleet.spec)
        size += one.ByteSize()
        if request.fleets and (len(request.fleets) == MOST_FLEETS or size > MOST_BYTES):
            yield request
            others = [before.name for before in fleets[:number]] if prune else []
            request, size = cluster.PlanFleetsRequest(others=others), one.ByteSize()
        request.fleets.append(one)
    request.prune = prune
    yield request


def plan_of_all(parts: Sequence[cluster.PlanFleetsResponse]) -> cluster.PlanFleetsResponse:
    """All parts as one plan, with a token of all."""
    if len(parts) == 1:
        return parts[0]
    tokens = " ".join(part.token for part in parts)
    return cluster.PlanFleetsResponse(
        fleets=[one for part in parts for one in part.fleets],
        token=hashlib.blake2b(tokens.encode(), digest_size=9).hexdigest(),
        server_seconds=sum(part.server_seconds for part in parts),
    )
