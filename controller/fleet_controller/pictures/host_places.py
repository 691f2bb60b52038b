"""Where VMs stand when each host is a block: its VMs take its first cells, by fleet and index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fleet.ranges import IndexSet
from fleet.states.frames import Cells, Numbers, starts_of
from fleet_controller.core.model import NOTHING, Assignment
from fleet_controller.core.shards import held_by
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.pictures.layers import Values
from fleet_controller.pictures.picture import Layout

Block = tuple[str, str, int]


class HostPlaces:
    """Of one picture, and to be closed with it."""

    def __init__(self, memory: LeaderMemory) -> None:
        self._memory = memory
        self._touched: set[str] = set()
        memory.observed.followers.append(self._touched)
        self._stamp: object = None  # of the state that the blocks were made from
        self._blocks: tuple[Block, ...] = ()
        self._block_of: dict[str, int] = {}
        self._starts = Layout().starts()
        self._places: dict[str, tuple[Assignment, Sequence[tuple[str, IndexSet]]]] = {}

    def close(self) -> None:
        followers = self._memory.observed.followers
        followers[:] = [one for one in followers if one is not self._touched]

    def blocks(self) -> tuple[Block, ...]:
        """As the hosts are now. The same ones as before are the same object."""
        stamp = self._memory.state.stamp
        if stamp != self._stamp:
            self._stamp = stamp
            hosts = self._memory.state.hosts
            self._places = {one: known for one, known in self._places.items() if one in hosts}
            blocks = tuple(sorted(map(self._block, hosts), key=_by_rack))
            if blocks != self._blocks:
                self._blocks, self._starts = blocks, Layout(blocks).starts()
                self._block_of = {host: number for number, (host, _, _) in enumerate(blocks)}
        return self._blocks

    def take_touched(self) -> dict[int, str]:
        """Hosts that may differ since this was asked last, by block."""
        touched = set(self._touched)
        self._touched.clear()
        return {self._block_of[one]: one for one in touched if one in self._block_of}

    def states_of(self, block: int, host_id: str) -> Cells:
        """What it only has staged is another's yet, and shown there."""
        cells = np.zeros(int(self._starts[block + 1] - self._starts[block]), np.uint8)
        observed, at = self._memory.observed, 0
        number = observed.host(host_id).number
        for uid, indices in self._assigned(host_id):
            vector = observed.vectors.get(uid)
            for start, stop in indices.ranges:
                part = cells[at : at + stop - start]
                at += stop - start
                if vector is not None:
                    last = start + min(len(part), len(vector.states) - start)
                    held = vector.hosts[start:last] == number
                    part[: last - start][held] = vector.states[start:last][held]
        return cells

    def cells(self, values: Values) -> Cells:
        """All hosts' cells at once, with what the layer says of each VM."""
        uids = list(values.by_fleet)
        offsets = starts_of(np.array([len(values.by_fleet[uid]) for uid in uids], np.int64))
        spans = self._spans({uid: int(offsets[n]) for n, uid in enumerate(uids)}, values.by_fleet)
        cells = np.zeros(int(self._starts[-1]), np.uint8)
        if not len(spans):
            return cells
        said = np.concatenate([values.by_fleet[uid] for uid in uids])
        holders = np.concatenate([self._memory.observed.vectors[uid].hosts for uid in uids])
        cell, vm, lengths, host = spans.T
        along = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        where, which = np.repeat(cell, lengths) + along, np.repeat(vm, lengths) + along
        held = holders[which] == np.repeat(host, lengths)
        cells[where[held]] = said[which[held]]
        return cells

    def _spans(self, offsets: Mapping[str, int], sizes: Mapping[str, Cells]) -> Numbers:
        """Of each range: its first cell, its first VM in all fleets' vectors after one another, how
        many, and the number of the host that has to hold them."""
        spans = []
        for block, (host_id, _, most) in enumerate(self._blocks):
            number, at = self._memory.observed.host(host_id).number, 0
            for uid, indices in self._assigned(host_id):
                for start, stop in indices.ranges:
                    if uid in offsets:
                        length = min(stop, len(sizes[uid]), start + most - at) - start
                        if length > 0:
                            cell = int(self._starts[block]) + at
                            spans.append((cell, offsets[uid] + start, length, number))
                    at += stop - start
        return np.array(spans, np.int64).reshape(-1, 4)

    def _block(self, host_id: str) -> Block:
        record = self._memory.believed(host_id)
        assigned = sum(len(indices) for _, indices in self._assigned(host_id))
        rack = record.labels.get(self._memory.settings.loss.rack_label, "")
        return host_id, rack, max(record.capacity.guests, assigned)

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


def _by_rack(block: Block) -> tuple[str, str]:
    return block[1], block[0]
