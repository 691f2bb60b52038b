"""The RPC Top: what domains use, once an interval."""

from __future__ import annotations

import math
from contextlib import aclosing

from fleet.service import Context
from fleet.v1 import agent_pb2 as wire
from fleet_agent.api.shared_samples import SamplesRequest, Sampling


async def send_samples(sampling: Sampling, request: wire.TopRequest, context: Context) -> None:
    """Raises DriverError."""
    async with aclosing(sampling.samples(samples_request(request))) as samples:
        async for one in samples:
            await context.write(one)


def samples_request(request: wire.TopRequest) -> SamplesRequest:
    """What makes no sense as an interval is the shortest one."""
    asked = request.interval_seconds
    return SamplesRequest(
        interval=asked if math.isfinite(asked) else 0.0,
        fleet_uid=request.fleet_uid,
        limit=request.limit,
        order=request.order,
        samples=request.samples,
    )
