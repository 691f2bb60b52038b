"""The leader's key as one replica sees it: read once, then followed by one watch."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from fleet_controller.store.keys import LEADER
from fleet_controller.store.port import Compacted, Store, StoreError, Unavailable

# Between two attempts at a store that is unavailable. A standby loses at most this much of a
# takeover.
RETRY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Holder:
    """Who the key names. `term` is the key's create_revision."""

    replica: str
    address: str
    lease: int
    term: int
    process: str = ""  # as process_identity has it; empty: of an older release

    @classmethod
    def parse(cls, value: bytes, term: int) -> Holder:
        """A value that is not ours names nobody, and is waited for like any other."""
        try:
            fields = json.loads(value)
            return cls(
                str(fields["replica"]),
                str(fields["address"]),
                int(fields["lease"]),
                term,
                str(fields.get("process", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls("", "", 0, term)

    def value(self) -> bytes:
        fields = {"replica": self.replica, "address": self.address, "lease": self.lease}
        if self.process:
            fields["process"] = self.process
        return json.dumps(fields, separators=(",", ":")).encode()


class LeaderKey:
    """What is known of the key: `holder` as of `revision`; 0 before anything is known."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = asyncio.Condition()
        self.holder: Holder | None = None
        self.revision = 0

    async def follow(self) -> None:
        """Until cancelled. Raises StoreReplaced, and StoreError when the store is closed."""
        while True:
            try:
                await self.look()
                async for changes in self._store.watch(LEADER, self.revision):
                    for change in changes:
                        if change.key == LEADER:
                            holder = _holder(change.value, change.create_revision)
                            await self.learn(holder, change.mod_revision)
                raise StoreError("the store was closed while the leader's key was followed")
            except Compacted:
                continue
            except Unavailable:
                await asyncio.sleep(RETRY_SECONDS)

    async def look(self) -> None:
        """Read the key. Raises Unavailable, StoreReplaced."""
        snapshot = await self._store.read(LEADER)
        named = [entry for entry in snapshot.entries if entry.key == LEADER]
        holder = _holder(named[0].value, named[0].create_revision) if named else None
        await self.learn(holder, snapshot.revision)

    async def learn(self, holder: Holder | None, revision: int) -> None:
        """Take in what is newer than what is known."""
        if revision > self.revision:
            self.holder, self.revision = holder, revision
            async with self._changed:
                self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds, asked anew when the key changes."""
        async with self._changed:
            await self._changed.wait_for(condition)


def _holder(value: bytes | None, term: int) -> Holder | None:
    return None if value is None else Holder.parse(value, term)
