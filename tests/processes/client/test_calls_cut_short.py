"""Calls beside one another, cancelled, closed, and left by threads, processes and signals."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fleet.v1 import cluster_pb2 as wire
from megafleet.client import (
    Client,
    ClusterContext,
    Failed,
    SyncClient,
)
from tests.processes.controller_double import ControllerDouble, accepted, silent, status

# Whoever is let go ends well within it; the calls themselves would take far longer.
AT_ONCE = 5.0
SHORT = 0.4


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
        return accepted()

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
