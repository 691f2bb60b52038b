"""Which replica leads: one key on a lease, held by at most one at a time.

A replica leads from the txn that creates the key until its lease's deadline, counted from when
the last successful keep-alive was sent: the store counts from when it arrived, so the leader
stops before the store lets another in. What it writes carries a guard on its key's
create_revision (the term), so that a write sent late changes nothing.

Every replica follows the key by one watch. A standby campaigns the moment it goes.

A replica that was killed and comes back finds its own name in the key and revokes that lease at
once instead of waiting for it to end, where the process that holds it is known to be gone. It does
so only before it has led or seen another lead. Where a replica of the same name leads for longer
than any lease that is not renewed, two were given one name: the one that does not lead ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from fleet_controller.election.leader_key import RETRY_SECONDS, Holder, LeaderKey
from fleet_controller.store.keys import LEADER
from fleet_controller.store.port import (
    Full,
    Guard,
    LeaseLost,
    Put,
    Store,
    StoreError,
    Unavailable,
    UnknownOutcome,
)

DEFAULT_TTL_SECONDS = 6
# Of one that is not renewed nothing is left after its time; some more for clocks that differ.
_LEASES = 2
# A clean shutdown waits no longer than this for its lease to be revoked.
RESIGN_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class LeadershipLost(Exception):
    """This replica leads no longer; the message says why."""


class NameTaken(Exception):
    """Another replica leads under this one's name; one sentence."""


def _gone(process: str) -> bool:
    return True


class LeaderLease:
    """One term of this replica, as its work sees it."""

    def __init__(self, term: int, lease: int, deadline: float, clock: Callable[[], float]) -> None:
        self.term_revision = term
        self.guard = Guard(LEADER, create_revision=term)
        self.lease = lease
        self._deadline = deadline
        self._clock = clock
        self._lost = ""

    def valid(self) -> bool:
        """Whether the lease cannot have ended yet. Once False, it stays so."""
        if not self._lost and self._clock() >= self._deadline:
            self._lost = "its lease was not renewed in time"
        return not self._lost

    def raise_if_lost(self) -> None:
        """Raises LeadershipLost."""
        if not self.valid():
            raise self.end(self._lost)

    def seconds_left(self) -> float:
        return self._deadline - self._clock()

    def renewed(self, deadline: float) -> None:
        """Raises LeadershipLost when the renewal comes too late to count."""
        self.raise_if_lost()
        self._deadline = max(self._deadline, deadline)

    def end(self, reason: str) -> LeadershipLost:
        """Not valid from here on; the error to raise. The first reason stands."""
        self._lost = self._lost or reason
        return LeadershipLost(f"term {self.term_revision} is over: {self._lost}")


class Election:
    """One replica's part in the election.

    `replica`: its name; no two running replicas are to have the same.
    `address`: where others forward requests to. `clock`: monotonic seconds; one that also counts
    while the machine is suspended, as CLOCK_BOOTTIME does.
    """

    def __init__(
        self,
        store: Store,
        replica: str,
        address: str,
        clock: Callable[[], float],
        ttl_seconds: int = DEFAULT_TTL_SECONDS,
        process: str = "",
        is_gone: Callable[[str], bool] = _gone,
    ) -> None:
        """`process`: names this one, and `is_gone` says of another whether it has surely ended."""
        self._store = store
        self._replica = replica
        self._address = address
        self._clock = clock
        self._ttl = ttl_seconds
        self._process = process
        self._is_gone = is_gone
        self._key = LeaderKey(store)
        self._leadership: LeaderLease | None = None
        self._may_supersede = True
        self._own_lease = 0
        # Why the store lets nobody lead though it answers; empty: it does not say so.
        self.refusal = ""

    @property
    def leadership(self) -> LeaderLease | None:
        """This replica's own, while it is valid."""
        held = self._leadership
        return held if held is not None and held.valid() else None

    def current_leader(self) -> tuple[str, str] | None:
        """Replica id and address of the one that the key names, as far as is known."""
        holder = self._key.holder
        return (holder.replica, holder.address) if holder else None

    @property
    def holder(self) -> Holder | None:
        """Who the key names, as far as is known."""
        return self._key.holder

    async def until_over(self, term: int) -> None:
        """Until the key is known to name another term than this one, or nobody."""
        await self._key.until(lambda: self._key.holder is None or self._key.holder.term != term)

    async def until_changed(self) -> None:
        """Until something else is known of the key."""
        known = self._key.revision
        await self._key.until(lambda: self._key.revision != known)

    async def depose(self, holder: Holder) -> None:
        """Revoke the lease of another replica's leadership. Where the store cannot be reached it
        ends by itself."""
        if self._key.holder == holder:
            await self._resign(holder.lease)

    async def lead(self, work: Callable[[LeaderLease], Awaitable[None]]) -> None:
        """Campaign, run the work while leading, and again, until cancelled.

        The work is cancelled and awaited when leadership is lost; LeadershipLost raised by it
        counts as loss. When it returns, this replica resigns and `lead` returns. Other errors
        of the work, StoreReplaced and NameTaken end it inside an ExceptionGroup.
        """
        async with asyncio.TaskGroup() as group:
            follower = group.create_task(self._key.follow())
            while not await self._hold(await self._campaign(), work):
                _raise_if_cancelled()
            follower.cancel()

    # Standing by

    async def _campaign(self) -> LeaderLease:
        """Wait for the key to be free, and take it."""
        while True:
            try:
                await self._key.until(lambda: self._key.revision > 0)
                await self._vacate()
                leadership = await self._claim()
                self.refusal = ""
                if leadership:
                    return leadership
            except (Unavailable, UnknownOutcome, LeaseLost) as error:
                self.refusal = str(error) if isinstance(error, Full) else ""
                _log.warning("cannot campaign", replica=self._replica, reason=str(error))
                await asyncio.sleep(RETRY_SECONDS)

    async def _vacate(self) -> None:
        """Return when nobody holds the key; end a lease that is this replica's own."""
        holder = self._key.holder
        if holder is not None and self._is_own(holder):
            await self._store.revoke(holder.lease)
            await self._key.look()
        self._may_supersede = False
        while (holder := self._key.holder) is not None:
            await self._outlast(holder)

    async def _outlast(self, holder: Holder) -> None:
        """Until the key names another, or nobody. Raises NameTaken."""
        namesake = holder.replica == self._replica and holder.process and not self._is_own(holder)
        try:
            async with asyncio.timeout(_LEASES * self._ttl if namesake else None):
                return await self._key.until(lambda: self._key.holder != holder)
        except TimeoutError:
            await self._key.look()  # the news of its end may not have come
        if self._key.holder == holder:
            raise NameTaken(
                f"another controller named {self._replica} leads, at {holder.address}: give each "
                "controller a --replica of its own"
            )

    def _is_own(self, holder: Holder) -> bool:
        if holder.lease == 0:
            return False
        if holder.lease == self._own_lease:
            return True
        same = holder.replica == self._replica
        return self._may_supersede and same and self._is_gone(holder.process)

    async def _claim(self) -> LeaderLease | None:
        """None when another was faster."""
        sent = self._clock()
        lease = self._own_lease = await self._store.grant(self._ttl)
        leadership = None
        try:
            if term := await self._create_key(lease):
                holder = Holder(self._replica, self._address, lease, term, self._process)
                await self._key.learn(holder, term)
                leadership = LeaderLease(term, lease, sent + self._ttl, self._clock)
        finally:
            if leadership is None:
                await self._resign(lease)
        return leadership

    async def _create_key(self, lease: int) -> int:
        """The term it begins; 0 when the key is another's."""
        value = Holder(self._replica, self._address, lease, 0, self._process).value()
        vacant = Guard(LEADER, create_revision=0)
        try:
            result = await self._store.txn([vacant], [Put(LEADER, value, lease)])
            if result.applied:
                return result.revision
        except UnknownOutcome as error:
            _log.warning("reading anew", replica=self._replica, reason=str(error))
        await self._key.look()
        holder = self._key.holder
        return holder.term if holder is not None and holder.lease == lease else 0

    # Leading

    async def _hold(
        self, leadership: LeaderLease, work: Callable[[LeaderLease], Awaitable[None]]
    ) -> bool:
        """Do the work while it lasts; whether it came to its own end."""
        _log.info("leading", replica=self._replica, term=leadership.term_revision)
        self._leadership = leadership
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._keep(leadership))
                sentry = group.create_task(self._notice_loss(leadership))
                # A task of its own: groups inside the work may leave theirs marked as cancelled,
                # and of this one it must be known whether it truly was.
                await group.create_task(_done(work, leadership))
                keeper.cancel()
                sentry.cancel()
            return True
        except* LeadershipLost:
            leadership.end("its work gave up")
        finally:
            ended = leadership.end("this replica resigned")
            _log.info("not leading", replica=self._replica, reason=str(ended))
            self._leadership = None
            await self._resign(leadership.lease)
        return False

    async def _keep(self, leadership: LeaderLease) -> None:
        """Renew the lease three times in its life. Raises LeadershipLost."""
        while True:
            await asyncio.sleep(self._ttl / 3)
            try:
                async with asyncio.timeout(leadership.seconds_left()):
                    await self._renew(leadership)
            except TimeoutError as error:
                raise leadership.end("its lease could not be renewed in time") from error

    async def _renew(self, leadership: LeaderLease) -> None:
        while True:
            sent = self._clock()
            try:
                ttl = await self._store.keep_alive(leadership.lease)
                return leadership.renewed(sent + min(ttl, self._ttl))
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except LeaseLost as error:
                raise leadership.end(str(error)) from error

    async def _notice_loss(self, leadership: LeaderLease) -> None:
        """The key may go though the lease lives: deleted by hand, or by a successor."""
        term = leadership.term_revision
        key = self._key
        await key.until(
            lambda: key.revision >= term and (key.holder is None or key.holder.term != term)
        )
        raise leadership.end("its key is gone")

    async def _resign(self, lease: int) -> None:
        """Revoke the lease so that a standby need not wait for its end."""
        # Where the store cannot be reached the lease ends by itself.
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(RESIGN_SECONDS):
                await self._store.revoke(lease)


async def _done(work: Callable[[LeaderLease], Awaitable[None]], leadership: LeaderLease) -> None:
    await work(leadership)


def _raise_if_cancelled() -> None:
    """A TaskGroup that ends by a child's error forgets that it was also cancelled from outside
    (Python before 3.13)."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
