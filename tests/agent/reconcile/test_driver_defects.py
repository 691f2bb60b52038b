"""A driver that raises what its port does not allow: its VMs fail with kind internal, and the agent
goes on. Each method of each port is broken in turn, so that a new one is covered by itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any, cast

import pytest
import structlog

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.api import images as images_api
from fleet_agent.api.console_sessions import ConsoleRequest, Desk
from fleet_agent.api.shared_samples import SamplesRequest, Sampling
from fleet_agent.core.model import StepKind
from fleet_agent.daemon.facts_keeper import facts_of
from fleet_agent.daemon.open_drivers import Drivers
from fleet_agent.daemon.settings import Settings
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.consoles import HollowConsoles
from fleet_agent.drivers.hollow.contents import HollowContents
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.images import HollowImages
from fleet_agent.drivers.hollow.profile import INSTANT, Fault, Profile
from fleet_agent.drivers.hollow.sampler import HollowSampler
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.ports.bridges import Interface
from fleet_agent.drivers.ports.consoles import Console, Consoles
from fleet_agent.drivers.ports.errors import DriverError
from fleet_agent.drivers.ports.hypervisor import Hypervisor, Sampler
from fleet_agent.drivers.ports.images import Images
from fleet_agent.drivers.ports.storage import Storage
from tests.agent.agent_host import HOST, Host, converged, give, until
from tests.contracts.bridges.memory_bridges import MemoryBridges
from tests.doubles.assignments import SPV, assignment, shard, tombstone
from tests.virtual_loop import virtual

# What bindings in C have raised.
DEFECTS = [
    SystemError("<built-in function virDomainCreate> returned a result with an exception set"),
    RuntimeError("the binding is confused"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
]
named = pytest.mark.parametrize("defect", DEFECTS, ids=lambda one: type(one).__name__)


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def methods(port: type) -> list[str]:
    """What a port's callers call."""
    return [name for name, one in vars(port).items() if inspect.isfunction(one) and name[0] != "_"]


class Broken:
    """A driver of which one method raises, for as long as it is `amiss`."""

    def __init__(self, port: type, driver: object, method: str, defect: Exception) -> None:
        self._port = port
        self._driver = driver
        self._method = method
        self._defect = defect
        self.amiss = True
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        if name != self._method or not self.amiss:
            return getattr(self._driver, name)
        declared = vars(self._port)[name]
        if inspect.iscoroutinefunction(declared):
            return self._coroutine
        if inspect.signature(declared).return_annotation.startswith("Async"):
            return self._iterator
        return self._plain

    def _plain(self, *_: object) -> None:
        self.calls += 1
        raise self._defect

    async def _coroutine(self, *_: object) -> None:
        self._plain()

    async def _iterator(self, *_: object) -> AsyncIterator[None]:
        self._plain()
        yield


# The agent's loop --------------------------------------------------------------------------------

NOT_OF_THE_LOOP = {"facts", "close", "disk"}


@named
@pytest.mark.parametrize(
    ("port", "method"),
    [
        (port, method)
        for port in (Storage, Hypervisor)
        for method in methods(port)
        if method not in NOT_OF_THE_LOOP
    ],
)
@virtual
async def test_an_agent_outlives_any_defect_of_a_driver(
    port: type, method: str, defect: Exception, logged: list[Any]
) -> None:
    host = Host()
    broken = Broken(port, host.storage if port is Storage else host.hypervisor, method, defect)
    if port is Storage:
        host.storage = cast(Storage, broken)
    else:
        host.hypervisor = cast(Hypervisor, broken)
    everything = assignment(shard("0-2", 10), shard("3-4", 11))
    less = assignment(
        shard("0-1", 10), shard("3-4", 11, on=False), tombstones=[tombstone(1, "2", 10)]
    )
    async with host.running() as agent:
        broken.amiss = method not in ("stop", "undefine", "destroy")
        await give(agent, everything, 10)
        if not broken.amiss:
            await converged(agent, 10)
            broken.amiss = True
            await give(agent, less, 11)
        await until(lambda: broken.calls > 0)
        if method != "changes":
            await until(lambda: bool(agent.board.problems))
            # A batch's failure is that of its VMs; no listing says nothing of any.
            told = agent.board.problems[0]
            assert told.kind == ("driver" if method == "listing" else "internal")
            assert type(defect).__name__ in told.example_message
        broken.amiss = False
        await give(agent, less, 12)
        await converged(agent, 12)
    assert any(entry.get("exc_info") is defect for entry in logged)  # the log has its trace


@named
@virtual
async def test_a_defect_in_one_fleets_batch_leaves_the_others_alone(defect: Exception) -> None:
    host = Host()
    start = host.hypervisor.start

    async def started(batch: Any) -> AsyncIterator[Any]:
        if batch.kin.birth == 10:
            raise defect
        async for result in start(batch):
            yield result

    host.hypervisor.start = started  # type: ignore[method-assign]
    async with host.running() as agent:
        await give(agent, assignment(shard("0-2", 10), shard("3-4", 11)), 11)
        await until(lambda: bool(agent.board.problems))
        assert [(one.kind, one.count) for one in agent.board.problems] == [("internal", 3)]


@virtual
async def test_a_failure_in_words_that_are_no_text_is_reported() -> None:
    fault = Fault(StepKind.START, 1.0, "hypervisor_error", "libxl says \udcff\udcfe")
    host = Host(profile=Profile(faults=(fault,)))
    async with host.running() as agent:
        await give(agent, assignment(shard("0", 10)), 10)
        await until(lambda: bool(agent.board.problems))
        assert agent.board.problems[0].example_message == "libxl says \\udcff\\udcfe"


# What is asked of drivers beside the loop --------------------------------------------------------

SETTINGS = Settings(identity="", endpoints=("controller:7440",))
Ask = Callable[[Drivers], Awaitable[object]]


async def _typed(drivers: Drivers) -> None:
    desk = Desk(drivers.consoles)
    session = await desk.open_session(SPV.uid, 0, ConsoleRequest())
    await session.type(b"id\r")
    await session.resize(24, 80)
    session.lose("another types")
    session.close()
    assert desk.writer((SPV.uid, 0)) is None


async def _sampled(drivers: Drivers) -> None:
    sampling = Sampling(drivers.sampler, asyncio.get_running_loop().time)
    async with aclosing(sampling.samples(SamplesRequest(samples=1))) as samples:
        async for _ in samples:
            pass


async def _imported(drivers: Drivers) -> None:
    request = wire.ImportImageRequest(
        image=types.Image(name="golden", snapshot="2"), source="/golden.raw"
    )
    async with aclosing(images_api.imported(drivers.images, request)) as progress:
        async for _ in progress:
            pass


ASKS: dict[tuple[type, str], Ask] = {
    (Storage, "facts"): lambda drivers: facts_of(SETTINGS, drivers),
    (Hypervisor, "facts"): lambda drivers: facts_of(SETTINGS, drivers),
    (Sampler, "counters"): _sampled,
    (Consoles, "open"): _typed,
    (Consoles, "last"): lambda drivers: Desk(drivers.consoles).last(SPV.uid, 0, 10),
    (Console, "type"): _typed,
    (Console, "resize"): _typed,
    (Console, "stop_typing"): _typed,
    (Console, "close"): _typed,
    (Images, "holdings"): lambda drivers: images_api.listed(drivers.images, {}),
    (Images, "bring"): _imported,
    (Images, "delete"): lambda drivers: images_api.deleted(
        drivers.images,
        wire.DeleteImageRequest(image=types.Image(name="golden", snapshot="2")),
    ),
}
for _port in (Storage, Hypervisor, Sampler, Consoles, Images):
    ASKS[_port, "close"] = lambda drivers: drivers.close()


def hollow_drivers(port: type, method: str, defect: Exception) -> tuple[Drivers, Broken]:
    behaviour = Behaviour.of(INSTANT, 0, HOST)
    storage, hypervisor = HollowStorage(behaviour), HollowHypervisor(behaviour)
    consoles = HollowConsoles(hypervisor)
    made: dict[type, Any] = {
        Storage: storage,
        Hypervisor: hypervisor,
        Images: HollowImages(storage),
        Consoles: consoles,
        Sampler: HollowSampler(hypervisor, behaviour),
    }
    broken = Broken(port, made.get(port), method, defect)
    if port is Console:
        made[Consoles] = _OpensBroken(broken)
    else:
        made[port] = broken
    contents = HollowContents(HollowImages(storage))
    held = (made[Storage], made[Hypervisor], made[Images], contents)
    ports = (*held, made[Consoles], made[Sampler])
    return Drivers(*ports, MemoryBridges(), _no_interfaces), broken


async def _no_interfaces() -> tuple[Interface, ...]:
    return ()


class _OpensBroken:
    """Consoles of which each is the broken one."""

    def __init__(self, broken: Broken) -> None:
        self._broken = broken

    async def open(self, fleet_uid: str, index: int, feed: object, last_bytes: int) -> Broken:
        self._broken._driver = _SilentConsole()
        return self._broken


class _SilentConsole:
    name = "spv-0"

    async def type(self, data: bytes) -> None: ...

    async def resize(self, rows: int, columns: int) -> None: ...

    def stop_typing(self) -> None: ...

    def close(self) -> None: ...


@named
@pytest.mark.parametrize(
    ("port", "method"),
    [
        (port, method)
        for port in (Storage, Hypervisor, Sampler, Consoles, Console, Images)
        for method in methods(port)
        if port not in (Storage, Hypervisor) or method in ("facts", "close")
    ],
)
@virtual
async def test_whoever_asks_a_driver_hears_of_its_defect_in_a_sentence(
    port: type, method: str, defect: Exception
) -> None:
    drivers, broken = hollow_drivers(port, method, defect)
    try:
        await ASKS[port, method](drivers)
    except DriverError as error:
        assert type(defect).__name__ in str(error)
    assert broken.calls > 0
