"""Signs that the store is not the one that the hosts were told from: looked into before believed.

While a doubt stands nothing is planned, written or pushed; that takes one reading of the store.
Where it is confirmed, changes are frozen.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from fleet.keys import Epoch
from fleet.v1 import types_pb2 as types
from fleet_controller.core.recovery.freeze import ahead_reason, is_ahead
from fleet_controller.mirror.committer import Outdated
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store.port import StoreError

RETRY_SECONDS = 1.0


class Doubter(Protocol):
    """What is asked of the leader."""

    @property
    def state(self) -> ClusterState: ...

    def known_revision(self, host_id: str) -> int: ...

    async def read_as_leader(self) -> bool:
        """Read the store anew; whether it says that this replica leads. Raises StoreError."""

    async def write_freeze(self, reason: str) -> None:
        """Raises StoreError, Outdated."""

    def trust(self) -> None:
        """A doubt is over: go on with what waited."""


class Doubts:
    """`reason`: why the store is doubted at present; empty: it is not."""

    def __init__(self, leader: Doubter) -> None:
        self._leader = leader
        self._raised = asyncio.Event()
        self._ahead: dict[str, Epoch] = {}
        self._outranked = ""
        self.reason = ""

    def look_at(self, host_id: str, epoch: types.Epoch) -> None:
        """A host says which assignment it holds."""
        held = Epoch.of(epoch)
        if why := self._why(host_id, held):
            self._ahead[host_id] = held
            self._doubt(why)

    def outranked(self, why: str) -> None:
        """A host has heard a newer leader. While this one leads there can be none, in one store."""
        self._outranked = (
            f"{why}; no other controller leads, so the store was set back, or is another"
        )
        self._doubt(self._outranked)

    async def resolve_for_ever(self) -> None:
        """Until cancelled."""
        while True:
            await self._raised.wait()
            self._raised.clear()
            try:
                await self._resolve()
            except (StoreError, Outdated):
                await asyncio.sleep(RETRY_SECONDS)
                self._raised.set()

    async def _resolve(self) -> None:
        if not await self._leader.read_as_leader():
            return  # another leads: the loss of leadership is on its way, and the doubt stays
        if reason := self._confirmed():
            await self._leader.write_freeze(reason)
            return  # the leadership begins anew
        self._ahead.clear()
        self._outranked = self.reason = ""
        self._leader.trust()

    def _confirmed(self) -> str:
        if self._outranked:
            return self._outranked
        found = (self._why(host, epoch) for host, epoch in self._ahead.items())
        return next((why for why in found if why), "")

    def _why(self, host_id: str, epoch: Epoch) -> str:
        generation = self._leader.state.meta.generation
        known = self._leader.known_revision(host_id)
        if not is_ahead(epoch, generation, known):
            return ""
        return ahead_reason(host_id, epoch, generation, known)

    def _doubt(self, why: str) -> None:
        self.reason = self.reason or why
        self._raised.set()
