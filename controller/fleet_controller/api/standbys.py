"""The part of the service that other controllers ask for: to be at hand for this one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fleet.endpoints import BadEndpoint, dialled
from fleet.transport import Role
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import NAMES_MANY_BYTES, Call, rpc
from fleet_controller.replica.replica import Replica
from fleet_controller.standbys import SIGN_OF_LIFE_SECONDS, AtHand, Standby

_LONGEST_NAME = 80


class StandbysApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica
    at_hand: AtHand

    # grpc.aio also takes a coroutine that writes; the generated signature knows generators only.
    @rpc((Role.CONTROLLER,), max_bytes=NAMES_MANY_BYTES)
    async def StandBy(  # type: ignore[override]
        self, call: Call, answers: AsyncIterator[cluster.StandByAnswer]
    ) -> None:
        """Reads answers in a task beside the questions, so that neither waits for the other."""
        answers = aiter(answers)
        first = await anext(answers, None)
        if first is None:
            return
        name = first.replica[:_LONGEST_NAME] or call.peer.name
        places = _endpoint(first.address), _endpoint(first.join_address)
        with self.at_hand.joined(name, *places) as standby:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(_listen(answers, standby))
                await _ask(standby, call)
                listening.cancel()


def _endpoint(text: str) -> str:
    """What agents and operators may be told; empty for what nobody can dial."""
    try:
        return dialled(text) if text else ""
    except BadEndpoint:
        return ""


async def _listen(answers: AsyncIterator[cluster.StandByAnswer], standby: Standby) -> None:
    """Until it says nothing more: it is dismissed then."""
    async for answer in answers:
        standby.answered(answer.number, answer.reached)
    standby.dismiss()


async def _ask(standby: Standby, call: Call) -> None:
    while (question := await standby.next_question(SIGN_OF_LIFE_SECONDS)) is not None:
        hosts = [cluster.HostAddress(id=at.host, address=at.address) for at in question.places]
        await call.send(cluster.StandByQuestion(number=question.number, hosts=hosts))
