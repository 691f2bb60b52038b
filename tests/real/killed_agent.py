"""An agent's driver that starts one clone, and is killed at a moment of it: a program of its own.

python -m tests.real.killed_agent FOLDER MOMENT
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fleet_agent.drivers.qemu import folders, monitor, starts, templates, vms
from tests.real.clone_host import CloneHost


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str) -> Callable[[], None]:
    def patch() -> None:
        setattr(owner, name, lambda *_, **__: die())

    return patch


def _after(owner: Any, name: str) -> Callable[[], None]:
    def patch() -> None:
        whole = getattr(owner, name)

        def cut(*given: Any, **named: Any) -> None:
            whole(*given, **named)
            die()

        setattr(owner, name, cut)

    return patch


def _asked(command: str, *, answered: bool) -> Callable[[], None]:
    """QMP's command is about to be asked, or is answered."""

    def patch() -> None:
        whole: Callable[..., Awaitable[object]] = monitor.Monitor.ask

        async def cut(self: monitor.Monitor, asked: str, **named: object) -> object:
            if asked == command and not answered:
                die()
            answer = await whole(self, asked, **named)
            if asked == command:
                die()
            return answer

        monitor.Monitor.ask = cut  # type: ignore[method-assign, assignment]

    return patch


# In the order in which they come.
MOMENTS: dict[str, Callable[[], None]] = {
    "half a folder is written": _after(folders, "_write"),
    "a template's folder is made": _before(templates, "started"),
    "a template boots": _after(templates, "started"),
    "a template is being saved": _asked("migrate", answered=True),
    "a template is saved and not kept": _before(templates, "_finish"),
    "a template is kept": _after(templates, "_finish"),
    "a life is written": _before(starts, "started"),
    "its process runs": _after(starts, "started"),
    "it is about to be restored": _asked("migrate-incoming", answered=False),
    "it is being restored": _asked("migrate-incoming", answered=True),
    "it is restored": _asked("cont", answered=False),
    "it goes on": _asked("cont", answered=True),
    "it is about to be told who it is": _before(starts, "identity_message"),
    "it is ready, and that is not written": _before(vms.Vms, "remember_ready"),
    "it is ready": _after(vms.Vms, "remember_ready"),
}


if __name__ == "__main__":
    MOMENTS[sys.argv[2]]()
    asyncio.run(CloneHost(Path(sys.argv[1])).run(0))
