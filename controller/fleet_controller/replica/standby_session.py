"""While another replica leads: this one is at hand for it, and says which hosts it reaches.

One call to the leader, over the connection that calls are passed on by, for as long as it leads.
Whatever ends the call, it is begun again.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import structlog

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleet_controller.election.leader_key import Holder
from fleet_controller.replica.forwarding import LeaderChannel
from fleet_controller.replica.host_probe import HostProbe
from fleet_controller.replica.replica import Replica
from fleet_controller.standbys import SIGN_OF_LIFE_SECONDS, Place

# Between two calls, so that a leader that refuses them is not flooded.
PAUSE_SECONDS = 1.0
# A leader that says nothing for so long is called anew: it, or gRPC, has lost the call.
SILENCE_SECONDS = 3 * SIGN_OF_LIFE_SECONDS

Call = grpc.aio.StreamStreamCall[cluster.StandByAnswer, cluster.StandByQuestion]

_log = structlog.get_logger(__name__)


class StandbySession:
    """`run` for as long as the replica runs."""

    def __init__(
        self,
        replica: Replica,
        channel: LeaderChannel,
        probe: HostProbe,
        address: str = "",
        join_address: str = "",
    ) -> None:
        """`address`, `join_address`: where this replica serves, and where hosts join at it."""
        self._address = address
        self._join_address = join_address
        self._replica = replica
        self._channel = channel
        self._probe = probe

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            leader = await self._replica.another_leads()
            calling = asyncio.create_task(self._at_hand(leader))
            ceased = asyncio.create_task(self._replica.until_leader_is_not(leader.term))
            try:
                await asyncio.wait({calling, ceased}, return_when=asyncio.FIRST_COMPLETED)
                # gRPC ends whoever waits for a call of a channel that is closed as if cancelled.
                if calling.done() and not calling.cancelled():
                    calling.result()
            finally:
                calling.cancel()
                ceased.cancel()
                await asyncio.gather(calling, ceased, return_exceptions=True)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _at_hand(self, leader: Holder) -> None:
        """One call, until it ends."""
        try:
            channel = await self._channel.connected(leader.address)
        except ConnectionError:
            return
        call = ClusterServiceStub(channel).StandBy()
        try:
            await call.write(
                cluster.StandByAnswer(
                    replica=self._replica.name,
                    address=self._address,
                    join_address=self._join_address,
                )
            )
            await self._answer_all(call)
        except* (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError) as ended:
            _log.debug("not at hand", leader=leader.replica, reason=str(ended.exceptions[0]))
        except* TimeoutError:
            _log.warning("the leader has not spoken for long", leader=leader.replica)
        finally:
            call.cancel()

    async def _answer_all(self, call: Call) -> None:
        writing = asyncio.Lock()  # gRPC takes one message at a time
        async with asyncio.TaskGroup() as group:
            while (question := await _next(call)) is not None:
                if question.hosts:
                    group.create_task(self._answer(call, question, writing))

    async def _answer(
        self, call: Call, question: cluster.StandByQuestion, writing: asyncio.Lock
    ) -> None:
        places = [Place(one.id, one.address) for one in question.hosts]
        reached = await self._probe.reached(places)
        async with writing:
            await call.write(cluster.StandByAnswer(number=question.number, reached=reached))


async def _next(call: Call) -> cluster.StandByQuestion | None:
    """None when the leader has ended the call. Raises TimeoutError."""
    async with asyncio.timeout(SILENCE_SECONDS):
        question: Any = await call.read()
    return None if question is grpc.aio.EOF else question
