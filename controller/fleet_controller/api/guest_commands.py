"""The part of ClusterService that runs commands in VMs: translated, and asked by the leader."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fleet.v1 import commands_pb2 as wire
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import NAMES_MANY_BYTES, WRITERS, Call, rpc
from fleet_controller.api.needs import run_need
from fleet_controller.relay.commands import CommandRun, first_request
from fleet_controller.replica.replica import Replica


class GuestCommandsApi(ClusterServiceServicer):
    """A stream both ways, so that it is never begun twice: as for consoles."""

    replica: Replica

    @rpc(WRITERS, max_bytes=NAMES_MANY_BYTES)
    async def RunInFleet(  # type: ignore[override]
        self, call: Call, inputs: AsyncIterator[wire.RunInFleetRequest]
    ) -> None:
        first = await first_request(aiter(inputs))
        leading = call.leader
        call.need(run_need(first, leading.memory.state.fleets))
        run = CommandRun(leading.relay, leading.memory, leading.writer, first, call.actor)
        await call.begin()
        await run.write_down()
        await run.run(call.send)
