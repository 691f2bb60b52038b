"""Hosts that hold an assignment which an earlier state of the store has given them, where the store
as it was recovered has none for them.

They keep what they hold true, and would for ever: nothing that the leader says to others concerns
them. So they are given an empty assignment, and what they have becomes known for what it is.
"""

from __future__ import annotations

from fleet.v1 import types_pb2 as types
from fleet_controller.mirror.committer import Committer
from fleet_controller.mirror.state import NOTHING, ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Put


class Strangers:
    """Of one leadership. `hosts`: those that are still to be given something."""

    def __init__(self, state: ClusterState, committer: Committer) -> None:
        self._state = state
        self._committer = committer
        self.hosts: set[str] = set()

    def look_at(self, host_id: str, epoch: types.Epoch) -> bool:
        """A host says which assignment it holds; whether it is one of them from now on."""
        unknown = not self._state.mod_revision(keys.assignment(host_id))
        if not (unknown and 0 < epoch.store_generation < self._state.meta.generation):
            self.hosts.discard(host_id)
            return False
        news = host_id not in self.hosts
        self.hosts.add(host_id)
        return news

    async def write(self) -> None:
        """What they are given. Orphans are left as they are, unless another has their index by
        now. Raises Outdated, StoreError."""
        if not self.hosts:
            return
        # What they were given meanwhile stands.
        there = [
            host
            for host in sorted(self.hosts & self._state.hosts.keys())
            if not self._state.mod_revision(keys.assignment(host))
        ]
        await self._committer.write([Put(keys.assignment(host), encode(NOTHING)) for host in there])
        self.hosts.clear()
