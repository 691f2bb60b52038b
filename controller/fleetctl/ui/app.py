"""The screen: what keys do, and what is asked of the cluster while it is shown."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.events import Key, Resize
from textual.widgets import Static

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import Trouble, Unavailable, one_line
from fleetctl.ui.acts import Act
from fleetctl.ui.background import AGAIN, AGAIN_REFUSED, EVERY, Age, Background, pause_after
from fleetctl.ui.dialogs import Details, Question
from fleetctl.ui.edge_lines import HELP, foot_lines, head_lines, too_small
from fleetctl.ui.keys import KEYS, typed_into
from fleetctl.ui.panes import NAMES, Pane
from fleetctl.ui.row_table import RowTable
from megafleet.connection.cluster import Cluster


class FleetScreen(App[None]):
    """`first`: what the first pane was asked for before there was a screen; `where`: which cluster
    it is, for people."""

    CSS = "#head, #foot { height: 2; } RowTable { height: 1fr; }"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [Binding("ctrl+c", "quit", show=False, priority=True)]  # noqa: RUF012

    def __init__(
        self,
        connection: Cluster,
        panes: dict[str, Pane],
        background: Background,
        *,
        pane: str = "fleets",
        where: str = "",
        first: Future[Any] | None = None,
    ) -> None:
        super().__init__(ansi_color=True)
        self.connection, self.panes, self.where = connection, panes, where
        self.table = RowTable(panes[pane])
        self.status: cluster.StatusResponse | None = None
        self.notice = Text()  # what was said of the last key; until the next one
        self.typing: str | None = None  # a filter that is typed
        self._background, self._first = background, first
        self._head, self._foot = Static(id="head", markup=False), Static(id="foot", markup=False)
        self._status_age = Age()
        self._wake = asyncio.Event()

    @property
    def pane(self) -> Pane:
        return self.table.pane

    def compose(self) -> ComposeResult:
        yield self._head
        yield self.table
        yield self._foot

    def on_mount(self) -> None:
        self.table.focus()
        if not self.is_headless:  # else whoever runs this has handlers of its own
            for number in (signal.SIGTERM, signal.SIGHUP):
                ended = partial(self.exit, return_code=128 + number)
                asyncio.get_running_loop().add_signal_handler(number, ended)
        self.run_worker(self._follow_rows(), name="rows", exit_on_error=True)
        self.run_worker(self._follow_status(), name="status", exit_on_error=True)
        self.set_interval(1.0, self.tell)  # ages grow by themselves

    def on_unmount(self) -> None:
        self._background.close()

    def on_resize(self, event: Resize) -> None:
        small = too_small(event.size.width, event.size.height)
        self.table.display = self._foot.display = not small
        self.tell()

    # What is asked -----------------------------------------------------------------------------

    async def _follow_rows(self) -> None:
        spent = 0.0  # on the present round over the list
        while True:
            self._wake.clear()
            pane, view, began = self.pane, self.table.view, time.monotonic()
            asked, self._first = self._first or self._ask(pane, *view), None
            more = False
            try:
                more = pane.rows.take(await asyncio.wrap_future(asked))
            except Trouble as trouble:
                pause = _failed(pane.age, trouble)
            except Exception as error:  # the other panes go on
                pause = _failed(pane.age, _internal(error))
            else:
                spent += time.monotonic() - began
                pause = pause_after(spent)
                pane.age.answered(time.monotonic(), pause)
            if pane is self.pane:
                self.table.draw()
            self.tell()
            now = self.table.view
            if more or pane is not self.pane or (now != view and not pane.rows.has(*now)):
                continue  # there is more of it, or what is in view by now is not there
            spent = 0.0
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    def _ask(self, pane: Pane, first: int, count: int) -> Future[Any]:
        return self._background.begin(lambda: pane.rows.ask(self.connection, first, count))

    async def _follow_status(self) -> None:
        while True:
            pause = EVERY
            try:
                self.status = await self._background.of(
                    lambda: self.connection.call(lambda stub: stub.Status, cluster.StatusRequest())
                )
                self._status_age.answered(time.monotonic())
            except Trouble as trouble:
                pause = _failed(self._status_age, trouble)
            except Exception as error:  # the panes go on
                pause = _failed(self._status_age, _internal(error))
            self.tell()
            await asyncio.sleep(pause)

    def look(self) -> None:
        """Ask for what is in view now, and not after a while."""
        self._wake.set()
        self.tell()

    # What is said ------------------------------------------------------------------------------

    def tell(self) -> None:
        """The lines above and below the rows."""
        width = self.size.width
        if small := too_small(width, self.size.height):
            self._head.update(Text(small))
            return
        self._head.update(head_lines(self.pane, self.status, self.where, width, time.time()))
        self._foot.update(foot_lines(self.pane, self._said(), width))

    def _said(self) -> Text:
        """The most urgent: what is typed, why nothing is new, what a key has done."""
        if self.typing is not None:
            return Text(f"/{self.typing}_", style="bold")
        now = time.monotonic()
        for age in (self.pane.age, self._status_age):
            if old := age.text(now):
                return Text(one_line(old), style="red" if age.trouble else "yellow")
        if self.notice:
            return self.notice.copy()
        mark = self.connection.read_only
        return Text(str(mark) if mark else self.pane.rows.remark, style="yellow")

    def say(self, text: str, style: str = "") -> None:
        self.notice = Text(one_line(text), style=style)
        self.tell()

    # What keys do ------------------------------------------------------------------------------

    def on_key(self, event: Key) -> None:
        if len(self.screen_stack) > 1:  # a dialog has it
            return
        event.stop()
        event.prevent_default()
        if self.typing is not None:
            typed_into(self, event)
            return
        self.notice = Text()
        name = event.character if event.is_printable and event.character else event.key
        act = next((one for one in self.pane.acts if one.key == name), None)
        if act is not None:
            self._begin_act(act)
        elif name in KEYS:
            KEYS[name](self)
        self.tell()

    def show_pane(self, name: str) -> None:
        self.table.show_pane(self.panes[name])
        self.look()

    def pane_beside(self, by: int) -> None:
        self.show_pane(NAMES[(NAMES.index(self.pane.name) + by) % len(NAMES)])

    def move_to(self, at: int) -> None:
        self.table.move_to(at)
        if not self.pane.rows.has(*self.table.view):
            self.look()

    def list_anew(self) -> None:
        """The list of this pane is another from now on."""
        self.pane.at = self.pane.top = 0
        self.table.other_list()
        self.look()

    def show_help(self) -> None:
        self.push_screen(Details("keys", HELP))

    def show_details(self) -> None:
        row, pane = self.table.chosen, self.pane
        if row is not None:
            self.run_worker(self._show_details(pane, row))

    async def _show_details(self, pane: Pane, row: Any) -> None:
        width = max(20, int(self.size.width * 0.95) - 4)
        try:
            text = await self._background.of(lambda: pane.details(self.connection, row, width))
        except Trouble as trouble:
            self.say(trouble.message, "red")
        except Exception as error:
            self.say(_internal(error).message, "red")
        else:
            self.push_screen(Details(f"{pane.name}: {pane.name_of(row)}", text))

    def _begin_act(self, act: Act) -> None:
        row = self.table.chosen
        if row is not None:
            self.run_worker(self._act(act, self.pane.name_of(row)))

    async def _act(self, act: Act, name: str) -> None:
        """What the command asks and does; a refusal is said as the server says it."""
        self.say(f"{act.name} {name} ...")
        try:
            if act.question is not None:
                ask = act.question
                question = await self._background.of(lambda: ask(self.connection, name))
                if not await self.push_screen_wait(Question(question)):
                    self.say(f"{name}: nothing was done")
                    return
            self.say(await self._background.of(lambda: act.do(self.connection, name)), "green")
        except Trouble as trouble:
            self.say(trouble.message, "red")
        except Exception as error:
            self.say(_internal(error).message, "red")
        self.look()


def _internal(error: Exception) -> Trouble:
    if os.environ.get("MEGAFLEET_DEBUG"):
        raise error
    return Trouble(f"internal error: {type(error).__name__}: {error}")


def _failed(age: Age, trouble: Trouble) -> float:
    """Seconds until another try."""
    lost = isinstance(trouble, Unavailable)
    age.failed(trouble.message, lost=lost)
    return AGAIN if lost else AGAIN_REFUSED
