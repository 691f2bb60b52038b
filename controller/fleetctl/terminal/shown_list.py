"""A list, shown once or again and again."""

from __future__ import annotations

from collections.abc import Callable

from fleetctl.tables.answer import ListAnswer
from fleetctl.tables.column import Row
from fleetctl.tables.formats import ListOptions


def show_list(look: Callable[[], ListAnswer[Row]], options: ListOptions, *, watched: bool) -> None:
    """`look` asks the cluster. `watched`: until Ctrl-C. Raises Trouble."""
    if watched:
        from fleetctl.terminal.list_watch import watch_list

        watch_list(look, options)
    else:
        from fleetctl.tables.listing import say_list

        say_list(look(), options)
