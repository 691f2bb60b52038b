"""The agent's unit as systemd runs it in the lab's dom0: confined, bounded, watched, at work."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.lab.lab import RESTARTED_SECONDS, Lab, until

pytestmark = pytest.mark.lab

MOST_EXPOSED = 4.1


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab("confined").without_fleet() as lab:
        yield lab


def test_the_agent_is_exposed_no_more_than_it_must_be(lab: Lab) -> None:
    overall = lab.ssh("systemd-analyze security --no-pager fleet-agent | tail -1")
    # → Overall exposure level for fleet-agent.service: 4.1 OK
    assert float(overall.partition("service:")[2].split()[0]) <= MOST_EXPOSED


def test_the_agent_is_bounded_and_watched(lab: Lab) -> None:
    asked = "systemctl show -p MemoryMax -p TasksMax -p LimitNOFILE -p WatchdogUSec fleet-agent"
    shown = dict(line.split("=") for line in lab.ssh(asked).split())
    assert shown == {
        "MemoryMax": str(2**30), "TasksMax": "2048", "LimitNOFILE": "1048576",
        "WatchdogUSec": "2min",
    }  # fmt: skip


def test_the_confined_agent_still_tunes(lab: Lab) -> None:
    said = json.dumps([lab.fleetctl("tune", "--apply"), lab.fleetctl("tune", "--undo")])
    for failure in ("Read-only file system", "Permission denied", "Operation not permitted"):
        assert failure not in said


def test_an_agent_that_stands_still_is_ended_and_started_anew(lab: Lab) -> None:
    stopped = lab.agent()
    lab.ssh("systemctl kill -s STOP fleet-agent")
    until(lambda: lab.agent() not in (stopped, ""), 150 + RESTARTED_SECONDS)
    until(lambda: lab.fleetctl("status")["hosts"]["live"] == 1, RESTARTED_SECONDS)
