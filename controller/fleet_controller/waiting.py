"""Waiting for something at most so long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def within(seconds: float | None, awaited: Awaitable[object]) -> bool:
    """Wait for it, at most this long (None: for ever); whether it came."""
    try:
        async with asyncio.timeout(seconds):
            await awaited
    except TimeoutError:
        return False
    return True
