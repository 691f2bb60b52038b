"""When an agent announces itself, where, and when it is silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fleet.v1 import types_pb2 as types
from fleet_agent.controllers.announcer import (
    Announcer,
    AnnounceRefused,
    AnnounceSettings,
    ControllerUnreachable,
    NotLeader,
    OwnAddress,
)
from tests.virtual_loop import virtual

Answer = Callable[[str], float]


class Controllers:
    """Answers as told; notes when and where it was asked."""

    def __init__(self, answer: Answer = lambda endpoint: 60.0) -> None:
        self.answer = answer
        self.calls: list[tuple[float, str, str]] = []

    async def announce(self, endpoint: str, address: str, facts: types.HostFacts) -> float:
        self.calls.append((asyncio.get_running_loop().time() - 1000.0, endpoint, address))
        await asyncio.sleep(0.01)
        return self.answer(endpoint)

    @property
    def endpoints(self) -> list[str]:
        return [endpoint for _, endpoint, _ in self.calls]

    @property
    def times(self) -> list[float]:
        return [round(at, 1) for at, _, _ in self.calls]


@contextlib.asynccontextmanager
async def announcing(
    controllers: Controllers,
    *endpoints: str,
    spread: float = 0.0,
    own_address: OwnAddress | None = None,
) -> AsyncIterator[Announcer]:
    announcer = Announcer(
        controllers,
        endpoints or ("a:1",),
        "host:7441",
        lambda: types.HostFacts(machine_id="m"),
        jitter=lambda: 0.0,
        gate=contextlib.nullcontext(),
        settings=AnnounceSettings(first=1.0, longest=8.0, spread=spread),
        own_address=own_address,
    )
    task = asyncio.create_task(announcer.run())
    try:
        yield announcer
    finally:
        task.cancel()
        await asyncio.wait([task])


@virtual
async def test_it_announces_at_the_start_and_again_while_nobody_watches() -> None:
    controllers = Controllers()
    async with announcing(controllers):
        await asyncio.sleep(150)
    assert controllers.times == [0.0, 60.0, 120.0]


@virtual
async def test_it_is_silent_while_watched() -> None:
    controllers = Controllers()
    async with announcing(controllers) as announcer:
        await asyncio.sleep(5)
        announcer.on_watched(True)
        await asyncio.sleep(1000)
        announcer.on_watched(False)
        await asyncio.sleep(59)
        assert len(controllers.calls) == 1
        await asyncio.sleep(2)
        assert len(controllers.calls) == 2


@virtual
async def test_changed_facts_are_told_at_once_though_watched() -> None:
    controllers = Controllers()
    async with announcing(controllers) as announcer:
        await asyncio.sleep(5)
        announcer.on_watched(True)
        await asyncio.sleep(5)
        announcer.announce_anew("host:9999")
        await asyncio.sleep(1)
        assert [address for _, _, address in controllers.calls] == ["host:7441", "host:9999"]


@virtual
async def test_facts_that_change_while_announcing_are_told_again() -> None:
    controllers = Controllers()
    async with announcing(controllers) as announcer:
        await asyncio.sleep(0.005)
        announcer.announce_anew("host:9999")
        announcer.on_watched(True)
        await asyncio.sleep(1)
        assert [address for _, _, address in controllers.calls] == ["host:7441", "host:9999"]


@virtual
async def test_it_goes_where_the_leader_is() -> None:
    def answer(endpoint: str) -> float:
        if endpoint != "c:3":
            raise NotLeader("c:3")
        return 60.0

    controllers = Controllers(answer)
    async with announcing(controllers, "a:1", "b:2"):
        await asyncio.sleep(100)
    assert controllers.endpoints == ["a:1", "c:3", "c:3"]
    assert controllers.times[1] == 0.0


@virtual
async def test_replicas_that_send_each_other_round_are_not_hammered() -> None:
    def answer(endpoint: str) -> float:
        raise NotLeader("b:2" if endpoint == "a:1" else "a:1")

    controllers = Controllers(answer)
    async with announcing(controllers, "a:1", "b:2"):
        await asyncio.sleep(60)
    assert len(controllers.calls) < 15


@virtual
async def test_without_an_answer_it_tries_the_next_with_back_off() -> None:
    def answer(endpoint: str) -> float:
        raise ControllerUnreachable("nobody there")

    controllers = Controllers(answer)
    async with announcing(controllers, "a:1", "b:2"):
        await asyncio.sleep(30)
    assert controllers.endpoints[:4] == ["a:1", "b:2", "a:1", "b:2"]
    assert controllers.times == [0.0, 1.0, 3.0, 7.0, 15.0, 23.0]


@virtual
async def test_a_refusal_is_not_the_end() -> None:
    def answer(endpoint: str) -> float:
        if len(controllers.calls) < 3:
            raise AnnounceRefused("another host of that name is live")
        return 60.0

    controllers = Controllers(answer)
    async with announcing(controllers):
        await asyncio.sleep(10)
    assert len(controllers.calls) == 3


@virtual
async def test_a_leader_that_is_gone_is_forgotten() -> None:
    def answer(endpoint: str) -> float:
        if endpoint == "c:3":
            raise ControllerUnreachable("gone")
        if len(controllers.calls) < 3:
            raise NotLeader("c:3")
        return 60.0

    controllers = Controllers(answer)
    async with announcing(controllers, "a:1", "b:2"):
        await asyncio.sleep(20)
    assert controllers.endpoints[:2] == ["a:1", "c:3"]
    assert controllers.endpoints[2] in ("a:1", "b:2")


class Addresses:
    """What this host's own address is, as a test says."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.unresolved: set[str] = set()

    async def __call__(self, endpoint: str) -> str:
        if endpoint in self.unresolved or not self.address:
            raise ControllerUnreachable(f"no address of this host leads to {endpoint}")
        return self.address


@virtual
async def test_its_address_is_looked_up_for_each_announcement() -> None:
    controllers, own = Controllers(), Addresses("10.99.7.2:7441")
    async with announcing(controllers, own_address=own):
        await asyncio.sleep(1)
        own.address = "10.99.7.91:7441"
        await asyncio.sleep(60)
    assert [address for _, _, address in controllers.calls] == ["10.99.7.2:7441", "10.99.7.91:7441"]


@virtual
async def test_an_address_that_changes_while_it_is_watched_is_announced() -> None:
    controllers, own = Controllers(), Addresses("10.99.7.2:7441")
    async with announcing(controllers, own_address=own) as announcer:
        await asyncio.sleep(1)
        announcer.on_watched(True)
        await asyncio.sleep(500)
        assert len(controllers.calls) == 1
        own.address = ""  # none, for a moment
        await asyncio.sleep(70)
        own.address = "10.99.7.91:7441"
        await asyncio.sleep(61)
        assert [address for _, _, address in controllers.calls[1:]] == ["10.99.7.91:7441"]


@virtual
async def test_an_address_that_has_changed_is_announced_as_soon_as_the_old_stream_ends() -> None:
    controllers, own = Controllers(), Addresses("10.99.7.2:7441")
    async with announcing(controllers, own_address=own) as announcer:
        await asyncio.sleep(1)
        announcer.on_watched(True)
        await asyncio.sleep(10)
        own.address = "10.99.7.91:7441"
        await asyncio.sleep(40)
        announcer.on_watched(False)
        await asyncio.sleep(1)
        assert [address for _, _, address in controllers.calls[1:]] == ["10.99.7.91:7441"]


@virtual
async def test_without_a_network_it_goes_on_trying_each_endpoint() -> None:
    controllers, own = Controllers(), Addresses("")
    async with announcing(controllers, "a:1", "b:1", own_address=own):
        await asyncio.sleep(100)
        assert not controllers.calls
        own.unresolved, own.address = {"a:1"}, "10.99.7.2:7441"
        await asyncio.sleep(20)
    assert controllers.endpoints == ["b:1"]
