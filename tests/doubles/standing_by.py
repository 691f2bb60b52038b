"""Controllers that stand by, without gRPC between them and the leader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

from fleet_controller.agents.port import AgentDialer
from fleet_controller.replica.host_probe import HostProbe
from fleet_controller.standbys import SIGN_OF_LIFE_SECONDS, AtHand, Place, Standby

Look = Callable[[Iterable[Place]], Awaitable[list[str]]]


@asynccontextmanager
async def standby(at_hand: AtHand, name: str, dialer: AgentDialer) -> AsyncIterator[None]:
    """Looks at hosts by the product's own probe, over ways of its own."""
    async with answering(at_hand, name, HostProbe(dialer).reached):
        yield


@asynccontextmanager
async def answering(at_hand: AtHand, name: str, look: Look) -> AsyncIterator[None]:
    """Answers each question as `look` does, in the order they come."""
    with at_hand.joined(name) as one:
        task = asyncio.create_task(_answer_all(one, look))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _answer_all(one: Standby, look: Look) -> None:
    while (question := await one.next_question(SIGN_OF_LIFE_SECONDS)) is not None:
        if question.places:
            one.answered(question.number, await look(question.places))
