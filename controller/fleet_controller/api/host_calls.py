"""The part of ClusterService that is asked of hosts: translated, and passed on by the leader."""

from __future__ import annotations

from collections.abc import AsyncIterator

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as copies
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import (
    NAMES_MANY_BYTES,
    READERS,
    WRITERS,
    Call,
    Roles,
    rpc,
)
from fleet_controller.api.needs import console_need, copy_need, run_need
from fleet_controller.image_spread.targets import targets
from fleet_controller.relay import host_calls, uploads
from fleet_controller.relay import images as relay_images
from fleet_controller.relay.commands import CommandRun, first_request
from fleet_controller.relay.console import ConsoleRelay, first_input, writes
from fleet_controller.relay.copies import CopiesUnderWay, FileCopy, next_request
from fleet_controller.relay.files_out import FilesOut
from fleet_controller.relay.host_calls import ANSWER_SECONDS
from fleet_controller.relay.top import TopRelay
from fleet_controller.replica.replica import Replica

# A chunk, or the manifest of a disk of 32 GiB with a kernel and an initrd.
MAX_PUT_BYTES = 1152 * 1024


def _tuning(request: cluster.HostTuneRequest) -> Roles:
    return WRITERS if request.apply or request.undo else READERS


class HostCallsApi(ClusterServiceServicer):
    """Streams are written by coroutines: those end at once when the caller goes, where a
    generator waits to be collected. The generated signatures know generators only."""

    replica: Replica
    copies_under_way: CopiesUnderWay
    files_out_under_way: CopiesUnderWay

    @rpc(READERS)
    async def Console(  # type: ignore[override]
        self, call: Call, inputs: AsyncIterator[wire.ConsoleInput]
    ) -> None:
        inputs = aiter(inputs)
        first = await first_input(inputs)
        call.require(WRITERS if writes(first) else READERS)
        leading = call.leader
        if need := console_need(first, leading.memory.state.fleets, writes(first)):
            call.need(need)
        console = ConsoleRelay(leading.relay, leading.memory, leading.planning, first, call.actor)
        await call.begin()
        await console.run(inputs, call.send)

    @rpc(WRITERS, max_bytes=NAMES_MANY_BYTES)
    async def RunInFleet(  # type: ignore[override]
        self, call: Call, inputs: AsyncIterator[commands.RunInFleetRequest]
    ) -> None:
        first = await first_request(aiter(inputs))
        leading = call.leader
        call.need(run_need(first, leading.memory.state.fleets))
        run = CommandRun(leading.relay, leading.memory, leading.writer, first, call.actor)
        await call.begin()
        await run.write_down()
        await run.run(call.send)

    @rpc(WRITERS, max_bytes=NAMES_MANY_BYTES)
    async def CopyIntoFleet(  # type: ignore[override]
        self, call: Call, inputs: AsyncIterator[copies.CopyIntoFleetRequest]
    ) -> None:
        inputs = aiter(inputs)
        first = await next_request(inputs)
        leading = call.leader
        call.need(copy_need(first, leading.memory.state.fleets))
        copy = FileCopy(leading.relay, leading.memory, leading.writer, first, call.actor)
        with self.copies_under_way.place():
            await call.begin()
            await copy.take_in(inputs)
            await copy.write_down()
            await copy.run(call.send)

    @rpc(WRITERS, max_bytes=NAMES_MANY_BYTES)
    async def CopyFromFleet(  # type: ignore[override]
        self, call: Call, inputs: AsyncIterator[copies.CopyFromFleetRequest]
    ) -> None:
        first = await next_request(aiter(inputs))
        leading = call.leader
        call.need(copy_need(first, leading.memory.state.fleets))
        files = FilesOut(leading.relay, leading.memory, leading.writer, first, call.actor)
        with self.files_out_under_way.place():
            await call.begin()
            await files.write_down()
            await files.pass_on(call.send)

    @rpc(READERS)
    async def Doctor(self, call: Call, request: cluster.HostDoctorRequest) -> wire.DoctorResponse:
        return await host_calls.doctor(call.leader.relay, request, call.within(ANSWER_SECONDS))

    @rpc(_tuning)
    async def Tune(self, call: Call, request: cluster.HostTuneRequest) -> wire.TuneResponse:
        seconds = call.within(ANSWER_SECONDS)
        return await host_calls.tune(call.leader.relay, request, seconds, call.actor)

    @rpc(WRITERS)
    async def ImportImage(  # type: ignore[override]
        self, call: Call, request: cluster.HostImportImageRequest
    ) -> None:
        await host_calls.import_image(call.leader.relay, request, call.send, call.actor)

    @rpc(WRITERS)
    async def DeleteImage(
        self, call: Call, request: cluster.HostDeleteImageRequest
    ) -> wire.DeleteImageResponse:
        seconds = call.within(ANSWER_SECONDS)
        return await host_calls.delete_image(call.leader.relay, request, seconds, call.actor)

    @rpc(READERS)
    async def ListImages(
        self, call: Call, request: cluster.ListClusterImagesRequest
    ) -> cluster.ListClusterImagesResponse:
        relay = call.leader.relay
        if request.host:
            seconds = call.within(ANSWER_SECONDS)
            return await relay_images.of_one(relay, request.host, seconds)
        hosts = sorted(call.leader.memory.state.hosts)
        return await relay_images.of_all(relay, hosts, call.within(relay_images.ALL_SECONDS))

    @rpc(WRITERS, max_bytes=MAX_PUT_BYTES)
    async def PutImage(  # type: ignore[override]
        self, call: Call, inputs: AsyncIterator[cluster.HostPutImageRequest]
    ) -> None:
        inputs = aiter(inputs)
        first = await uploads.first_request(inputs)
        upload = uploads.UploadRelay(call.leader.relay, first, call.actor)
        await call.begin()
        await upload.run(inputs, call.send)

    @rpc(WRITERS, max_bytes=NAMES_MANY_BYTES)
    async def SpreadImage(  # type: ignore[override]
        self, call: Call, request: cluster.SpreadImageRequest
    ) -> None:
        leading = call.leader
        hosts = targets(request, leading.memory.state.hosts, leading.memory.is_live)
        await leading.image_spreads.spread(request, hosts, call.send)

    @rpc(READERS)
    async def Top(self, call: Call, request: cluster.ClusterTopRequest) -> None:  # type: ignore[override]
        leading = call.leader
        top = TopRelay(leading.relay, leading.memory, leading.off_loop, request)
        await top.run(call.send, call.within(top.first_seconds))
