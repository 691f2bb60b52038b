"""Calls of the client against a scripted controller: what they answer, and how they fail."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from megafleet.client import (
    ClusterContext,
    FailedForGood,
    InvalidArgument,
    MegafleetError,
    NoAnswer,
    NotAllowed,
    NotConverged,
    Refused,
    Superseded,
    SyncClient,
    Unavailable,
    Unreachable,
    VmState,
    parse_fleets,
)
from tests.processes.controller_double import IDENTITY, ControllerDouble, accepted, silent, status

# Whoever is let go ends well within it; the calls themselves would take far longer.
AT_ONCE = 5.0
RUNNING = types.VM_STATE_RUNNING
SHORT = 0.4


# -- what is asked and answered -----------------------------------------------------------


def test_a_status_has_words_and_all_that_the_wire_said(
    client: SyncClient, controller: ControllerDouble
) -> None:
    controller.on("Status", status(running=400))
    told = client.status("spv")
    (fleet,) = told.fleets
    assert (fleet.name, fleet.total, fleet.running) == ("spv", 1000, 400)
    assert fleet.states[VmState.RUNNING] == fleet.states["running"] == 400  # type: ignore[index]
    assert fleet.message == told.message.fleets[0] and told.fleet("spv") is fleet
    assert told.fleet("web") is None and not told.stale
    with pytest.raises(AttributeError):
        fleet.total = 3  # type: ignore[misc]


def test_vms_come_by_pages_and_not_before_they_are_taken(
    client: SyncClient, controller: ControllerDouble
) -> None:
    def page(request: wire.ListVmsRequest) -> wire.ListVmsResponse:
        first = int(request.cursor or 0)
        rows = [wire.VmRow(index=first + n, state=RUNNING, host=1) for n in range(request.limit)]
        after = first + request.limit
        return wire.ListVmsResponse(
            fleet=IDENTITY, vms=rows, hosts=["", "h1"], matching=6,
            next_cursor=str(after) if after < 6 else "",
        )  # fmt: skip

    controller.on("ListVms", page)
    vms = client.vms("spv", page=2)
    assert controller.asked("ListVms") == []
    first = next(vms)
    assert (first.name, first.state, first.host, first.fleet) == ("spv-0", "running", "h1", "spv")
    assert len(controller.asked("ListVms")) == 1
    assert [one.index for one in vms] == [1, 2, 3, 4, 5]
    pages = list(client.vm_pages("spv", page=4))
    assert [(len(one.vms), one.matching, one.next_cursor) for one in pages] == [
        (4, 6, "4"), (4, 6, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "ranges"),
    [(3, [(3, 4)]), ([7, 5, 6], [(5, 8)]), ("0-9,20", [(0, 10), (20, 21)])],
)
def test_indices_are_given_as_one_as_many_or_as_ranges(
    client: SyncClient, controller: ControllerDouble, given: object, ranges: object
) -> None:
    controller.on("ControlVms", wire.ControlVmsResponse(vms=1, hosts=1))
    done = client.control_vms("spv", "restart", indices=given)  # type: ignore[arg-type]
    (asked,) = controller.asked("ControlVms")
    assert [(one.start, one.stop) for one in asked.indices] == ranges
    assert done.vms == 1 and done.change_id


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.control_vms("spv", "stop"),
        lambda client: client.control_vms("spv", "stop", indices=[], everything=False),
        lambda client: client.control_vms("spv", "stop", indices=[3], everything=True),
        lambda client: client.control_vms("spv", "explode", indices=[3]),
        lambda client: client.control_vms("spv", "stop", indices="3-"),
        lambda client: client.control_vms("spv", "stop", indices=[-1]),
        lambda client: client.control_vms("spv", "stop", indices=2**40),
        lambda client: client.vm("spv", -1),
        lambda client: client.scale("spv", 2**70),
        lambda client: next(client.vms("spv", state="asleep")),
        lambda client: next(client.vms("spv", page=0)),
        lambda client: next(client.hosts(health="rosy")),
        lambda client: client.wait_fleet("spv", "merry"),
        lambda client: client.wait_fleet("spv", "host-live"),
        lambda client: parse_fleets("name: spv\nmemory: much\n"),
    ],
)
def test_what_cannot_be_meant_is_asked_of_no_controller(
    client: SyncClient, controller: ControllerDouble, ask: Callable[[SyncClient], object]
) -> None:
    with pytest.raises(InvalidArgument) as told:
        ask(client)
    assert told.value.message and controller.requests == []


# -- errors -------------------------------------------------------------------------------


def test_a_refusal_has_the_sentence_and_the_word_of_the_wire(
    client: SyncClient, controller: ControllerDouble
) -> None:
    full = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NO_CAPACITY", "4 VMs fit nowhere")
    controller.on("Scale", full)
    with pytest.raises(Refused) as told:
        client.scale("spv", 4)
    assert (told.value.message, told.value.reason) == ("4 VMs fit nowhere", "NO_CAPACITY")
    again = pickle.loads(pickle.dumps(told.value))
    assert (type(again), again.message, again.reason) == (
        Refused,
        "4 VMs fit nowhere",
        "NO_CAPACITY",
    )


def test_who_may_not_is_told_so(client: SyncClient, controller: ControllerDouble) -> None:
    controller.on("Scale", Refusal(grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED", "no scale"))
    with pytest.raises(NotAllowed, match="not allowed: no scale"):
        client.scale("spv", 4)


def test_nobody_there_is_unavailable_and_no_certificate_unreachable(
    context: ClusterContext, controller: ControllerDouble, tmp_path: Path
) -> None:
    controller.stop()
    with SyncClient.connect(context, timeout=2) as client, pytest.raises(Unavailable):
        client.status()
    gone = ClusterContext.with_identity(context.endpoints, tmp_path / "nowhere")
    with SyncClient.connect(gone) as client, pytest.raises(Unreachable, match="cannot read"):
        client.status()


def test_a_deadline_may_be_given_for_one_call(
    client: SyncClient, controller: ControllerDouble
) -> None:
    release = threading.Event()
    controller.on("Status", silent(release))
    began = time.monotonic()
    with pytest.raises(NoAnswer, match="no answer from"):
        client.status(timeout=SHORT)
    assert time.monotonic() - began < AT_ONCE
    release.set()


@pytest.mark.parametrize("stale", [False, True])
def test_an_answer_of_the_past_is_taken_only_where_that_was_said(
    context: ClusterContext, controller: ControllerDouble, stale: bool
) -> None:
    controller.on("Status", status(running=400))
    controller.recalling("Status", "the store has no quorum", 30.0)
    with SyncClient.connect(context, stale=stale, timeout=SHORT) as client:
        if stale:
            assert client.status().fleets[0].running == 400
        else:
            with pytest.raises(Unavailable, match="no controller leads"):
                client.status()


@pytest.mark.parametrize(
    ("statuses", "error"),
    [
        ([status(running=400)], NotConverged),
        ([status(total=5, change=9)], Superseded),
        ([status(running=400, failed=600, for_good=600)], FailedForGood),
    ],
)
def test_a_wait_that_does_not_end_well_says_how(
    client: SyncClient, controller: ControllerDouble, statuses: list[wire.StatusResponse],
    error: type[MegafleetError],
) -> None:  # fmt: skip
    controller.on("Scale", accepted())
    controller.statuses = list(statuses)
    change = client.scale("spv", 1000)
    with pytest.raises(error, match="spv"):
        client.wait(change, timeout=SHORT)


def test_a_wait_ends_when_it_is_true(client: SyncClient, controller: ControllerDouble) -> None:
    controller.on("Scale", accepted())
    controller.statuses = [status(running=400, change=7), status(change=7)]
    assert client.wait(client.scale("spv", 1000), timeout=30).converged
