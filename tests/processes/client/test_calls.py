"""Calls of the client against a scripted controller: what they answer, and how they fail."""

from __future__ import annotations

import asyncio
import multiprocessing
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import types_pb2 as types
from megafleet.client import (
    Client,
    ClusterContext,
    Failed,
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
from tests.certificates import issue
from tests.processes.controller_double import IDENTITY, ControllerDouble, status

# Whoever is let go ends well within it; the calls themselves would take far longer.
AT_ONCE = 5.0
RUNNING = types.VM_STATE_RUNNING
SHORT = 0.4


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        yield double


@pytest.fixture
def context(tmp_path: Path, controller: ControllerDouble) -> ClusterContext:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return ClusterContext.with_identity([controller.endpoint], alice)


@pytest.fixture
def client(context: ClusterContext) -> Iterator[SyncClient]:
    with SyncClient.connect(context) as connected:
        yield connected


def scaled(total: int = 1000) -> wire.ScaleResponse:
    return wire.ScaleResponse(fleet="spv", from_total=0, total=total, change=7)


def silent(
    release: threading.Event, asked: threading.Event | None = None
) -> Callable[[object], wire.StatusResponse]:
    """Of a controller that does not answer before the event."""

    def answer(_: object) -> wire.StatusResponse:
        if asked:
            asked.set()
        release.wait(60)
        return status()

    return answer


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
    controller.on("Scale", scaled())
    controller.statuses = list(statuses)
    change = client.scale("spv", 1000)
    with pytest.raises(error, match="spv"):
        client.wait(change, timeout=SHORT)


def test_a_wait_ends_when_it_is_true(client: SyncClient, controller: ControllerDouble) -> None:
    controller.on("Scale", scaled())
    controller.statuses = [status(running=400, change=7), status(change=7)]
    assert client.wait(client.scale("spv", 1000), timeout=30).converged


# -- asyncio ------------------------------------------------------------------------------


async def test_many_calls_go_on_beside_one_another(
    context: ClusterContext, controller: ControllerDouble
) -> None:
    controller.on("Status", status())
    async with Client.connect(context) as client:
        told = await asyncio.gather(*(client.status() for _ in range(200)))
    assert {one.fleets[0].total for one in told} == {1000}


async def test_a_cancelled_call_ends_at_once_and_the_client_goes_on(
    context: ClusterContext, controller: ControllerDouble
) -> None:
    release = threading.Event()
    controller.on("Status", silent(release))
    async with Client.connect(context) as client:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SHORT):
                await client.status(timeout=60)
        assert time.monotonic() - began < AT_ONCE
        release.set()
        controller.on("ListFleets", wire.ListFleetsResponse())
        assert await client.fleets() == []
    await nothing_is_left()


async def test_a_cancelled_change_is_not_sent_to_another_replica(
    context: ClusterContext, controller: ControllerDouble
) -> None:
    release = threading.Event()
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def answer(_: object) -> wire.ScaleResponse:
        loop.call_soon_threadsafe(asked.set)
        release.wait(60)
        return scaled()

    controller.on("Scale", answer)
    async with Client.connect(context) as client:
        task = asyncio.create_task(client.scale("spv", 1000))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await nothing_is_left()
        release.set()
    assert len(controller.asked("Scale")) == 1


async def test_who_leaves_a_watch_ends_it(
    context: ClusterContext, controller: ControllerDouble
) -> None:
    controller.statuses = [status(running=1), status(running=2)]
    async with Client.connect(context) as client:
        watched = client.watch_status("spv")
        async for one in watched:
            assert one.fleets[0].running == 1
            break
        await watched.aclose()
        await nothing_is_left()


async def test_closing_the_client_ends_what_is_under_way(
    context: ClusterContext, controller: ControllerDouble
) -> None:
    release, asked = threading.Event(), threading.Event()
    controller.on("Status", silent(release, asked))
    client = Client.connect(context)
    task = asyncio.create_task(client.status(timeout=60))
    await asyncio.to_thread(asked.wait, 30)
    await client.aclose()
    with pytest.raises(Failed, match="closed"):
        await task
    with pytest.raises(Failed, match="closed"):
        await client.status()
    await client.aclose()
    release.set()


async def test_the_plain_client_may_be_used_beside_an_event_loop(
    client: SyncClient, controller: ControllerDouble
) -> None:
    controller.on("Status", status())
    assert client.status().fleets, "in the loop's own thread"
    assert (await asyncio.to_thread(client.status)).fleets


async def nothing_is_left() -> None:
    """The threads of calls that were cancelled end."""
    for one in threading.enumerate():
        if one.name == "megafleet call":
            await asyncio.to_thread(one.join, AT_ONCE)
            assert not one.is_alive()


# -- threads ------------------------------------------------------------------------------


def test_closing_a_plain_client_ends_what_other_threads_wait_for(
    context: ClusterContext, controller: ControllerDouble
) -> None:
    release, asked = threading.Event(), threading.Event()
    controller.on("Status", silent(release, asked))
    client = SyncClient.connect(context)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.status, timeout=60)
        assert asked.wait(30)
        client.close()
        with pytest.raises(Failed, match="closed"):
            waiting.result(AT_ONCE)
    with pytest.raises(Failed, match="closed"):
        client.status()
    release.set()


def test_threads_share_one_client(client: SyncClient, controller: ControllerDouble) -> None:
    controller.on("Status", status())
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: client.status().hosts, range(100)))
    assert told == [4] * 100 and len(controller.peers) == 1


# -- processes ----------------------------------------------------------------------------


def _ask(client: SyncClient, said: multiprocessing.Queue[str]) -> None:
    try:
        client.status()
    except Failed as error:
        said.put(error.message)


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_client_says_so_when_it_is_used_in_a_forked_process(client: SyncClient) -> None:
    forking = multiprocessing.get_context("fork")
    said: multiprocessing.Queue[str] = forking.Queue()
    child = forking.Process(target=_ask, args=(client, said))
    child.start()
    assert "connect anew in each process" in said.get(timeout=30)
    child.join(30)


WAITER = """
import sys
from megafleet.client import SyncClient
print("waiting", flush=True)
with SyncClient.connect(endpoints=[sys.argv[1]], identity=sys.argv[2]) as client:
    try:
        client.wait_fleet("spv", timeout=600)
    except KeyboardInterrupt:
        print("left", flush=True)
"""


def test_ctrl_c_leaves_a_wait_at_once(
    context: ClusterContext, controller: ControllerDouble
) -> None:
    controller.statuses = [status(running=400)]
    with subprocess.Popen(
        [sys.executable, "-c", WAITER, controller.endpoint, str(context.ca.parent)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert controller.watched.wait(30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=AT_ONCE)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "waiting\nleft\n", "")


FOLLOWER = """
import asyncio, sys, threading
from megafleet.client import Client

async def main():
    client = Client.connect(endpoints=[sys.argv[1]], identity=sys.argv[2])
    calls = [anext(client.events()), client.status(timeout=60)]
    tasks = [asyncio.ensure_future(one) for one in calls]
    for _ in range(10):
        await asyncio.sleep(0)
    assert len(threading.enumerate()) > 2, "both have a thread"

asyncio.run(main())
"""


def test_a_process_ends_though_calls_are_under_way(
    context: ClusterContext, controller: ControllerDouble
) -> None:
    release = threading.Event()
    controller.on("Status", silent(release))
    folder = str(context.ca.parent)
    done = subprocess.run(
        [sys.executable, "-c", FOLLOWER, controller.endpoint, folder],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    release.set()
    assert (done.returncode, done.stderr) == (0, "")
