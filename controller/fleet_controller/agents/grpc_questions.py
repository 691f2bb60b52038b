"""What operators ask of an agent, over the connection that its link has."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import grpc

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as copies
from fleet.v1.agent_pb2_grpc import AgentServiceStub
from fleet_controller.agents.grpc_errors import errors_as_the_ports

Answer = TypeVar("Answer")
Said = TypeVar("Said")


class GrpcQuestions:
    """Lives for a question or two: thousands of stubs with a dozen methods each are megabytes."""

    def __init__(self, channel: grpc.aio.Channel, peer: str) -> None:
        self._stub = AgentServiceStub(channel)
        self._peer = peer

    async def doctor(self, request: wire.DoctorRequest, seconds: float) -> wire.DoctorResponse:
        with errors_as_the_ports(self._peer):
            return await self._stub.Doctor(request, timeout=seconds)

    async def tune(self, request: wire.TuneRequest, seconds: float) -> wire.TuneResponse:
        with errors_as_the_ports(self._peer):
            return await self._stub.Tune(request, timeout=seconds)

    async def list_images(
        self, request: wire.ListImagesRequest, seconds: float
    ) -> wire.ListImagesResponse:
        with errors_as_the_ports(self._peer):
            return await self._stub.ListImages(request, timeout=seconds)

    async def delete_image(
        self, request: wire.DeleteImageRequest, seconds: float
    ) -> wire.DeleteImageResponse:
        with errors_as_the_ports(self._peer):
            return await self._stub.DeleteImage(request, timeout=seconds)

    async def upgrade_agent(
        self, request: wire.UpgradeAgentRequest, seconds: float
    ) -> wire.UpgradeAgentResponse:
        with errors_as_the_ports(self._peer):
            return await self._stub.UpgradeAgent(request, timeout=seconds)

    def import_image(
        self, request: wire.ImportImageRequest
    ) -> GrpcAnswers[wire.ImportImageProgress]:
        return GrpcAnswers(self._stub.ImportImage(request), self._peer)

    def top(self, request: wire.TopRequest) -> GrpcAnswers[wire.TopSample]:
        return GrpcAnswers(self._stub.Top(request), self._peer)

    def console(self) -> GrpcTalk[wire.ConsoleInput, wire.ConsoleOutput]:
        return GrpcTalk(self._stub.Console(), self._peer)

    def send_image(self, request: wire.SendImageRequest) -> GrpcAnswers[wire.ImageChunk]:
        return GrpcAnswers(self._stub.SendImage(request), self._peer)

    def relay_image(self) -> GrpcTalk[wire.RelayOrder, wire.RelayState]:
        return GrpcTalk(self._stub.RelayImage(), self._peer)

    def put_image(self) -> GrpcTalk[wire.PutImageRequest, wire.PutImageAnswer]:
        return GrpcTalk(self._stub.PutImage(), self._peer)

    def run_in_vms(self, request: commands.RunInVmsRequest) -> GrpcAnswers[commands.RunInVmsAnswer]:
        return GrpcAnswers(self._stub.RunInVms(request), self._peer)

    def copy_into_vms(self) -> GrpcTalk[copies.CopyIntoVmsRequest, commands.RunInVmsAnswer]:
        return GrpcTalk(self._stub.CopyIntoVms(), self._peer)

    def copy_from_vms(
        self, request: copies.CopyFromVmsRequest
    ) -> GrpcAnswers[copies.CopyFromVmsAnswer]:
        return GrpcAnswers(self._stub.CopyFromVms(request), self._peer)


class GrpcAnswers(Generic[Answer]):
    """One call whose answers are a stream."""

    def __init__(self, call: Any, peer: str) -> None:
        self._call = call
        self._peer = peer

    async def read(self) -> Answer | None:
        with errors_as_the_ports(self._peer):
            answer: Any = await self._call.read()
        return None if answer is grpc.aio.EOF else answer

    def cancel(self) -> None:
        self._call.cancel()


class GrpcTalk(GrpcAnswers[Answer], Generic[Said, Answer]):
    """One call on which both sides speak."""

    async def write(self, said: Said) -> None:
        with errors_as_the_ports(self._peer):
            await self._call.write(said)

    async def done_writing(self) -> None:
        with errors_as_the_ports(self._peer):
            await self._call.done_writing()
