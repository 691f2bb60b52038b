"""The state of every VM, for those who watch: one picture for all of them, kept while any does.

What has changed is worked out and encoded once, at most ten times a second, by whichever watcher
comes first. A watcher has no queue: it remembers the number of the frame that it was sent last, and
is sent what has changed since, in one frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import numpy as np
from numpy.typing import NDArray

from fleet.ranges import IndexSet
from fleet.states.frames import Encoded, encode_blocks, encode_change, encode_whole, starts_of
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import NOTHING, Assignment
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.core.shards import held_by
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.waiting import within

MOST_WATCHERS = 64
# Seconds between two frames; between two looks at which hosts there are; and after which a frame
# without a change says that the leader is there.
_INTERVAL = 0.1
_LAYOUT_INTERVAL = 1.0
_QUIET = 1.0


class StatesFrames:
    """Of one leadership."""

    def __init__(self, memory: LeaderMemory) -> None:
        self._memory = memory
        self._watchers = 0
        self._refreshed = self._looked = float("-inf")  # on the leader's clock
        self._beat = 0  # of the pulse, when hosts were looked at last
        self._stamp: object = None  # of the state that the layout was made from
        self._layout: tuple[tuple[str, str, int], ...] = ()
        self._places: dict[str, tuple[Assignment, Sequence[tuple[str, IndexSet]]]] = {}
        self._block_of: dict[str, int] = {}
        self._starts = starts_of(np.zeros(0, np.int64))
        self._cells: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._number = 0
        self._whole_since = 0  # frames before this number were of another layout
        self._changed_in: NDArray[np.int64] = np.zeros(0, np.int64)  # by block: in which frame
        self._frames: dict[int, cluster.StatesFrame] = {}  # by the number that they go on from

    async def frames(self) -> AsyncGenerator[cluster.StatesFrame, None]:
        """First a frame with all cells, then changes. Raises Refused when too many watch."""
        if self._watchers >= MOST_WATCHERS:
            raise Refused(
                Reason.TOO_MANY_WATCHERS, f"{MOST_WATCHERS} viewers watch already; try again later"
            )
        self._watchers += 1
        try:
            seen = 0
            while True:
                self._refresh()
                frame = self._since(seen)
                seen = frame.number  # others may make further ones while this one is sent
                yield frame
                due = self._refreshed + _INTERVAL - self._memory.clock()
                await asyncio.sleep(max(0.0, due))
                await within(_QUIET, self._memory.observed.pulse.after(self._beat))
        finally:
            self._watchers -= 1

    def _since(self, seen: int) -> cluster.StatesFrame:
        """What brings somebody who was sent the frame of this number up to date."""
        seen = 0 if seen < self._whole_since else seen
        frame = self._frames.get(seen)
        if frame is None:
            if not seen:
                frame = self._frame(0, encode_whole(self._cells))
                frame.layout.CopyFrom(_layout_message(self._layout))
            elif seen == self._number:
                return cluster.StatesFrame(number=seen, after=seen)
            else:
                blocks = np.flatnonzero(self._changed_in > seen)
                frame = self._frame(seen, encode_blocks(self._cells, self._starts, blocks))
            self._frames[seen] = frame
        return frame

    def _frame(self, after: int, encoded: Encoded) -> cluster.StatesFrame:
        return cluster.StatesFrame(
            number=self._number, after=after, encoding=encoded.encoding, cells=encoded.data
        )

    def _refresh(self) -> None:
        """Look at the hosts that have changed, unless that was done just now."""
        now = self._memory.clock()
        if now - self._refreshed < _INTERVAL:
            return
        self._refreshed, self._beat = now, self._memory.observed.pulse.version
        if self._has_other_layout(now):
            return
        touched, self._memory.observed.touched = self._memory.observed.touched, set()
        fresh = {
            block: self._cells_of(host_id)
            for host_id in touched
            if (block := self._block_of.get(host_id)) is not None
        }
        changed = sorted(
            block for block, cells in fresh.items() if (cells != self._block(block)).any()
        )
        if not changed:
            return
        before, blocks = self._cells.copy(), np.array(changed, np.int64)
        for block in changed:
            self._block(block)[:] = fresh[block]
        seen, self._number = self._number, self._number + 1
        self._changed_in[blocks] = self._number
        encoded = encode_change(before, self._cells, self._starts, blocks)
        self._frames = {seen: self._frame(seen, encoded)}

    def _has_other_layout(self, now: float) -> bool:
        """Whether there are other hosts, or of other sizes: then all cells are made anew."""
        stamp = self._memory.state.stamp
        if now - self._looked < _LAYOUT_INTERVAL or stamp == self._stamp:
            return False
        self._looked, self._stamp = now, stamp
        hosts = self._memory.state.hosts
        self._places = {one: known for one, known in self._places.items() if one in hosts}
        layout = tuple(sorted(map(self._place, hosts), key=_by_rack))
        if layout == self._layout and self._number:
            return False
        self._layout = layout
        self._block_of = {host_id: block for block, (host_id, _, _) in enumerate(layout)}
        self._starts = starts_of(np.array([cells for _, _, cells in layout], np.int64))
        self._cells = np.zeros(int(self._starts[-1]), np.uint8)
        self._memory.observed.touched = set()
        for block, (host_id, _, _) in enumerate(layout):
            self._block(block)[:] = self._cells_of(host_id)
        self._number += 1
        self._whole_since = self._number
        self._changed_in = np.full(len(layout), self._number, np.int64)
        self._frames = {}
        return True

    def _place(self, host_id: str) -> tuple[str, str, int]:
        record = self._memory.believed(host_id)
        assigned = sum(len(indices) for _, indices in self._assigned(host_id))
        rack = record.labels.get(self._memory.settings.loss.rack_label, "")
        return host_id, rack, max(record.capacity.guests, assigned)

    def _block(self, block: int) -> NDArray[np.uint8]:
        return self._cells[self._starts[block] : self._starts[block + 1]]

    def _assigned(self, host_id: str) -> Sequence[tuple[str, IndexSet]]:
        """What the host is assigned, by fleet uid, in the order of its cells. Worked out once for
        each assignment."""
        host = self._memory.observed.hosts.get(host_id)
        assignment = host.assignment if host else NOTHING
        known = self._places.get(host_id)
        if known is None or known[0] is not assignment:
            shards = assignment.shards
            fleets = sorted({shard.fleet for shard in shards})
            known = assignment, [(uid, held_by(shards, uid)) for uid in fleets]
            self._places[host_id] = known
        return known[1]

    def _cells_of(self, host_id: str) -> NDArray[np.uint8]:
        """What it only has staged is another's yet, and shown there."""
        block = self._block_of[host_id]
        cells = np.zeros(self._starts[block + 1] - self._starts[block], np.uint8)
        observed, at = self._memory.observed, 0
        for uid, indices in self._assigned(host_id):
            vector, number = observed.vectors.get(uid), observed.host(host_id).number
            for start, stop in indices.ranges:
                part = cells[at : at + stop - start]
                at += stop - start
                if vector is not None:
                    last = start + min(len(part), len(vector.states) - start)
                    held = vector.hosts[start:last] == number
                    part[: last - start][held] = vector.states[start:last][held]
        return cells


def _by_rack(place: tuple[str, str, int]) -> tuple[str, str]:
    return place[1], place[0]


def _layout_message(layout: tuple[tuple[str, str, int], ...]) -> cluster.StatesLayout:
    return cluster.StatesLayout(
        hosts=[cluster.StatesHost(id=one, rack=rack, cells=cells) for one, rack, cells in layout]
    )
