"""All images on their way in one leadership: those that operators hand on, and those that hosts
lack for VMs of theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from fleet.template.host_needs import NeededImage
from fleet.transport import Role
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.image_spread.holders import Holders, KnownHost, holders_of, image_needs
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.election.election import LeadershipLost
from fleet_controller.image_spread.described import Descriptions, Key
from fleet_controller.image_spread.progress import progress
from fleet_controller.image_spread.spread import Bounds, Content, Spread
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.relay.relay import NOT_ANSWERED, Relay
from fleet_controller.waiting import within

# Between two looks at what hosts lack. One at 4,480 hosts takes some 10 ms.
NEED_SECONDS = 2.0
RETRY_SECONDS = 15.0
TELL_SECONDS = 1.0
# What a host has is known to the leader this long after it has it.
TOLD_SECONDS = 12.0

_NEED = "what hosts need"
_log = structlog.get_logger(__name__)


class ImageSpreads:
    """`run` leads them. Whoever asks while it does not run waits for it."""

    def __init__(self, memory: LeaderMemory, relay: Relay, off_loop: OffLoop) -> None:
        self._off_loop = off_loop
        self._memory = memory
        self._relay = relay
        self._spreads: dict[Key, Spread] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._beginning: dict[Key, asyncio.Lock] = {}
        self._not_before: dict[Key, float] = {}
        self._descriptions = Descriptions(relay)
        self._group: asyncio.TaskGroup | None = None
        self._running = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self._running.set()
            while True:
                try:
                    self._serve_needs()
                except Exception:  # ours: images are no reason to end a leadership
                    _log.exception("what hosts need of images")
                self._end_idle()
                await asyncio.sleep(NEED_SECONDS)

    # By need ----------------------------------------------------------------------------------

    def _serve_needs(self) -> None:
        memory = self._memory
        fetches = memory.image_fetches
        if memory.settling or memory.state.freeze is not None:
            return
        if not any(one.holdings.fetches_images for one in memory.state.hosts.values()):
            return
        state = memory.state
        needs = image_needs(self._known_hosts(), state.fleets.values(), state.specs)
        fetches.replace({
            (need.image.name, need.image.snapshot): self._told(need.image, need.holders, need.hosts)
            for need in needs
        })  # fmt: skip
        wanted: dict[Key, frozenset[str]] = {}
        for need in needs:
            if need.holders.digest:
                key = Key(need.image.name, need.image.snapshot, need.holders.digest)
                wanted[key] = wanted.get(key, frozenset()) | need.hosts
        for key, spread in list(self._spreads.items()):
            if key not in wanted:
                spread.want_no_more(_NEED)
        for key, hosts in wanted.items():
            if key in self._spreads:
                self._spreads[key].want(_NEED, hosts, standing=True)
            elif self._may_begin(key) and self._group:
                self._not_before[key] = memory.clock() + RETRY_SECONDS
                self._group.create_task(self._begin_for_need(key, hosts))

    def _may_begin(self, key: Key) -> bool:
        """Not while that is under way already, and not too often."""
        beginning = self._beginning.get(key)
        under_way = beginning is not None and beginning.locked()
        return not under_way and self._not_before.get(key, 0.0) <= self._memory.clock()

    async def _begin_for_need(self, key: Key, hosts: frozenset[str]) -> None:
        try:
            spread = await self._begun(key)
        except (*NOT_ANSWERED, LeadershipLost) as error:
            self._memory.image_fetches.note((key.name, key.snapshot), str(error))
            return
        except Exception:
            _log.exception("an image that hosts need", image=f"{key.name}@{key.snapshot}")
            return
        spread.want(_NEED, hosts, standing=True)

    def _told(
        self, image: NeededImage, holders: Holders, hosts: frozenset[str]
    ) -> cluster.ImageFetches:
        told = cluster.ImageFetches(hosts=len(hosts), trouble=holders.why)
        spread = self._spreads.get(Key(image.name, image.snapshot, holders.digest))
        if spread is None:
            return told
        far = progress(spread, hosts, self._memory.clock())
        told.done_bytes, told.total_bytes = far.done_bytes, far.total_bytes
        told.slowest.extend(one.host for one in far.slowest)
        if far.failed:
            told.trouble = f"{far.failed[0].host}: {far.failed[0].why}"
        return told

    # Asked for --------------------------------------------------------------------------------

    async def spread(
        self,
        request: cluster.SpreadImageRequest,
        hosts: frozenset[str],
        tell: Callable[[cluster.SpreadProgress], Awaitable[None]],
    ) -> None:
        """Tells how far it is once a second, until each of the hosts has it or has failed. Raises
        Refused, Refusal, LeadershipLost."""
        found = await self._holders(request.image)
        await self._running.wait()
        key = Key(request.image.name, request.image.snapshot, found.digest)
        spread = await self._begun(key)
        asked = object()
        bounds = Bounds(request.host_bytes_per_second, request.fleet_bytes_per_second)
        spread.want(asked, hosts, bounds)
        before, then = 0, self._memory.clock()
        try:
            while True:
                await asyncio.sleep(0)
                now = self._memory.clock()
                told = progress(spread, hosts, now)
                told.bytes_per_second = int(max(0, told.done_bytes - before) / max(now - then, 0.1))
                before, then = told.done_bytes, now
                await tell(told)
                if told.over:
                    return
                await self._next_word(spread, hosts)
                self._relay.raise_if_over()
                if self._spreads.get(key) is not spread:
                    raise _ended(spread)
        finally:
            spread.want_no_more(asked)

    async def _holders(self, image: types.Image) -> Holders:
        """Whoever has it; awaited for a moment, as a host that was just handed it says so soon.
        Raises Refused."""
        memory = self._memory
        found = self._holders_now(image)

        async def told() -> None:
            nonlocal found
            while not found.digest:
                await memory.host_records.after(memory.host_records.version)
                found = self._holders_now(image)

        await within(TOLD_SECONDS, told())
        if not found.digest:
            raise Refused(Reason.BAD_QUERY, found.why)
        return found

    def _holders_now(self, image: types.Image) -> Holders:
        hosts = (host.record for host in self._known_hosts())
        return holders_of(hosts, image, self._memory.is_live)

    def _known_hosts(self) -> list[KnownHost]:
        """What an expelled host has counts for nothing."""
        state, is_live = self._memory.state, self._memory.is_live
        expelled = {one.name for one in state.denied.values() if one.role == Role.AGENT}
        return [
            KnownHost(record, state.assignment(host), is_live(host))
            for host, record in state.hosts.items()
            if host not in expelled
        ]

    async def _next_word(self, spread: Spread, hosts: Collection[str]) -> None:
        """A second, or until it is over."""

        async def over() -> None:
            while not progress(spread, hosts, self._memory.clock()).over:
                await spread.news.after(spread.news.version)

        if len(hosts) > 64:
            await asyncio.sleep(TELL_SECONDS)
        else:
            await within(TELL_SECONDS, over())

    async def _begun(self, key: Key) -> Spread:
        """Raises Refused, Refusal, LeadershipLost."""
        async with self._beginning.setdefault(key, asyncio.Lock()):
            content = None if key in self._spreads else await self._content(key)
            if content is not None and key not in self._spreads:
                assert self._group is not None
                self._spreads[key] = spread = Spread(
                    self._memory, self._relay, self._off_loop, content
                )
                self._tasks[key] = self._group.create_task(self._lead(key, spread))
            return self._spreads[key]

    async def _lead(self, key: Key, spread: Spread) -> None:
        try:
            await spread.run()
        except Exception:  # ours: it ends this spread, and nothing else
            _log.exception("an image on its way", image=f"{key.name}@{key.snapshot}")
            if self._spreads.get(key) is spread:
                del self._spreads[key], self._tasks[key]

    async def _content(self, key: Key) -> Content:
        image = types.Image(name=key.name, snapshot=key.snapshot, digest=key.digest)
        return await self._descriptions.content(key, self._holders_now(image))

    def _end_idle(self) -> None:
        """Also what was begun from a lie, so that another host is asked next time."""
        for key, spread in list(self._spreads.items()):
            if not spread.misled and spread.targets:
                continue
            if spread.doubted:
                self._descriptions.doubt(key, spread.content.told_by)
            del self._spreads[key]
            self._tasks.pop(key).cancel()
        self._forget_old()

    def _forget_old(self) -> None:
        """Whoever has an image names its content, again and again another one."""
        now = self._memory.clock()
        self._not_before = {key: at for key, at in self._not_before.items() if at > now}
        for key, lock in list(self._beginning.items()):
            if not lock.locked() and key not in self._spreads:
                del self._beginning[key]


def _ended(spread: Spread) -> Exception:
    image, host = spread.content.image, spread.content.told_by
    if not spread.misled:
        return LeadershipLost(f"an error of the controller ended it: spread {image.name} again")
    return Refused(
        Reason.BAD_QUERY,
        f"{image.name}@{image.snapshot} is not made of what {host} says: the whole has not its "
        "digest; spread it again, and another host is asked",
    )
