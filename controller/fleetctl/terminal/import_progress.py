"""How far an import is, in words, and as a bar where the line is written over."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as agent
from fleetctl.outcome import printable
from fleetctl.output import byte_text, duration
from fleetctl.terminal.progress_line import ProgressLine

BAR_CELLS = 24


def show_import(line: ProgressLine, progress: agent.ImportImageProgress) -> None:
    """A bar before the words on a terminal, the words alone elsewhere."""
    text = progress_text(progress, line.elapsed())
    line.show(f"{bar_text(progress)}  {text}" if line.terminal else text)


def bar_text(progress: agent.ImportImageProgress) -> str:
    """Empty cells while the end is not known."""
    full = int(_share(progress) * BAR_CELLS)
    return f"[{'#' * full}{'.' * (BAR_CELLS - full)}]"


def progress_text(progress: agent.ImportImageProgress, seconds: float) -> str:
    """copying, 1.2 GiB of 4.0 GiB (30 %), 12 s."""
    parts = [printable(progress.step)]
    if progress.total_bytes:
        done, total = byte_text(progress.done_bytes), byte_text(progress.total_bytes)
        parts.append(f"{done} of {total} ({_share(progress):.0%})")
    parts.append(duration(seconds))
    return ", ".join(parts)


def _share(progress: agent.ImportImageProgress) -> float:
    """From 0 to 1; 0 while the end is not known."""
    if not progress.total_bytes:
        return 0.0
    return min(1.0, progress.done_bytes / progress.total_bytes)
