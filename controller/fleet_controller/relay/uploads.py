"""An image handed in by an operator, passed on to one host: chunks there, how far it is back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.agents.port import LinkError, NoAnswer, UploadTalk
from fleet_controller.core.names import one_line
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.election.election import LeadershipLost
from fleet_controller.relay.paced import Paced, ReadPace
from fleet_controller.relay.relay import Relay

FIRST_SECONDS = 20.0
# An upload over a slow line says something now and then; so does a host that keeps an image.
SILENCE_SECONDS = 300.0
# A host says how far it is with each chunk, of a MiB.
_PACE = ReadPace(2_000, 4 << 20)

Tell = Callable[[cluster.HostPutImageAnswer], Awaitable[None]]


class UploadRelay:
    """One upload, for one operator."""

    def __init__(self, relay: Relay, first: cluster.HostPutImageRequest, actor: str) -> None:
        """Raises Refused where the host cannot be reached."""
        self._relay = relay
        self._actor = actor
        self._host = relay.host(first.host)
        image = first.put.manifest.image
        self._named = one_line(f"{image.name}@{image.snapshot}", 120)
        self._first = wire.PutImageRequest()
        self._first.CopyFrom(first.put)
        self._first.host_id = self._host
        self._first.term.CopyFrom(relay.term)
        self._talk: UploadTalk = relay.questions(self._host).put_image()
        self._answers = Paced(self._talk, _PACE)

    async def run(self, inputs: AsyncIterator[cluster.HostPutImageRequest], tell: Tell) -> None:
        """Until either side ends it. Raises Refused, Refusal, LeadershipLost."""
        passing = asyncio.create_task(self._pass(inputs))
        what = f"upload of image {self._named}"
        try:
            with self._relay.changing(self._host, "image_imported", what, self._actor):
                await self._answer(tell)
        finally:
            self._talk.cancel()
            passing.cancel()
            await asyncio.wait([passing])

    async def _answer(self, tell: Tell) -> None:
        """Raises LinkError, Refused."""
        while (answer := await self._next()) is not None:
            if answer.HasField("image"):
                text = f"{self._host}: image {self._named} was handed in"
                self._relay.event("image_imported", text, self._host, self._actor)
                await self._relay.placeable(self._host, answer.image)
            await tell(cluster.HostPutImageAnswer(host=self._host, answer=answer))
            if answer.HasField("image"):
                return
        message = f"host {self._host} ended the upload of {self._named} without an image"
        raise Refused(Reason.HOST_UNREACHABLE, message)

    async def _next(self) -> wire.PutImageAnswer | None:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                return await self._answers.read()
        except TimeoutError as error:
            raise NoAnswer(f"silent for {SILENCE_SECONDS:g} s") from error

    async def _pass(self, inputs: AsyncIterator[cluster.HostPutImageRequest]) -> None:
        """What goes wrong with the call, its reader finds as well."""
        try:
            await self._talk.write(self._first)
            async for one in inputs:
                self._relay.raise_if_over()
                put = one.put
                await self._talk.write(
                    wire.PutImageRequest(
                        number=put.number, data=put.data, compressed=put.compressed
                    )
                )
            await self._talk.done_writing()
        except LinkError:
            return
        except LeadershipLost:
            self._talk.cancel()


async def first_request(
    inputs: AsyncIterator[cluster.HostPutImageRequest],
) -> cluster.HostPutImageRequest:
    """The one that says what is handed in, and to whom. Raises Refused."""
    try:
        async with asyncio.timeout(FIRST_SECONDS):
            return await anext(inputs)
    except (TimeoutError, StopAsyncIteration) as error:
        raise Refused(Reason.BAD_QUERY, "the first message names an image; there was none") from (
            error
        )
