"""One command for many hosts: it is one change, and what interrupts it waits for nobody."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

import pytest

from fleetctl.commands.hosts.host_choice import ask_each
from fleetctl.outcome import Failed
from fleetctl.session import Session

HOSTS = [f"h{number}" for number in range(40)]


@dataclass
class Connection:
    """What a thread has of the cluster."""

    change_id: str
    changed: bool = False


class Asking(Session):
    """Each of its copies makes a connection of its own."""

    made = count()

    @cached_property
    def cluster(self) -> Any:
        return Connection(f"id-{next(self.made)}")


def test_all_hosts_are_asked_under_one_change_id_and_the_command_tells_it() -> None:
    session = Asking()
    told: list[int] = []

    def ask(connection: Any, host: str) -> str:
        connection.changed = True
        if host == "h7":
            raise Failed("h7 is full")
        return str(connection.change_id)

    outcomes = ask_each(session, HOSTS, ask, told.append)
    assert [one.host for one in outcomes] == HOSTS and told[-1] == len(HOSTS)
    assert {one.answer for one in outcomes if not one.trouble} == {session.cluster.change_id}
    assert [one.trouble for one in outcomes if one.trouble] == ["h7 is full"]
    assert session.change_id == session.cluster.change_id


def test_a_command_that_asks_many_and_changes_nothing_tells_no_id() -> None:
    session = Asking()
    ask_each(session, HOSTS, lambda connection, host: host, lambda done: None)
    assert session.change_id == ""


def test_an_interruption_waits_for_none_of_the_calls_under_way() -> None:
    held, told = threading.Event(), threading.Event()

    def ask(connection: Any, host: str) -> str:
        if host != "h0":
            held.wait(60)
        return host

    def tell(done: int) -> None:
        told.set()
        raise KeyboardInterrupt

    def asked() -> None:
        with pytest.raises(KeyboardInterrupt):
            ask_each(Asking(), HOSTS, ask, tell)

    interrupted = threading.Thread(target=asked)
    interrupted.start()
    try:
        interrupted.join(30)
        assert told.is_set() and not interrupted.is_alive()
    finally:
        held.set()
