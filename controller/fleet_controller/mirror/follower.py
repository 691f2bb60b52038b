"""The mirror of the store, kept true while one leads: what others write is taken over, and what
was missed is read anew."""

from __future__ import annotations

import asyncio

from fleet_controller.events import EventLog
from fleet_controller.mirror.committer import Committer
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store.port import Compacted, Store, StoreError


class StoreFollower:
    """Of one leadership. `retry`: seconds between two tries of a store that does not answer."""

    def __init__(
        self,
        store: Store,
        state: ClusterState,
        committer: Committer,
        events: EventLog,
        retry: float,
    ) -> None:
        self._store = store
        self._state = state
        self._committer = committer
        self._events = events
        self._retry = retry
        self._trouble = ""  # with the store, as it was said last

    async def follow_for_ever(self) -> None:
        """Take over what others write, for as long as this leads."""
        while True:
            try:
                async for changes in self._store.watch("", self._state.revision):
                    self._state.watched(changes)
            except Compacted:
                await self.read_when_possible()
            except StoreError as error:
                self.note_trouble(error)
            await asyncio.sleep(self._retry)

    async def read_when_possible(self) -> None:
        """Take over the store as it is, once it answers."""
        while True:
            try:
                return await self._committer.read_again()
            except StoreError:
                await asyncio.sleep(self._retry)

    def note_trouble(self, error: StoreError) -> None:
        """Said once, until it is another or over."""
        if str(error) != self._trouble:
            self._trouble = str(error)
            self._events.add("store_trouble", self._trouble)

    def note_success(self) -> None:
        """The store works: whatever trouble comes next is news."""
        self._trouble = ""
