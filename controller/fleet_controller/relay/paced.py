"""What one host answers, read at a pace that an honest one keeps: whoever sends more waits, as its
connection fills, and nobody else does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from fleet_controller.agents.port import Answers

Answer = TypeVar("Answer", bound=Message)
# What may come at once after a rest: as much as comes in so long.
_AT_ONCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class ReadPace:
    """A second."""

    messages: float
    bytes: float = 1 << 20


class Paced(Generic[Answer]):
    def __init__(self, answers: Answers[Answer], pace: ReadPace) -> None:
        self._answers = answers
        self._pace = pace
        self._clock = asyncio.get_running_loop().time
        self._free_at = self._clock() - _AT_ONCE_SECONDS

    async def read(self) -> Answer | None:
        """As of Answers."""
        if (early := self._free_at - self._clock()) > 0:
            await asyncio.sleep(early)
        answer = await self._answers.read()
        if answer is not None:
            cost = max(1 / self._pace.messages, answer.ByteSize() / self._pace.bytes)
            self._free_at = max(self._free_at, self._clock() - _AT_ONCE_SECONDS) + cost
        return answer

    def cancel(self) -> None:
        self._answers.cancel()
