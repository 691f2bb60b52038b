"""Pictures of VMs' states at a standby: one call to the leader for each, whoever watches here.

The leader's frames serve all watchers as they are; who reads slowly gets a merged one, made here.
Whether each of them may watch is the leader's to say, for as long as they do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import structlog

from fleet.service import Context
from fleet.states.frames import BadFrame
from fleet.transport import Refusal
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleet_controller.election.leader_key import Holder
from fleet_controller.pictures.picture import Picture
from fleet_controller.pictures.states_frames import MOST_WATCHERS
from fleet_controller.pulse import Pulse
from fleet_controller.replica.leader_refusals import gone

# A leader says something each second.
_SILENCE_SECONDS = 5.0

_Asked = tuple[cluster.StatesLayer.ValueType, cluster.StatesGrouping.ValueType]

_log = structlog.get_logger(__name__)


class CopiedPicture:
    """As the leader sends it, for as long as somebody watches and the call lasts."""

    def __init__(self, channel: grpc.aio.Channel, asked: _Asked) -> None:
        self.channel = channel
        self.watchers = 0
        self._picture = Picture(*asked)
        self._pulse = Pulse()  # beats with each frame, those without a change included
        self.reading = asyncio.create_task(self._read(*asked))

    async def frames(self) -> AsyncGenerator[cluster.StatesFrame, None]:
        """First a frame with all cells, then changes; with the leader's signs of life."""
        seen = 0
        while True:
            beat = self._pulse.version
            if self._picture.number:
                frame = self._picture.since(seen)
                seen = frame.number  # others may come while this one is sent
                yield frame
            await self._pulse.after(beat)

    async def close(self) -> None:
        self.reading.cancel()
        await asyncio.gather(self.reading, return_exceptions=True)

    async def _read(
        self, layer: cluster.StatesLayer.ValueType, grouping: cluster.StatesGrouping.ValueType
    ) -> grpc.aio.AioRpcError | None:
        """Until the call ends; the error that the leader ends it with, if it does."""
        request = cluster.WatchStatesRequest(layer=layer, grouping=grouping)
        call: Any = ClusterServiceStub(self.channel).WatchStates(request)
        try:
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    frame = await call.read()
                if frame is grpc.aio.EOF:
                    return None
                self._picture.follow(frame)
                self._pulse.beat()
        except grpc.aio.AioRpcError as error:
            return error
        except TimeoutError:
            _log.warning("the leader's states have not come for long")
        except BadFrame as why:
            _log.error("a frame of the leader cannot be read", reason=str(why))
        finally:
            call.cancel()
        return None


class SharedStates:
    """Of one replica, while it stands by."""

    def __init__(self) -> None:
        self._pictures: dict[_Asked, CopiedPicture] = {}

    async def answers(
        self,
        asked: cluster.WatchStatesRequest,
        leader: Holder,
        channel: grpc.aio.Channel,
        admission: grpc.aio.StreamStreamCall[bytes, bytes],
        context: Context,
    ) -> grpc.aio.AioRpcError | Refusal | None:
        """Frames for one caller, until the leader ends the admission or sends no more of them."""
        try:
            while isinstance(said := await admission.read(), bytes):
                if cluster.StatesFrame.FromString(said).number:
                    await context.write(said)  # the leader is older: it has sent frames itself
                    continue
                async with self._watched(channel, asked) as picture:
                    return await _send(picture, admission, leader, context)
        except grpc.aio.AioRpcError as error:
            return error
        except Refusal as refusal:
            return refusal
        return None

    @asynccontextmanager
    async def _watched(
        self, channel: grpc.aio.Channel, request: cluster.WatchStatesRequest
    ) -> AsyncIterator[CopiedPicture]:
        """The picture that everybody has who asks the leader at this channel for the same. Raises
        Refusal when too many watch."""
        if sum(one.watchers for one in self._pictures.values()) >= MOST_WATCHERS:
            raise Refusal(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "TOO_MANY_WATCHERS",
                f"{MOST_WATCHERS} viewers watch at this controller already; ask another one",
            )
        asked = request.layer, request.grouping
        picture = self._pictures.get(asked)
        if picture is None or picture.channel is not channel or picture.reading.done():
            picture = self._pictures[asked] = CopiedPicture(channel, asked)
        picture.watchers += 1
        try:
            yield picture
        finally:
            picture.watchers -= 1
            if not picture.watchers:
                if self._pictures.get(asked) is picture:
                    del self._pictures[asked]
                await picture.close()


async def _send(
    picture: CopiedPicture,
    admission: grpc.aio.StreamStreamCall[bytes, bytes],
    leader: Holder,
    context: Context,
) -> grpc.aio.AioRpcError | Refusal | None:
    async def send() -> None:
        async with aclosing(picture.frames()) as frames:
            async for frame in frames:
                await context.write(frame.SerializeToString())

    sending, admitted = asyncio.create_task(send()), asyncio.create_task(_end_of(admission))
    try:
        await asyncio.wait(
            {sending, admitted, picture.reading}, return_when=asyncio.FIRST_COMPLETED
        )
        if admitted.done():
            return admitted.result()
        if sending.done():
            sending.result()
        ended = None if picture.reading.cancelled() else picture.reading.result()
        return ended or gone(leader)
    finally:
        sending.cancel()
        admitted.cancel()
        await asyncio.gather(sending, admitted, return_exceptions=True)


async def _end_of(
    admission: grpc.aio.StreamStreamCall[bytes, bytes],
) -> grpc.aio.AioRpcError | None:
    """What the leader takes it back with."""
    try:
        while await admission.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return error
    return None
