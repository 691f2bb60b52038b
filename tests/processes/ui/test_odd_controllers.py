"""The panes over controllers that are older, or say what cannot be."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleetctl.ui.acts import Act
from fleetctl.ui.vm_list import PAGE
from megafleet.connection.cluster import Cluster
from tests.processes.controller_double import IDENTITY, ControllerDouble, status
from tests.processes.ui.screen_pilot import client, shown

TOTAL = 1_000_000


def page(asked: wire.ListVmsRequest, *, older: bool = False) -> wire.ListVmsResponse:
    """Of a million VMs; an older controller knows cursors alone."""
    first = 0 if older else asked.skip
    rows = [
        wire.VmRow(index=index, state=types.VM_STATE_RUNNING, host=1, generation=1)
        for index in range(first, min(first + asked.limit, TOTAL))
    ]
    answer = wire.ListVmsResponse(fleet=IDENTITY, vms=rows, hosts=["", "h1"], matching=TOTAL)
    if not older:
        answer.position = first
    return answer


@pytest.fixture
def double() -> Iterator[ControllerDouble]:
    with ControllerDouble() as controller:
        controller.on("Status", status(TOTAL, TOTAL))
        fleets = [wire.FleetSummary(name="spv", total=TOTAL)]
        controller.on("ListFleets", wire.ListFleetsResponse(fleets=fleets))
        yield controller


@pytest.fixture
def connection(double: ControllerDouble, tmp_path: Path) -> Cluster:
    return client(tmp_path, double.endpoint)


async def test_any_place_of_a_million_vms_is_one_page_away(
    double: ControllerDouble, connection: Cluster
) -> None:
    double.on("ListVms", page)
    async with shown(connection, "vms") as on:
        await on.until_shown("1 of 1,000,000", "spv-0 ")
        await on.press("end")
        await on.until_shown("1,000,000 of 1,000,000", "spv-999999 ")
        asked = [one.skip for one in double.asked("ListVms")]
        assert set(asked) == {0, TOTAL - PAGE} and len(asked) <= 4
        rows: Any = on.screen.pane.rows
        assert rows.held == 2 * PAGE


async def test_an_older_controllers_first_page_is_shown_and_said_to_be_all_there_is(
    double: ControllerDouble, connection: Cluster
) -> None:
    double.on("ListVms", lambda asked: page(asked, older=True))
    async with shown(connection, "vms", size=(110, 24)) as on:
        await on.until_shown("1 of 1,000,000", "spv-0 ")
        await on.press("end")
        await on.until_shown(f"{PAGE} of {PAGE}", "too old to show other than the first VMs")


async def test_a_controller_that_has_fewer_than_it_says_is_not_asked_in_a_loop(
    double: ControllerDouble, connection: Cluster
) -> None:
    double.on("ListVms", wire.ListVmsResponse(fleet=IDENTITY, hosts=[""], matching=50, position=0))
    async with shown(connection, "vms") as on:
        await on.until_shown("1 of 50", "...")
        began, before = time.monotonic(), len(double.asked("ListVms"))
        await on.until(lambda _: len(double.asked("ListVms")) >= before + 2, "asked again")
        assert time.monotonic() - began > 2.0


async def test_what_cannot_be_shown_is_told_and_the_other_panes_go_on(
    double: ControllerDouble, connection: Cluster
) -> None:
    nonsense = wire.ListVmsResponse(fleet=IDENTITY, matching=1, position=0)
    nonsense.vms.add(index=0, host=7)
    double.on("ListVms", nonsense)
    async with shown(connection, "fleets", size=(110, 24)) as on:
        await on.until_shown("1 of 1", "spv")
        await on.press("3")
        await on.until_shown("these rows cannot be shown: IndexError")
        await on.press("enter", "c", "down")
        await on.press("1")
        await on.until_shown("1 of 1", "spv")


def _odd(*_: object) -> str:
    raise OverflowError("no such number")


async def test_an_act_whose_answer_cannot_be_read_is_told_and_the_screen_stays(
    connection: Cluster,
) -> None:
    async with shown(connection, "fleets", size=(110, 24)) as on:
        await on.until_shown("1 of 1", "spv")
        on.screen.pane.acts = (Act("x", "odd", None, _odd), Act("y", "asked", _odd, _odd))
        for key in "xy":
            await on.press(key)
            await on.until_shown("internal error: OverflowError")
            await on.press("down")
        await on.until_shown("1 of 1", "spv")


async def test_a_status_that_cannot_be_read_takes_nothing_else_away(
    connection: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Cluster.call

    def odd(asked: Cluster, rpc: Any, request: Any) -> Any:
        return _odd() if isinstance(request, wire.StatusRequest) else call(asked, rpc, request)

    monkeypatch.setattr(Cluster, "call", odd)
    async with shown(connection, "fleets", size=(110, 24)) as on:
        await on.until_shown("1 of 1", "spv", "internal error: OverflowError")
