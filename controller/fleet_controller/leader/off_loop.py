"""Decisions that take long, made beside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

Result = TypeVar("Result")


class OffLoop:
    """Runs pure functions in the executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def run(self, work: Callable[[], Result]) -> Result:
        """What the function returns. It must not read what the loop goes on to change."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
