"""One thing done on many hosts: at a bounded width, with one table at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from fleetctl.commands.hosts.host_choice import Outcome, alike, ask_each
from fleetctl.output import counted, say, say_json
from fleetctl.session import Session

if TYPE_CHECKING:
    from megafleet.connection.cluster import Cluster

Answer = TypeVar("Answer")


def on_each(
    session: Session,
    hosts: Sequence[str],
    doing: str,
    ask: Callable[[Cluster, str], Answer],
) -> list[Outcome[Answer]]:
    """What each host has answered, in their order; a line tells how many have."""
    from fleetctl.terminal.progress_line import progress_line

    with progress_line(json=session.json) as line:
        return ask_each(
            session, hosts, ask,
            lambda done: line.show(f"{doing}: {done:,} of {counted(len(hosts), 'host')}"),
        )  # fmt: skip


def say_outcomes(
    session: Session,
    outcomes: Sequence[Outcome[Answer]],
    words: Callable[[Answer], str],
    as_json: Callable[[str, Answer], dict[str, Any]],
) -> None:
    """One line for all hosts that agree. In JSON each host has its own."""
    if session.json:
        say_json({
            "hosts": [
                {"host": one.host, "error": one.trouble}
                if one.answer is None
                else {**as_json(one.host, one.answer), "host": one.host, "error": None}
                for one in outcomes
            ]
        })  # fmt: skip
        return
    from fleetctl.tables.listing import table
    from fleetctl.views.hosts.image_places import few

    rows = [(len(hosts), few(hosts), said) for said, hosts in alike(outcomes, words)]
    say(table(("HOSTS", "WHICH", "OUTCOME"), rows))


def failed(outcomes: Sequence[Outcome[Answer]], good: Callable[[Answer], bool]) -> int:
    """How many did not answer, or did not answer well."""
    return sum(one.answer is None or not good(one.answer) for one in outcomes)
