"""What is drawn on a terminal again and again, as rich does it."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console, RenderableType
from rich.live import Live


def drawn(console: Console, render: Callable[[], RenderableType], per_second: float) -> Live:
    """A context in which what `render` gives is drawn so often. Whatever is printed meanwhile goes
    where it would go without."""
    return Live(
        console=console,
        get_renderable=render,
        refresh_per_second=per_second,
        redirect_stdout=False,
        redirect_stderr=False,
    )
