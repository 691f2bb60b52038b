"""Mistakes that a leader could make with its store, its memory and its lease."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fleet_controller.core.events.event_ring import EventRecord
from fleet_controller.core.model import HostView
from fleet_controller.election.leader_key import LeaderKey
from fleet_controller.events import EventLog
from fleet_controller.host_loss import judge, operator
from fleet_controller.leader.agent_events import AgentEvents
from fleet_controller.leader.completions import Completions
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import beside_their_lines
from fleet_controller.mirror.committer import Committer
from fleet_controller.mirror.records import Write
from fleet_controller.observed.standby_reachability import StandbyReachability
from fleet_controller.store.keys import META
from fleet_controller.store.port import Guard
from tests.simulation.seeded_bugs.replacing import SeededBug, wrong


def _guards_without_meta(self: Committer, writes: Sequence[Write]) -> list[Guard]:
    keys = dict.fromkeys(write.key for write in writes)
    revisions = [Guard(key, mod_revision=self._state.mod_revision(key)) for key in keys]
    return [self._guard, *revisions]


async def _settle_by_reading(self: Committer) -> None:
    """Reading again is enough, it thinks."""
    if self._in_doubt:
        await self.read_again()
        self._in_doubt = False


_host_view = LeaderMemory.host_view


def _host_view_that_trusts_orders(self: LeaderMemory, host_id: str) -> HostView:
    """What a host has been told to release counts as released."""
    host = _host_view(self, host_id)
    if not host.reachable:
        return host
    told = frozenset(stone.id for stone in host.assignment.tombstones)
    return msgspec.structs.replace(host, released=told)


async def _tells_nobody(self: Completions) -> None:
    """Hosts hear of settings with their next assignment, it thinks."""


class _LateResume:
    """`revision` as the watch is resumed from it: one too many."""

    async def follow(self: Any) -> None:
        store = self._store
        self._store = _SkippingStore(store)
        try:
            await _follow(self)
        finally:
            self._store = store


_follow = LeaderKey.follow


class _SkippingStore:
    """Watches from one revision later than asked."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def watch(self, prefix: str, after: int) -> Any:
        async for batch in self._store.watch(prefix, after):
            if later := tuple(change for change in batch if change.mod_revision > after + 1):
                yield later


def _nothing_recalled(self: EventLog, records: Iterable[EventRecord]) -> None:
    """What earlier leaders told is over, it thinks."""


def _always(self: Any, *args: Any) -> bool:
    return True


def _no_guards(self: Committer, writes: Sequence[Write]) -> list[Guard]:
    return [Guard(META, mod_revision=self._state.mod_revision(META))]


def _told_afterwards(writes: Sequence[Write], told: Sequence[Write]) -> Any:
    """First what is done, then the lines that tell it; a transaction may end between."""
    return [*writes, *told]


LEADERS: tuple[SeededBug, ...] = (
    SeededBug(
        "late write commits after its replacement",
        (
            wrong(Committer._guards, _guards_without_meta),
            wrong(Committer._settle, _settle_by_reading),
        ),
        ("hold_back", "change_mind"),
    ),
    SeededBug(
        "placed before its tombstone is acknowledged",
        (wrong(LeaderMemory.host_view, _host_view_that_trusts_orders),),
    ),
    SeededBug(
        "watch resumed one revision late",
        (wrong(LeaderKey.follow, _LateResume.follow),),
        ("controller_down", "compact"),
        controllers=2,
    ),
    SeededBug(
        "hosts are not told of other settings",
        (wrong(Completions.retold, _tells_nobody),),
        ("settings",),
    ),
    SeededBug(
        "stale leader pushes",
        (wrong(AgentEvents.may_act, _always),),
        ("stop_controller", "change_mind", "fill_ledger"),
    ),
    SeededBug(
        "writes without guards",
        (wrong(Committer._guards, _no_guards),),
        ("hold_back", "lease_ends"),
    ),
    SeededBug(
        "lost before standbys are asked",
        (wrong(StandbyReachability.confirms, _always),),
        ("cut_from_leader", "scale", "cordon"),
        controllers=3,
    ),
    SeededBug(
        "told in a later transaction",
        (
            wrong(beside_their_lines, _told_afterwards, seen_in=judge),
            wrong(beside_their_lines, _told_afterwards, seen_in=operator),
        ),
        ("cut_rack", "reboot_rack"),
    ),
    SeededBug(
        "events of earlier leaders forgotten",
        (wrong(EventLog.recall, _nothing_recalled),),
        ("controller_down", "lease_ends"),
    ),
)
