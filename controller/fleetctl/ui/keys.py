"""The keys of the panes, each by the name that Textual has for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fleetctl.outcome import Misuse, Trouble, one_line
from fleetctl.ui.panes import NAMES
from fleetctl.ui.vm_list import VmList

if TYPE_CHECKING:
    from textual.events import Key

    from fleetctl.ui.app import FleetScreen

LONGEST = 200  # of a filter


def _to(name: str) -> Callable[[FleetScreen], None]:
    return lambda screen: screen.show_pane(name)


def _by(rows: int) -> Callable[[FleetScreen], None]:
    return lambda screen: screen.move_to(screen.pane.at + rows)


def _by_screens(screens: int) -> Callable[[FleetScreen], None]:
    return lambda screen: screen.move_to(screen.pane.at + screens * screen.table.lines)


def _first(screen: FleetScreen) -> None:
    screen.move_to(0)


def _last(screen: FleetScreen) -> None:
    screen.move_to(screen.pane.rows.total - 1)


def _begin_filter(screen: FleetScreen) -> None:
    screen.typing = screen.pane.rows.filter


def _end_filter(screen: FleetScreen) -> None:
    if screen.pane.rows.filter:
        screen.pane.rows.set_filter("")
        screen.list_anew()


def _sort(screen: FleetScreen) -> None:
    """By the next column; after the last one in the list's own order."""
    rows = screen.pane.rows
    keys = ["", *rows.sortable]
    now = rows.sort.removeprefix("-")
    rows.set_sort(keys[(keys.index(now) + 1) % len(keys) if now in keys else 0])
    screen.list_anew()


def _reverse(screen: FleetScreen) -> None:
    rows = screen.pane.rows
    by = rows.sort.removeprefix("-") or rows.sortable[0]
    rows.set_sort(by if rows.sort.startswith("-") else f"-{by}")
    screen.list_anew()


def _vms(screen: FleetScreen) -> None:
    """Of the fleet or the host that is chosen."""
    pane, row = screen.pane, screen.table.chosen
    vms = screen.panes["vms"].rows
    if row is None or not isinstance(vms, VmList) or pane.name not in ("fleets", "hosts"):
        return
    if pane.name == "fleets":
        vms.set_fleet(pane.name_of(row))
    else:
        vms.set_filter(f"host={pane.name_of(row)}")
    screen.show_pane("vms")
    screen.list_anew()


def _next_fleet(screen: FleetScreen) -> None:
    rows = screen.pane.rows
    if isinstance(rows, VmList) and (fleet := rows.next_fleet()) != rows.fleet:
        rows.set_fleet(fleet)
        screen.list_anew()


def _console(screen: FleetScreen) -> None:
    """The terminal is the guest's until the escape; then the panes are drawn anew."""
    row = screen.table.chosen
    if screen.pane.name != "vms" or row is None:
        return
    from fleetctl.terminal.vm_console import at_console

    page, vm = row
    try:
        with screen.suspend():
            name = at_console(screen.connection, page.fleet.name, vm.index)
    except Trouble as trouble:
        screen.say(trouble.message, "red")
    except KeyboardInterrupt:
        screen.say("interrupted")
    else:
        screen.say(f"console of {name} left")
    screen.look()


KEYS: Mapping[str, Callable[[FleetScreen], None]] = {
    **{str(at): _to(name) for at, name in enumerate(NAMES, 1)},
    "tab": lambda screen: screen.pane_beside(1),
    "shift+tab": lambda screen: screen.pane_beside(-1),
    "up": _by(-1), "k": _by(-1), "down": _by(1), "j": _by(1),
    "pageup": _by_screens(-1), "pagedown": _by_screens(1), " ": _by_screens(1),
    "home": _first, "g": _first, "end": _last, "G": _last,
    "/": _begin_filter, "escape": _end_filter,
    "s": _sort, "S": _reverse,
    "v": _vms, "f": _next_fleet, "c": _console,
    "enter": lambda screen: screen.show_details(),
    "?": lambda screen: screen.show_help(),
    "r": lambda screen: screen.look(),
    "q": lambda screen: screen.exit(),
}  # fmt: skip


def typed_into(screen: FleetScreen, event: Key) -> None:
    """A key while a filter is typed. Lists that are held follow each; others wait for enter."""
    rows, text = screen.pane.rows, screen.typing or ""
    if event.key == "escape":
        screen.typing = None
        _end_filter(screen)
    elif event.key == "enter":
        screen.typing = None
        _filter(screen, text)
    else:
        if event.key == "backspace":
            text = text[:-1]
        elif event.key == "ctrl+u":
            text = ""
        elif event.is_printable and event.character and len(text) < LONGEST:
            text += event.character
        screen.typing = text
        if rows.held_whole:
            _filter(screen, text)
    screen.tell()


def _filter(screen: FleetScreen, text: str) -> None:
    try:
        screen.pane.rows.set_filter(text)
    except Misuse as misuse:
        screen.say(one_line(misuse.message), "red")
        return
    screen.list_anew()
