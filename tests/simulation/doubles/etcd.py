"""One etcd for all simulated controllers, and each controller's way to it.

The store is the product's own in memory. What a way does to it: requests arrive late or never,
answers are lost, everything is refused for a while, history is compacted, watches lag.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from fleet_controller.store import transaction
from fleet_controller.store.health import StoreHealth
from fleet_controller.store.keys import LEADER
from fleet_controller.store.memory import MemoryStore, _Lease, _Stored
from fleet_controller.store.port import (
    Change,
    Compacted,
    Delete,
    Entry,
    Guard,
    LeaseLost,
    Put,
    Snapshot,
    StoreReplaced,
    TxnResult,
    Unavailable,
    UnknownOutcome,
)
from tests.doubles.leading import until
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import Clockwork
from tests.simulation.engine.network import Network

T = TypeVar("T")
ETCD = "etcd"  # the end of ways that lead to it
DEADLINE_SECONDS = 5.0
LONG_SECONDS = 1e9


@dataclass(slots=True)
class StoreWeather:
    """Shares of requests, and seconds of lag of each watch. Only transactions are lost: a disk
    that is slow holds these up, and no lease. `late`: one that nobody waits for any longer
    arrives after all, up to `late_seconds` later."""

    refuse: float = 0.0
    lose_request: float = 0.0
    lose_answer: float = 0.0
    late: float = 0.0
    late_seconds: float = 30.0
    lag: float = 0.0
    held_back: int = 0  # of the next transactions, how many arrive only after `held_seconds`
    let_pass: int = 0  # after so many others
    held_seconds: float = 0.0

    @property
    def calm(self) -> bool:
        return not (
            self.refuse or self.lose_request or self.lose_answer or self.lag or self.held_back
        )


class Etcd(MemoryStore):
    """The witness hears of each revision as it comes about, and of leases that were not renewed."""

    def __init__(self, loop: Clockwork, witness: Witness) -> None:
        super().__init__(lambda: loop.now)
        self.loop = loop
        self.down = False
        self.over = False  # the world has ended: nothing is written any more
        self.clusters = 1  # that have been: each restore begins another
        self._witness = witness

    @property
    def revision(self) -> int:
        return self._revision

    @property
    def compacted(self) -> int:
        return self._compacted

    @property
    def news(self) -> asyncio.Event:
        return self._news

    def value(self, key: str) -> bytes | None:
        stored = self._keys.get(key)
        return stored.entry.value if stored else None

    def created(self, key: str) -> int:
        """The create_revision of a key; 0 when it is not there."""
        stored = self._keys.get(key)
        return stored.entry.create_revision if stored else 0

    def values(self, prefix: str) -> dict[str, bytes]:
        return {key: one.entry.value for key, one in self._keys.items() if key.startswith(prefix)}

    def snapshot(self, prefix: str) -> Snapshot:
        found: list[Entry] = [
            one.entry for key, one in self._keys.items() if key.startswith(prefix)
        ]
        found.sort(key=lambda entry: entry.key)
        return Snapshot(tuple(found), self._revision, self.cluster)

    def apply_now(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> TxnResult:
        """As txn, at this moment. Raises LeaseLost."""
        transaction.check(guards, writes)
        if not all(map(self._holds, guards)):
            return TxnResult(False, self._revision)
        for write in writes:
            if isinstance(write, Put) and write.lease and write.lease not in self._leases:
                raise LeaseLost("the lease of a write is gone")
        self._apply(writes)
        return TxnResult(True, self._revision)

    def changes_after(self, after: int, prefix: str) -> tuple[Change, ...]:
        return tuple(change for change in self._since(after) if change.key.startswith(prefix))

    def grant_now(self, ttl_seconds: int) -> int:
        self._granted += 1
        self._leases[self._granted] = _Lease(ttl_seconds, self.loop.now + ttl_seconds)
        self.loop.after(ttl_seconds, self.expire)
        return self._granted

    def keep_now(self, lease: int) -> int:
        """Raises LeaseLost."""
        held = self._leases.get(lease)
        if held is None:
            raise LeaseLost(f"lease {lease:x} has expired or was revoked")
        held.ends = self.loop.now + held.ttl
        self.loop.after(held.ttl, self.expire)
        return held.ttl

    def revoke_now(self, lease: int) -> None:
        self._end(lease)

    def expire(self) -> None:
        """Leases end while there is a quorum to end them."""
        if self.down or self.over:
            return
        term, lease = self.created(LEADER), self.leader_lease()
        self._expire()
        if lease and lease not in self._leases:
            self._witness.lease_ended(term)

    def come_back(self) -> None:
        """After an outage: every lease has its whole time again, as in etcd."""
        self.down = False
        for held in self._leases.values():
            held.ends = self.loop.now + held.ttl
            self.loop.after(held.ttl, self.expire)

    @property
    def cluster(self) -> str:
        return f"simulated-{self.clusters}"

    def set_back(self, copy: Snapshot) -> None:
        """Another cluster, made of a backup; nobody's lease is in it any more. Whoever is linked
        to the old one finds that its connections have ended."""
        self.clusters += 1
        kept = {entry.key: _Stored(entry, 0) for entry in copy.entries if entry.key != LEADER}
        self._keys, self._leases = kept, {}
        self._history.clear()
        self._revision = self._compacted = copy.revision
        self._wake()

    def compact_now(self) -> None:
        self._forget(self._revision)

    def leader_lease(self) -> int:
        """That of the leader's key; 0 without."""
        stored = self._keys.get(LEADER)
        return stored.lease if stored else 0

    def _apply(self, writes: Iterable[Put | Delete]) -> None:
        before = self._revision
        super()._apply(writes)
        if self._revision != before:
            self._witness.revision_written(self._revision, self._history[-1])


class StoreClient:
    """The Store port of one controller. Its way leads over the network."""

    durable = True
    description = "simulated etcd"

    def __init__(self, etcd: Etcd, network: Network, name: str, weather: StoreWeather) -> None:
        self._etcd = etcd
        self._network = network
        self._name = name
        self._weather = weather
        self._random = Random(f"{network.random.random()}/{name}/store")
        self._closed = False
        self._cluster = ""  # the one first spoken to

    async def read(self, prefix: str = "") -> Snapshot:
        return await self._ask(lambda: self._etcd.snapshot(prefix))

    async def txn(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> TxnResult:
        transaction.check(guards, writes)
        try:
            return await self._ask(lambda: self._etcd.apply_now(guards, writes), write=True)
        except _NoAnswer as error:
            raise UnknownOutcome("no answer in time") from error

    async def health(self) -> StoreHealth:
        return StoreHealth((), 0.0)

    async def grant(self, ttl_seconds: int) -> int:
        return await self._ask(lambda: self._etcd.grant_now(ttl_seconds))

    async def keep_alive(self, lease: int) -> int:
        return await self._ask(lambda: self._etcd.keep_now(lease))

    async def revoke(self, lease: int) -> None:
        await self._ask(lambda: self._etcd.revoke_now(lease))

    async def watch(self, prefix: str, after: int) -> AsyncIterator[tuple[Change, ...]]:
        etcd = self._etcd
        if after > etcd.revision:
            raise StoreReplaced(f"the store has not reached revision {after}")
        while True:
            await self._connected()
            self._accept(etcd.cluster)
            if after < etcd.compacted:
                raise Compacted(etcd.compacted)
            batch, after = etcd.changes_after(after, prefix), etcd.revision
            if not batch:
                await etcd.news.wait()
                continue
            await asyncio.sleep(self._network.seconds() + self._lag())
            await self._connected()
            self._accept(etcd.cluster)
            yield batch

    async def close(self) -> None:
        self._closed = True

    def _lag(self) -> float:
        return self._random.uniform(0.0, self._weather.lag) if self._weather.lag else 0.0

    async def _connected(self) -> None:
        """A watch reconnects by itself, however long that takes."""
        await until(self._is_connected, LONG_SECONDS)

    def _is_connected(self) -> bool:
        network = self._network
        return (
            not self._etcd.down
            and network.is_open(self._name, ETCD)
            and network.is_open(ETCD, self._name)
        )

    async def _ask(self, act: Callable[[], T], *, write: bool = False) -> T:
        """One request. Raises Unavailable, LeaseLost; _NoAnswer for a write that may be done."""
        if self._etcd.over or self._closed:
            raise Unavailable("the store has been closed")
        weather = self._weather
        if weather.refuse and self._random.random() < weather.refuse:
            await asyncio.sleep(self._network.seconds())
            raise Unavailable("etcdserver: no leader")
        answer: asyncio.Future[T] = self._network.loop.create_future()
        self._send(self._to_this_cluster(act, write), answer, write)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await answer
        except TimeoutError as error:
            raise _NoAnswer("no answer in time") from error

    def _to_this_cluster(self, act: Callable[[], T], write: bool) -> Callable[[], T]:
        """What is sent to one cluster never arrives at another; who asks is told of that."""
        sent_to = self._etcd.cluster

        def arrived() -> T:
            if write and self._etcd.cluster != sent_to:
                raise _Astray
            self._accept(self._etcd.cluster)
            return act()

        return arrived

    def _accept(self, cluster: str) -> None:
        """Raises StoreReplaced for another cluster than the one first spoken to."""
        self._cluster = self._cluster or cluster
        if cluster != self._cluster:
            raise StoreReplaced(f"etcd is another cluster, {cluster}, than {self._cluster}")

    def _send(self, act: Callable[[], T], answer: asyncio.Future[T], write: bool) -> None:
        weather, network = self._weather, self._network
        if write and weather.lose_request and self._random.random() < weather.lose_request:
            if self._random.random() < weather.late:
                seconds = DEADLINE_SECONDS + weather.late_seconds * self._random.random() ** 2
                network.loop.after(seconds, self._arrive, act, answer, write)
            return
        if write and weather.held_back:
            if weather.let_pass:
                weather.let_pass -= 1
            else:
                weather.held_back -= 1
                network.loop.after(weather.held_seconds, self._arrive, act, answer, write)
                return
        network.send(self._name, ETCD, lambda: self._arrive(act, answer, write))

    def _arrive(self, act: Callable[[], T], answer: asyncio.Future[T], write: bool) -> None:
        """At etcd, in the world's name."""
        if self._etcd.over:
            return
        if self._etcd.down:
            return  # lost with the members' connections
        try:
            result = act()
        except _Astray:
            return
        except (LeaseLost, StoreReplaced) as error:
            self._back(answer, None, error, write)
        else:
            self._back(answer, result, None, write)

    def _back(
        self, answer: asyncio.Future[T], result: Any, error: Exception | None, write: bool
    ) -> None:
        weather = self._weather
        if write and weather.lose_answer and self._random.random() < weather.lose_answer:
            return
        self._network.send(ETCD, self._name, lambda: _settle(answer, result, error))


class _NoAnswer(Unavailable):
    """Whether it was done is not known; of a read or a lease's renewal it does not matter."""


class _Astray(Exception):
    """A request was meant for a cluster that is no more."""


def _settle(answer: asyncio.Future[T], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is not None:
        answer.set_exception(error)
    else:
        answer.set_result(result)
