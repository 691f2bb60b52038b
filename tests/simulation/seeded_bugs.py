"""Mistakes that somebody might make, made on purpose in the real classes: the simulator must find
each of them by itself.

`engine/seeding.py` makes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.core.past_tombstones import past_tombstones
from fleet_agent.core.plan import isolation
from fleet_agent.core.plan.isolation import StartPermit
from fleet_agent.core.plan.snapshot import Snapshot, snapshot_of
from fleet_agent.reconcile import agent, fencing, loop
from fleet_agent.reconcile.fencing import FencedAssignment
from fleet_agent.reconcile.ledger import LedgerRecord
from fleet_agent.reconcile.loop import ReconcileLoop
from fleet_agent.reconcile.observer_reports import add_for_observer
from fleet_agent.reporting.board import Board
from fleet_agent.reporting.report_streams import ReportStreams
from fleet_controller.core.host_loss import loss
from fleet_controller.core.model import Assignment, ClusterView, HostView, RolloutRecord, Shard
from fleet_controller.core.placement import draft
from fleet_controller.core.placement.conditions import Resource
from fleet_controller.core.recovery.view import RecoveryView
from fleet_controller.core.rollouts_and_drains import drain_progress, moves, rollout
from fleet_controller.core.shards import merged
from fleet_controller.election.leader_key import LeaderKey
from fleet_controller.host_loss import judge, operator
from fleet_controller.leader.agent_events import AgentEvents
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.leader.writer import beside_their_lines
from fleet_controller.mirror.committer import Committer
from fleet_controller.mirror.records import Write
from fleet_controller.observed.standby_reachability import StandbyReachability
from fleet_controller.store.keys import META
from fleet_controller.store.port import Guard
from tests.simulation.engine.seeding import SeededBug, wrong


def _anything(self: Any, *args: Any) -> None:
    """Whatever is asked is in order."""


def _guards_without_meta(self: Committer, writes: Sequence[Write]) -> list[Guard]:
    keys = dict.fromkeys(write.key for write in writes)
    revisions = [Guard(key, mod_revision=self._state.mod_revision(key)) for key in keys]
    return [self._guard, *revisions]


async def _settle_by_reading(self: Committer) -> None:
    """Reading again is enough, it thinks."""
    if self._in_doubt:
        await self.read_again()
        self._in_doubt = False


_view = LeaderMemory.view


def _view_that_trusts_orders(self: LeaderMemory) -> ClusterView:
    """What a host has been told to release counts as released."""
    view = _view(self)
    hosts: Mapping[str, HostView] = {
        name: msgspec.structs.replace(
            host, released=frozenset(stone.id for stone in host.assignment.tombstones)
        )
        if host.reachable
        else host
        for name, host in view.hosts.items()
    }
    return msgspec.structs.replace(view, hosts=hosts)


async def _remember_later(self: FencedAssignment, record: LedgerRecord) -> None:
    """Answer first, write when there is time."""
    if record != self.record:
        self.record = record
        writing = asyncio.get_running_loop().create_task(_write_later(self, record))
        self.__dict__.setdefault("writing", []).append(writing)


async def _write_later(orders: FencedAssignment, record: LedgerRecord) -> None:
    await asyncio.sleep(0.5)
    await orders._ledger.save(record)


_list = ReconcileLoop._list


async def _look_at_nothing_first(self: ReconcileLoop) -> Snapshot:
    """A fresh agent begins with a clean slate."""
    if not self.__dict__.get("looked"):
        self.__dict__["looked"] = True
        return snapshot_of([], [])
    return await _list(self)


async def _open_without_boot(self: FencedAssignment) -> None:
    """What the ledger wants is wanted, whenever it was written."""
    await _open(self)
    self.awaits_assign = False


_open = FencedAssignment.open


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


def _always(self: Any, *args: Any) -> bool:
    return True


def _merged_by_generation(shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """Shards of one generation are one, whenever they were born."""
    ranges: dict[tuple[str, int, bool], list[Shard]] = {}
    for shard in shards:
        ranges.setdefault((shard.fleet, shard.generation, shard.power), []).append(shard)
    return tuple(
        Shard(
            fleet,
            IndexSet.union_of(one.ranges for one in several),
            generation,
            max(one.birth for one in several),
            power,
        )
        for (fleet, generation, power), several in sorted(ranges.items())
    )


def _add_tombstone_of_the_unborn(
    self: Any, draft: Any, shard: Shard, ranges: IndexSet, *, given_up: bool = False
) -> None:
    """Births are compared as if they began anew with each plan."""
    older = msgspec.structs.replace(shard, birth=shard.birth - 1)
    _add_tombstone(self, draft, older, ranges, given_up=given_up)


_add_tombstone = draft.Tombstoner.add_tombstone


def _no_guards(self: Committer, writes: Sequence[Write]) -> list[Guard]:
    return [Guard(META, mod_revision=self._state.mod_revision(META))]


def _room_beside_tombstones(self: Resource, of: draft.Draft) -> int:
    """What is told to go takes no guest's place, it thinks."""
    going = sum(len(stone.ranges) for stone in of.view.pending_tombstones)
    return _room(self, of) + (going if self.name == "guests" else 0)


_room = Resource.room


def _is_over_by_more(gone: int, of: int, share: float) -> bool:
    """The first one too many is let through."""
    return gone > 1 and gone - 1 > share * of


def _past_forgotten(*told: types.Assignment) -> types.Assignment:
    """What is acknowledged is done with."""
    return types.Assignment()


def _one_more(record: RolloutRecord, total: int) -> int:
    return _most_unavailable(record, total) + 1


_most_unavailable = rollout.most_unavailable


def _advance_uncounted(*args: Any) -> int:
    """What is under way by now is no concern of what begins."""
    _advance(*args)
    return 0


_advance = moves._advance


def _told_afterwards(writes: Sequence[Write], told: Sequence[Write]) -> Any:
    """First what is done, then the lines that tell it; a transaction may end between."""
    return [*writes, *told]


def _without_tombstones(
    assignment: Assignment, released: frozenset[int], revision: int
) -> Assignment:
    """A host that is removed needs no words any more."""
    return Assignment()


def _silent_since_last_word(self: ReportStreams) -> float | None:
    """Whoever reads says nothing, it thinks."""
    return None if self._contact is None else self._clock() - self._contact


def _permit_that_isolates_none(*args: Any) -> StartPermit:
    """What is held is not started; what runs goes on."""
    return replace(_start_permit(*args), isolated=frozenset())


_start_permit = isolation.start_permit


def _as_stored(self: RecoveryView, host: str) -> bool:
    """The store knows best."""
    return False


def _tell_as_of_the_last_look(report: wire.Report, orders: FencedAssignment, board: Board) -> None:
    """As to those that command: what the loop came to."""
    before = wire.Report()
    before.CopyFrom(report)
    add_for_observer(report, orders, board)
    del report.shards[len(before.shards) :]
    report.epoch.CopyFrom(before.epoch)
    report.converged = before.converged


SEEDED: tuple[SeededBug, ...] = (
    SeededBug(
        "no epoch check",
        (wrong(FencedAssignment._check_epoch, _anything),),
        ("storm", "change_mind"),
    ),
    SeededBug("no term check", (wrong(FencedAssignment.check_term, _anything),)),
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
        (wrong(LeaderMemory.view, _view_that_trusts_orders),),
    ),
    SeededBug(
        "ledger written after the acknowledgement",
        (wrong(FencedAssignment._remember, _remember_later),),
    ),
    SeededBug(
        "adopt skipped",
        (wrong(ReconcileLoop._list, _look_at_nothing_first),),
        ("kill_agents", "change_mind"),
    ),
    SeededBug("starts after a reboot", (wrong(FencedAssignment.open, _open_without_boot),)),
    SeededBug(
        "watch resumed one revision late",
        (wrong(LeaderKey.follow, _LateResume.follow),),
        ("controller_down", "compact"),
        controllers=2,
    ),
    SeededBug(
        "stale leader pushes",
        (wrong(AgentEvents.may_act, _always),),
        ("stop_controller", "change_mind", "fill_ledger"),
    ),
    SeededBug(
        "tombstone ignores births",
        (wrong(draft.Tombstoner.add_tombstone, _add_tombstone_of_the_unborn),),
    ),
    SeededBug(
        "births forgotten when shards merge", (wrong(merged, _merged_by_generation, seen_in=draft),)
    ),
    SeededBug(
        "writes without guards",
        (wrong(Committer._guards, _no_guards),),
        ("hold_back", "lease_ends"),
    ),
    SeededBug(
        "breaker off by one",
        (wrong(loss.is_over, _is_over_by_more),),
        ("host_away",),
    ),
    SeededBug(
        "lost before standbys are asked",
        (wrong(StandbyReachability.confirms, _always),),
        ("cut_from_leader", "scale", "cordon"),
        controllers=3,
    ),
    SeededBug("tombstones take no room", (wrong(Resource.room, _room_beside_tombstones),)),
    SeededBug(
        "releases forgotten once acknowledged",
        (wrong(past_tombstones, _past_forgotten, seen_in=fencing),),
        ("kill_agent", "kill_agents", "change_mind"),
    ),
    SeededBug(
        "one more down for a rollout", (wrong(rollout.most_unavailable, _one_more),), ("roll_out",)
    ),
    SeededBug(
        "moves under way are not counted", (wrong(moves._advance, _advance_uncounted),), ("drain",)
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
        "removed without tombstones",
        (wrong(drain_progress.released_for_good, _without_tombstones),),
        ("remove", "host_away"),
    ),
    SeededBug(
        "a stream of reports is no word",
        (wrong(ReportStreams.seconds_silent, _silent_since_last_word),),
        ("scale_other",),
    ),
    SeededBug(
        "nothing is stopped for silence",
        (wrong(isolation.start_permit, _permit_that_isolates_none, seen_in=loop),),
        ("scale_other", "cut_host"),
    ),
    SeededBug(
        "recovered from the store though hosts are ahead",
        (wrong(RecoveryView.is_rebuilt, _as_stored),),
        ("set_back", "change_mind"),
    ),
    SeededBug(
        "observers hear of the last look alone",
        (wrong(add_for_observer, _tell_as_of_the_last_look, seen_in=agent),),
        ("set_back", "no_driver", "change_mind", "scale"),
    ),
)
