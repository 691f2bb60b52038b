"""Which store this is, said in the store itself; and changes frozen where it is another."""

from __future__ import annotations

import msgspec

from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.recovery import freeze
from fleet_controller.events import EventLog
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.committer import Committer
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Put


class Freezing:
    """Of one leadership. All raise StoreError, Outdated."""

    def __init__(
        self, state: ClusterState, committer: Committer, audit: Audit, events: EventLog
    ) -> None:
        self._state = state
        self._committer = committer
        self._audit = audit
        self._events = events

    async def claim_store(self) -> None:
        """The record about the store itself says which store it is: a new one is told, and in
        another one changes are frozen."""
        meta = self._state.meta
        reason = freeze.replaced(meta, self._state.cluster)
        if reason and not self._state.freeze:
            await self.freeze(reason)
        elif not meta.cluster:
            named = msgspec.structs.replace(meta, cluster=self._state.cluster)
            await self._committer.write_one([Put(keys.META, encode(named))])

    async def freeze(self, reason: str) -> None:
        """From here on nothing is changed; what was decided before fails by META's guard."""
        record = freeze.Freeze(reason, self._events.now())
        await self._committer.write_one(
            [
                Put(keys.META, encode(self._state.meta)),
                Put(keys.FREEZE, encode(record)),
                self._audit.entry("freeze", BY_LEADER, after=reason),
            ]
        )
        self._events.add("changes_frozen", f"changes are frozen: {reason}")
