"""One image on its way to the hosts that want it, from those that have it.

Each pass decides anew who fetches from whom; only what differs is told. Hosts that have it are
asked to give only as far as they are needed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.image_spread.claims import barred, is_misled
from fleet_controller.core.image_spread.patience import hops
from fleet_controller.core.image_spread.sources import (
    STRIPES,
    SpreadHost,
    own_stripes,
    sources,
)
from fleet_controller.image_spread.decided import Decided
from fleet_controller.image_spread.part import MISMATCH, Attending, Part
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.off_loop import OffLoop
from fleet_controller.pulse import Pulse
from fleet_controller.relay.relay import Relay
from fleet_controller.waiting import within

RACK = "rack"
PASS_SECONDS = 1.0
# What happens close together is decided at once.
GATHER_SECONDS = 0.05
GATHERED = 128  # hosts for each such time
# Which hosts have it is looked up so often at most.
LOOK_SECONDS = 2.0
# Hosts that have it and give: so many at least and at most, and one for so many readers.
MOST_HOLDERS, LEAST_HOLDERS, READERS_A_HOLDER = 8, 2, 64
# Where a tenth of those that fetch lack a source for so long, twice as many are asked to give, up
# to a bound: those that were say that they have it, and do not give.
STARVED_SECONDS, STARVED_SHARE, MOST_ASKED = 10.0, 0.1, 128
# Hosts whose orders are made before others have their turn on the loop: a millisecond or two.
_TOLD_AT_ONCE = 100
# What a host needs and cannot get, such as for want of room, is tried again.
TRY_AGAIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes a second; 0: no bound."""

    host: int = 0
    fleet: int = 0


@dataclass(frozen=True, slots=True)
class Content:
    """An image with its digest, the root of what it is made of, and the bytes of that; as this host
    has said."""

    image: types.Image
    root: bytes
    size: int
    told_by: str


class Spread:
    """`run` until cancelled. `news` beats whenever a host has said something."""

    def __init__(
        self, memory: LeaderMemory, relay: Relay, off_loop: OffLoop, content: Content
    ) -> None:
        self.content = content
        self._off_loop = off_loop
        settings = memory.settings
        self._usual = Bounds(settings.image_rate, settings.image_fleet_rate)
        self._asked: dict[object, Bounds] = {}
        self._standing: set[object] = set()
        # Whether what the image was said to be made of has not its digest: says anybody, say many.
        self.doubted = self.misled = False
        self.news = Pulse()
        self.parts: dict[str, Part] = {}
        self.liars: frozenset[str] = frozenset()
        self._memory = memory
        self._relay = relay
        self._attending = Attending(relay, memory.clock, self.news.beat)
        self._wanted: dict[object, frozenset[str]] = {}
        self._decided = Decided()
        self.began = self._starved = memory.clock()
        self._times = 1
        self._having: list[str] = []
        self._look_again = self.began

    # Who takes part ---------------------------------------------------------------------------

    def want(
        self,
        who: object,
        hosts: Iterable[str],
        bounds: Bounds | None = None,
        *,
        standing: bool = False,
    ) -> None:
        """These hosts are to have it, says `who`; of whom this replaces the last word. Of several
        who name bounds the last one counts. `standing`: nobody waits, so what has failed is tried
        again now and then."""
        if standing:
            self._standing.add(who)
        self._wanted[who] = frozenset(hosts)
        if bounds is not None:
            self._asked[who] = bounds
        self.news.beat()

    def want_no_more(self, who: object) -> None:
        self._wanted.pop(who, None)
        self._asked.pop(who, None)
        self.news.beat()

    @property
    def targets(self) -> frozenset[str]:
        """Hosts that are to have it."""
        return frozenset().union(*self._wanted.values())

    def has(self, host: str) -> bool:
        """Whether the host has it, as it says now or said before."""
        part = self.parts.get(host)
        if part is not None and part.connected:
            return part.held
        recently = part is not None and self._memory.clock() < part.held_until
        return recently or self._announced(host)

    def _announced(self, host: str) -> bool:
        record = self._memory.state.hosts.get(host)
        image = self.content.image
        return record is not None and any(
            (one.name, one.snapshot, one.digest) == (image.name, image.snapshot, image.digest)
            for one in record.holdings.images or ()
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                version = self.news.version
                self._admit(group)
                await self._steer()
                await within(PASS_SECONDS, self.news.after(version))
                await asyncio.sleep(GATHER_SECONDS * (1 + len(self.parts) // GATHERED))

    def _admit(self, group: asyncio.TaskGroup) -> None:
        """Call those that take part, and no longer those that do not."""
        mismatches = sum(1 for part in self.parts.values() if part.failed_reason == MISMATCH)
        self.doubted = self.doubted or mismatches > 0
        self.misled = self.misled or is_misled(mismatches, len(self.targets))
        self._try_again()
        targets = self.targets
        fetching = {host for host in targets if self._fetches(host)}
        taking = fetching | self._holders(fetching)
        for host in [one for one in self.parts if one not in taking]:
            part = self.parts[host]
            # What it says of itself stays, for whoever asks.
            if part.task is not None:
                part.task.cancel()
                part.task = None
            if host not in targets:
                del self.parts[host]
        for host in taking:
            part = self.parts.setdefault(host, self._part(host))
            if part.task is None and not part.failed:
                part.task = group.create_task(self._attending.attend(part))

    def _try_again(self) -> None:
        now = self._memory.clock()
        standing = frozenset().union(*(self._wanted.get(who, ()) for who in self._standing))
        for host in standing & self.parts.keys():
            part = self.parts[host]
            if part.failed and now - part.failed_at > TRY_AGAIN_SECONDS:
                if part.task is not None:
                    part.task.cancel()
                self.parts[host] = self._part(host)

    def _part(self, host: str) -> Part:
        return Part(host, self.content.size, moved=self._memory.clock())

    def _fetches(self, host: str) -> bool:
        """Whether it is to fetch; one that has it goes on giving while others fetch."""
        part = self.parts.get(host)
        if part is not None and part.failed:
            return False
        return not self.has(host)

    def _holders(self, fetching: set[str]) -> set[str]:
        """Of those that have it: whoever gives already, and as many more as are needed."""
        if not fetching:
            return set()
        giving = {one for one in self._decided.sources.values() if one in self.parts}
        giving = {one for one in giving if self.has(one) and not self.parts[one].failed}
        many = min(MOST_HOLDERS, max(LEAST_HOLDERS, len(fetching) // READERS_A_HOLDER))
        many = min(many * self._wider(fetching), MOST_ASKED)
        if len(giving) >= many:
            return giving
        live = [one for one in self._able() if one not in giving]
        racks = Counter(self._rack(host) for host in fetching)
        live.sort(key=lambda one: (-racks[self._rack(one)], one))
        return giving | set(live[: max(0, many - len(giving))])

    def _wider(self, fetching: Iterable[str]) -> int:
        """How many times as many hosts are asked to give as would do."""
        now = self._memory.clock()
        parts = (self.parts.get(host) for host in fetching)
        orders = [one.order for one in parts if one is not None and one.connected and one.order]
        lacking = sum(len(order.sources) < STRIPES for order in orders)
        if lacking < max(1, STARVED_SHARE * len(orders)):
            self._starved = now
        elif now - self._starved >= STARVED_SECONDS:
            self._starved, self._times = now, min(2 * self._times, MOST_ASKED)
        return self._times

    def _able(self) -> list[str]:
        """Hosts that have it and can be asked to give."""
        now = self._memory.clock()
        if now >= self._look_again:
            self._look_again = now + LOOK_SECONDS
            self._having = [host for host in self._memory.state.hosts if self.has(host)]
        able = [
            host
            for host in self._having
            if self._memory.is_live(host) and not (host in self.parts and self.parts[host].failed)
        ]
        return [host for host in able if host not in self.liars] or able

    def _rack(self, host: str) -> str:
        record = self._memory.state.hosts.get(host)
        return record.labels.get(RACK, "") if record else ""

    # What they are told -----------------------------------------------------------------------

    async def _steer(self) -> None:
        """Of thousands of hosts it takes a tenth of a second: others have their turns meanwhile."""
        now = self._memory.clock()
        self._note_liars()
        taking = {name: one for name, one in self.parts.items() if one.task and not one.failed}
        racks = {name: self._rack(name) for name in taking}
        stripes = own_stripes(
            racks, {name: one.stripe for name, one in taking.items() if one.order}
        )
        hosts = {}
        for name, part in taking.items():
            part.stripe = stripes[name]
            if part.connected:
                shuns = part.shunned(now)
                hosts[name] = SpreadHost(racks[name], part.held, part.stripe, shuns)
        # Where nobody else has it they give all the same: each reader checks what it gets.
        others = any(one.holds and name not in self.liars for name, one in hosts.items())
        before, liars = self._decided.sources, self.liars if others else frozenset()
        decided = await self._off_loop.run(lambda: sources(hosts, before, liars))
        passed = await self._off_loop.run(lambda: hops(decided))
        self._decided.remember(decided, passed, self.parts)
        readers, many = self._decided.readers_now(), len(taking)
        each = self._bytes_per_second(len([one for one in taking.values() if not one.held]))
        for number, (name, part) in enumerate(taking.items()):
            part.tell(self._order(name, readers.get(name, ()), each, many))
            if number % _TOLD_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _order(self, name: str, readers: Iterable[str], each: int, many: int) -> wire.RelayOrder:
        order = wire.RelayOrder(
            term=self._relay.term,
            host_id=name,
            image=self.content.image,
            root=self.content.root,
            bytes_per_second=each,
        )
        return self._decided.add_to(order, readers, self._memory.state.hosts, many)

    def _note_liars(self) -> None:
        found = barred({host: one.liars for host, one in self.parts.items()}, self._decided.readers)
        for host in found.keys() - self.liars:
            who = " and ".join(sorted(found[host])[:2])
            text = f"{host} gives chunks of {self._named} without their digest, say {who}"
            self._memory.events.add("image_corrupt", text, host=host)
        self.liars |= found.keys()

    def _bytes_per_second(self, fetching: int) -> int:
        asked = list(self._asked.values())[-1] if self._asked else Bounds()
        host, fleet = asked.host or self._usual.host, asked.fleet or self._usual.fleet
        bounds = [host] if host else []
        if fleet and fetching:
            bounds.append(max(1, fleet // fetching))
        return min(bounds, default=0)

    @property
    def _named(self) -> str:
        return f"{self.content.image.name}@{self.content.image.snapshot}"

    @property
    def suspects(self) -> list[str]:
        """Who was said to have lied by anybody."""
        return sorted({liar for part in self.parts.values() for liar in part.liars})
