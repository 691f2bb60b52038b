"""Calls that block, made by threads for those who wait in an event loop.

The connection to a cluster is one, and it blocks: what was learnt of failovers, of servers that
are stopped and of deadlines is not written a second time for asyncio. Each call has a thread for as
long as it lasts, so that none waits behind another that follows something; none of them keeps the
process from ending.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from megafleet.connection.cancellation import Cancelled
from megafleet.errors import Failed

T = TypeVar("T")


async def in_thread(work: Callable[[], T], cancel: Callable[[], None]) -> T:
    """What `work` returns or raises. Where nobody waits for it any more, `cancel` is called: it
    makes `work` raise Cancelled."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def told(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except Cancelled:
            error = Failed("this client is closed")
        except StopIteration as stop:  # a future refuses it
            error = RuntimeError(f"{stop!r} of a call")
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(told, result, error)
        except RuntimeError:  # the loop is closed: nobody waits
            return

    threading.Thread(target=run, name="megafleet call", daemon=True).start()
    try:
        return await done
    except asyncio.CancelledError:
        cancel()
        raise
