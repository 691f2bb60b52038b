"""Several hosts drained by one command: which of them are said to be empty, and which are not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.commands.hosts import draining
from fleetctl.commands.hosts.draining import DrainBounds, drain_all
from fleetctl.outcome import ExitCode, Failed, NotConverged, Refused, Unavailable
from fleetctl.session import Session
from fleetctl.tables.formats import JSON, TABLE, ListOptions

Look = Callable[[], cluster.HostDetail]


def seen(
    *,
    drain: cluster.DrainProgress | None = None,
    assigned: int = 0,
    releasing: int = 0,
    lost: bool = False,
) -> Look:
    """The host as the controller tells it; without `drain` it is not draining."""
    health = cluster.HOST_HEALTH_LOST if lost else cluster.HOST_HEALTH_LIVE
    ranges = [types.IndexRange(start=0, stop=releasing)] if releasing else []
    detail = cluster.HostDetail(
        summary=cluster.HostSummary(assigned=assigned, health=health),
        tombstones=[types.Tombstone(id=1, ranges=ranges)],
        drain=drain,
    )
    return lambda: detail


def refusing(error: Exception) -> Look:
    def look() -> cluster.HostDetail:
        raise error

    return look


DRAINING = seen(drain=cluster.DrainProgress(left=4), assigned=4)
EMPTY = seen(drain=cluster.DrainProgress(done=True))


class Hosts:
    """A controller that takes every drain, and tells of each host what it is given, one look after
    the other; the last is told for ever."""

    change_id, changed = "id", False

    def __init__(self, looks: dict[str, list[Look]]) -> None:
        self._looks = looks

    def follow(self, pick: object, request: cluster.DrainRequest) -> Iterator[Any]:
        yield cluster.DrainProgress(left=4)

    def call(self, pick: object, request: cluster.GetHostRequest) -> cluster.HostDetail:
        looks = self._looks[request.id]
        return (looks.pop(0) if len(looks) > 1 else looks[0])()


class Draining(Session):
    hosts: Hosts

    @cached_property
    def cluster(self) -> Any:
        return self.hosts


@pytest.fixture(autouse=True)
def _looks_follow_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LOOK_SECONDS", 0.0)


def drained(looks: dict[str, list[Look]], output: str = JSON, timeout: float = 60.0) -> int:
    session = Draining(listing=ListOptions(output=output))
    session.hosts = Hosts(looks)
    return drain_all(session, list(looks), False, False, False, timeout, DrainBounds())


STOPPED = "its drain was stopped or cancelled: "


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (seen(assigned=4), STOPPED + "4 VMs are left on it"),
        (seen(assigned=1), STOPPED + "1 VM is left on it"),
        (seen(releasing=3), STOPPED + "3 VMs are left on it"),
        (seen(assigned=2, releasing=3), STOPPED + "5 VMs are left on it"),
        (seen(assigned=2, releasing=3, lost=True), STOPPED + "2 VMs are left on it"),
        (
            refusing(Refused("there is no host 'h1'", reason="NO_SUCH_HOST")),
            "there is no host 'h1'",
        ),
    ],
)
def test_a_host_whose_drain_ended_with_vms_left_has_failed(
    last: Look, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = {"h1": [DRAINING, last], "h2": [DRAINING, DRAINING, EMPTY]}
    with pytest.raises(Failed) as error:
        drained(looks)
    assert error.value.message == "1 host of 2 could not be drained"
    assert json.loads(capsys.readouterr().out)["hosts"] == [
        {"host": "h1", "error": why},
        {"host": "h2", "left": 0, "error": None},
    ]


def test_the_table_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Failed):
        drained({"h1": [seen(assigned=4)], "h2": [EMPTY]}, TABLE)
    _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split(maxsplit=2) for row in rows] == [
        ["1", "h1", "its drain was stopped or cancelled: 4 VMs are left on it"],
        ["1", "h2", "drained: nothing is left on it"],
    ]


@pytest.mark.parametrize("last", [seen(), seen(releasing=3, lost=True), EMPTY])
def test_a_drain_that_is_gone_with_nothing_left_is_done(
    last: Look, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drained({"h1": [DRAINING, last], "h2": [EMPTY]}) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)["hosts"]
    assert [(one["left"], one["error"]) for one in told] == [(0, None)] * 2


def test_a_look_without_an_answer_says_nothing_and_the_next_one_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unheard = refusing(Unavailable("cannot reach the controller"))
    with pytest.raises(Failed):
        drained({"h1": [DRAINING, unheard, seen(assigned=4)], "h2": [DRAINING, unheard, EMPTY]})
    assert STOPPED in capsys.readouterr().out


def test_one_that_failed_is_told_beside_those_that_go_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(NotConverged) as error:
        drained({"h1": [seen(assigned=4)], "h2": [DRAINING]}, timeout=0.0)
    assert error.value.message == "1 host of 2 go on being drained; 1 could not be drained"
    assert json.loads(capsys.readouterr().out)["hosts"] == [
        {"host": "h1", "error": STOPPED + "4 VMs are left on it"},
        {"host": "h2", "left": 4, "error": None},
    ]
