"""What stands before the panes until it is answered or read: a question, and details."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Static

_LEAVE = frozenset({"escape", "q", "enter"})


class Question(ModalScreen[bool]):
    """Dismissed with whether it was agreed to: by y alone."""

    CSS = """
    Question { align: center middle; }
    Question > Static { width: 72; max-width: 95%; height: auto; border: round red; padding: 0 1; }
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        yield Static(Text(f"{self._text}\n\ny yes   n no"))

    def on_key(self, event: Key) -> None:
        event.stop()
        if event.key == "y":
            self.dismiss(True)
        elif event.key in ("n", "q", "escape"):
            self.dismiss(False)


class Details(ModalScreen[None]):
    """A text that may be longer than the screen. It comes from `views`, whose texts hold nothing
    that would steer a terminal but their own colours."""

    CSS = """
    Details { align: center middle; }
    Details > VerticalScroll { width: 95%; height: auto; max-height: 90%; border: round gray;
                               padding: 0 1; }
    Details Static { width: 100%; height: auto; }
    """

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with VerticalScroll() as frame:
            frame.border_title = Text(self._title).markup
            frame.border_subtitle = "arrows scroll, enter leaves"
            yield Static(Text.from_ansi(self._text))

    def on_key(self, event: Key) -> None:
        if event.key in _LEAVE:
            event.stop()
            self.dismiss(None)
