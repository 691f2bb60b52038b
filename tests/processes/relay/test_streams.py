"""fleetctl's long calls, to a real controller: followed over failovers, and conversations."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from fleet.transport import Refusal, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer, add_ClusterServiceServicer_to_server
from fleetctl.outcome import Failed, NoAnswer, Unavailable, Unreachable
from megafleet.connection.cluster import Cluster
from megafleet.contexts import ClusterContext
from tests.certificates import identity, issue
from tests.doubles.scripted_questions import Exchange
from tests.processes.etcd_process import free_ports
from tests.processes.relay.relay_rig import SECONDS, RelayRig, relay_rig

TOP = cluster.ClusterTopRequest(interval_seconds=0.5)
HELLO = wire.ConsoleOutput(data=b"login: ", writing=True)


class Standby(ClusterServiceServicer):
    """Takes no call; `leader` is whom it names."""

    def __init__(self, leader: str, swallow: int = 0) -> None:
        self.leader = leader
        self.asked = 0
        self.heard: queue.Queue[Any] = queue.Queue()
        self._swallow = swallow

    def _refuse(self, context: Any) -> None:
        self.asked += 1
        code = grpc.StatusCode.FAILED_PRECONDITION if self.leader else grpc.StatusCode.UNAVAILABLE
        named = {"leader_address": self.leader}
        refusal = Refusal(code, "NOT_LEADER", "this controller stands by", named)
        context.set_trailing_metadata(refusal.trailing())
        context.abort(refusal.code, refusal.message)

    def Console(self, request_iterator: Any, context: Any) -> Any:
        for _ in range(self._swallow):
            self.heard.put(next(request_iterator))
        self._refuse(context)

    def Top(self, request: Any, context: Any) -> Any:
        self._refuse(context)


def standby_of(leader: str, swallow: int = 0) -> Standby:
    return Standby(leader, swallow)  # type: ignore[abstract]


@contextmanager
def serving(servicer: ClusterServiceServicer) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4))
    add_ClusterServiceServicer_to_server(servicer, server)
    own = identity(Role.CONTROLLER, "controller-2").for_server()
    port = server.add_secure_port("127.0.0.1:0", own)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


class Terminal:
    """What is typed, as an iterator that a thread waits at."""

    def __init__(self) -> None:
        self._typed: queue.Queue[wire.ConsoleInput | None] = queue.Queue()

    def type(self, **fields: Any) -> None:
        self._typed.put(wire.ConsoleInput(**fields))

    def leave(self) -> None:
        self._typed.put(None)

    def __iter__(self) -> Iterator[wire.ConsoleInput]:
        while (typed := self._typed.get()) is not None:
            yield typed


@pytest.fixture
async def rig() -> AsyncIterator[RelayRig]:
    async with relay_rig(1) as made:
        made.agents["h1"].questions.replies["Top"] = [wire.TopSample(window_seconds=1)]
        made.agents["h1"].questions.replies["Console"] = [HELLO]
        yield made


@pytest.fixture
def me(tmp_path: Path) -> Path:
    return issue(tmp_path / "alice", Role.OPERATOR, "alice")


def cluster_at(me: Path, *endpoints: str, timeout: float = SECONDS) -> Cluster:
    files = (me / "ca.pem", me / "cert.pem", me / "key.pem")
    return Cluster(ClusterContext(endpoints, *files), timeout)


async def test_a_followed_stream_goes_on_until_it_is_closed(rig: RelayRig, me: Path) -> None:
    def follow() -> int:
        stream = cluster_at(me, rig.address, timeout=0.2).follow(lambda stub: stub.Top, TOP)
        seen = sum(1 for _, _ in zip(range(3), stream, strict=False))
        stream.close()
        return seen

    assert await asyncio.to_thread(follow) == 3, "longer than the timeout of a call"
    exchange = rig.agents["h1"].questions.exchanges[0]
    await rig.agents["h1"].until(lambda: exchange.gone)


async def test_a_stream_that_ends_ends_the_following(rig: RelayRig, me: Path) -> None:
    request = cluster.ClusterTopRequest(samples=1)
    stream = cluster_at(me, rig.address).follow(lambda stub: stub.Top, request)
    assert len(await asyncio.to_thread(list, stream)) == 1


async def test_the_leader_is_found_for_a_stream(rig: RelayRig, me: Path) -> None:
    standby = standby_of(rig.address)
    with serving(standby) as beside:
        closed = f"127.0.0.1:{free_ports(1)[0]}"
        stream = cluster_at(me, closed, beside).follow(lambda stub: stub.Top, TOP)
        answer = await asyncio.to_thread(next, stream)
        assert [one.host for one in answer.hosts] == ["h1"]
        assert standby.asked == 1
        await asyncio.to_thread(stream.close)


async def test_a_refusal_about_a_host_is_final(rig: RelayRig, me: Path) -> None:
    await rig.lose("h1")
    standby = standby_of(rig.address)
    with serving(standby) as beside:
        there = cluster_at(me, rig.address, beside)
        calls: list[Callable[[], object]] = [
            lambda: next(there.follow(lambda s: s.Top, cluster.ClusterTopRequest(host="h1"))),
            lambda: there.call(lambda s: s.Doctor, cluster.HostDoctorRequest(host="h1")),
        ]
        for call in calls:
            with pytest.raises(Failed, match="host h1 cannot be reached") as caught:
                await asyncio.to_thread(call)
            assert caught.value.reason == "HOST_UNREACHABLE"
        assert not standby.asked


async def test_nobody_leads_for_too_long(me: Path) -> None:
    with serving(standby_of("")) as beside:
        there = cluster_at(me, beside, timeout=0.6)
        with pytest.raises(Unavailable, match="no controller leads"):
            await asyncio.to_thread(lambda: next(there.follow(lambda s: s.Top, TOP)))
        with pytest.raises(Unavailable, match="no controller leads"):
            await asyncio.to_thread(
                lambda: there.bidi_call(lambda s: s.Console, [wire.ConsoleInput()])
            )


async def open_console(rig: RelayRig, me: Path, terminal: Terminal, *endpoints: str) -> Any:
    uid = await rig.scale(5)
    terminal.type(vm=wire.VmAddress(fleet_uid=uid, index=3), rows=24, columns=80)
    there = cluster_at(me, *(endpoints or (rig.address,)))
    return await asyncio.to_thread(lambda: there.bidi_call(lambda stub: stub.Console, terminal))


def has_heard(exchange: Exchange, inputs: int) -> bool:
    return len(exchange.inputs) == inputs


async def test_a_conversation_carries_both_ways(rig: RelayRig, me: Path) -> None:
    terminal = Terminal()
    console = await open_console(rig, me, terminal)
    assert await asyncio.to_thread(next, console) == HELLO
    (exchange,) = rig.agents["h1"].questions.exchanges
    for turn in range(3):
        terminal.type(data=b"%d" % turn)
        await rig.agents["h1"].until(partial(has_heard, exchange, turn + 2))
        exchange.say(wire.ConsoleOutput(data=b"%d" % turn))
        assert (await asyncio.to_thread(next, console)).data == b"%d" % turn
    terminal.leave()
    await rig.agents["h1"].until(lambda: exchange.no_more_inputs)
    exchange.end()
    assert await asyncio.to_thread(list, console) == []


async def test_what_a_host_says_in_a_conversation_forges_no_line(rig: RelayRig, me: Path) -> None:
    said = wire.PutImageAnswer(step="keeping\n\x1b[2Jit is done")
    rig.agents["h1"].questions.replies["PutImage"] = [said]
    there = cluster_at(me, rig.address)
    there.plain = True
    first = cluster.HostPutImageRequest(host="h1", put=wire.PutImageRequest())
    upload = await asyncio.to_thread(lambda: there.bidi_call(lambda stub: stub.PutImage, [first]))
    answer = await asyncio.to_thread(next, upload)
    assert answer.answer.step == "keeping\\n\\x1b[2Jit is done"
    upload.cancel()


async def test_a_silent_console_is_open_nevertheless(rig: RelayRig, me: Path) -> None:
    rig.agents["h1"].questions.replies["Console"] = []
    terminal = Terminal()
    console = await open_console(rig, me, terminal)
    rest = asyncio.ensure_future(asyncio.to_thread(list, console))
    await rig.agents["h1"].until(lambda: bool(rig.agents["h1"].questions.exchanges))
    console.cancel()
    assert await rest == [], "its own end is no error"
    (exchange,) = rig.agents["h1"].questions.exchanges
    await rig.agents["h1"].until(lambda: exchange.gone)
    terminal.leave()


async def test_nothing_typed_is_lost_on_the_way_to_the_leader(rig: RelayRig, me: Path) -> None:
    terminal = Terminal()
    standby = standby_of(rig.address, swallow=2)
    with serving(standby) as beside:
        terminal_opening = asyncio.ensure_future(open_console(rig, me, terminal, beside))
        await asyncio.to_thread(standby.heard.get, timeout=SECONDS)
        terminal.type(data=b"typed early")
        console = await terminal_opening
        await rig.agents["h1"].until(lambda: bool(rig.agents["h1"].questions.exchanges))
        exchange = rig.agents["h1"].questions.exchanges[0]
        await rig.agents["h1"].until(lambda: len(exchange.inputs) == 2)
        assert exchange.inputs[1].data == b"typed early"
        terminal.type(data=b"typed late")
        await rig.agents["h1"].until(lambda: len(exchange.inputs) == 3)
        assert exchange.inputs[2].data == b"typed late"
        console.cancel()
        terminal.leave()


async def test_refusals_of_a_conversation(rig: RelayRig, me: Path) -> None:
    there = cluster_at(me, rig.address)

    def unknown() -> Any:
        vm = wire.VmAddress(fleet_uid="gone")
        console = there.bidi_call(lambda s: s.Console, [wire.ConsoleInput(vm=vm)])
        return list(console)

    with pytest.raises(Failed, match="no fleet with the uid") as caught:
        await asyncio.to_thread(unknown)
    assert caught.value.reason == "NO_SUCH_VM"
    viewer = cluster_at(issue(me.parent / "eve", Role.VIEWER, "eve"), rig.address)
    with pytest.raises(Unreachable, match="not allowed: viewer/eve may not"):
        await asyncio.to_thread(
            lambda: viewer.bidi_call(lambda s: s.Console, [wire.ConsoleInput()])
        )


async def test_a_conversation_ends_with_its_host(rig: RelayRig, me: Path) -> None:
    terminal = Terminal()
    console = await open_console(rig, me, terminal)
    await asyncio.to_thread(next, console)
    await rig.servers["h1"].stop(0)
    with pytest.raises(Failed, match="host h1 cannot be reached"):
        await asyncio.to_thread(list, console)
    terminal.leave()


def test_a_replica_that_says_nothing_is_left(me: Path) -> None:
    class Mute(ClusterServiceServicer):
        ended = threading.Event()

        def Console(self, request_iterator: Any, context: Any) -> Any:
            context.add_callback(self.ended.set)
            self.ended.wait(SECONDS)
            return iter(())

    with serving(Mute()) as beside:  # type: ignore[abstract]
        there = cluster_at(me, beside, timeout=0.5)
        with pytest.raises(NoAnswer, match="no answer from"):
            there.bidi_call(lambda s: s.Console, [wire.ConsoleInput()])
        assert Mute.ended.wait(SECONDS)
