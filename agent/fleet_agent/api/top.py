"""The RPC Top: what domains use, once an interval."""

from __future__ import annotations

import math
from contextlib import aclosing

from fleet.service import Context
from fleet.v1 import agent_pb2 as wire
from fleet_agent.api.shared_samples import Sampling, Wish


class TopRpc:
    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling

    async def serve(self, request: wire.TopRequest, context: Context) -> None:
        """Raises DriverError."""
        samples = self._sampling.samples(wish_of(request))
        async with aclosing(samples):
            async for one in samples:
                await context.write(one)


def wish_of(request: wire.TopRequest) -> Wish:
    """What makes no sense as an interval is the shortest one."""
    asked = request.interval_seconds
    return Wish(
        interval=asked if math.isfinite(asked) else 0.0,
        fleet_uid=request.fleet_uid,
        limit=request.limit,
        order=request.order,
        samples=request.samples,
    )
