"""Draws a live screen and follows its keys, while a thread hears what is new."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from fleetctl.terminal.keyboard import keyboard, pressed
from fleetctl.terminal.live_screen import LiveScreen


def run_live(screen: LiveScreen, hear: Callable[[], None]) -> None:
    """Until q, Ctrl-C, or the end of what `hear` hears. Raises what it raises. Without a keyboard
    it is heard here, and there are no keys."""
    if not sys.stdin.isatty():
        screen.view.keys = False
        with screen.live:
            hear()
        return
    ended: list[BaseException | None] = []
    wake, waker = os.pipe()

    def heard() -> None:
        failure: BaseException | None = None
        try:
            hear()
        except BaseException as error:
            failure = error
        ended.append(failure)
        os.write(waker, b".")

    # Nobody waits for it: what it waits for may last, and it ends with the process.
    threading.Thread(target=heard, name="live", daemon=True).start()
    with keyboard() as terminal, screen.live:
        while (keys := pressed(terminal, wake)) is not None:
            if any(screen.press(key) for key in keys):
                return
            screen.live.refresh()
    if ended and ended[0] is not None:
        raise ended[0]
