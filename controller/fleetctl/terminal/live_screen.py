"""What is drawn on a terminal again and again, as rich does it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from rich.console import Console, RenderableType
from rich.live import Live

from fleetctl.outcome import printable
from fleetctl.terminal.live_view import LiveView


class LiveScreen(ABC):
    """Draws what `_render` gives some times a second, while the block of `live` lasts.

    Whatever is printed meanwhile goes where it would go without.
    """

    def __init__(self, console: Console | None, per_second: float) -> None:
        self._console = console or Console(highlight=False)
        self.view = LiveView()
        self._trouble = ""  # why no controller answers; empty while one does
        self.live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=per_second,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def unreachable(self, message: str) -> None:
        self._trouble = message

    def reachable_again(self) -> None:
        self._trouble = ""

    def press(self, key: str) -> bool:
        """What a key does; whether it leaves."""
        return self.view.press(key)

    @property
    def _still_waiting(self) -> str:
        """Why nothing new is shown; empty while a controller answers."""
        return f"{printable(self._trouble)}; still waiting" if self._trouble else ""

    @abstractmethod
    def _render(self) -> RenderableType:
        """What is drawn now."""
