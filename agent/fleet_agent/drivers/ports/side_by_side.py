"""Guests of a host asked side by side, within a bound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from fleet.guest_commands.answers import Answer
from fleet.ranges import IndexSet


async def side_by_side(
    width: int, indices: IndexSet, ask: Callable[[int], Coroutine[Any, Any, Answer]]
) -> AsyncGenerator[tuple[IndexSet, Answer], None]:
    """Left early, through contextlib.aclosing, it cancels what is being asked, and waits for it."""
    waiting = iter(indices)
    running: dict[asyncio.Task[Answer], int] = {}
    try:
        while True:
            while len(running) < width and (index := next(waiting, None)) is not None:
                running[asyncio.create_task(ask(index))] = index
            if not running:
                return
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                yield IndexSet.of((running.pop(task),)), task.result()
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
