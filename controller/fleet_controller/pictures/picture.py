"""One picture of all cells, and the frames that bring its watchers up to date.

Knows nothing of hosts or VMs. A watcher has no queue: it remembers the number of the frame that
it was sent last, and is sent what has changed since, in one frame that all who are as far behind
share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.states.frames import (
    BadFrame,
    Cells,
    Encoded,
    Numbers,
    apply_frame,
    encode_blocks,
    encode_change,
    encode_whole,
    starts_of,
)
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types

MOST_NAMED = 14  # 15 is for pages: no cell
# Beyond this nobody copies a picture.
MOST_CELLS = 1 << 26


@dataclass(frozen=True, slots=True)
class Layout:
    """`blocks`: id, rack and number of cells of each. `legend`: what cells of 1, 2, ... say."""

    blocks: tuple[tuple[str, str, int], ...] = ()
    legend: tuple[str, ...] = ()

    def starts(self) -> Numbers:
        return starts_of(np.array([cells for _, _, cells in self.blocks], np.int64))


class Picture:
    def __init__(
        self, layer: cluster.StatesLayer.ValueType, grouping: cluster.StatesGrouping.ValueType
    ) -> None:
        self._asked = (layer, grouping)
        self.layout = Layout()
        self.starts = self.layout.starts()
        self.cells: Cells = np.zeros(0, np.uint8)
        self.number = 0
        self._block_of: NDArray[np.int32] = np.zeros(0, np.int32)  # each cell's
        self._whole_since = 0  # frames before this number were of another layout
        self._changed_in: Numbers = np.zeros(0, np.int64)  # by block: in which frame
        self._frames: dict[int, cluster.StatesFrame] = {}  # by the number that they go on from

    def begin(self, layout: Layout, cells: Cells) -> None:
        """Everything anew."""
        self._take(layout, cells, self.number + 1)

    def _take(self, layout: Layout, cells: Cells, number: int) -> None:
        self.layout, self.cells, self.starts = layout, cells, layout.starts()
        count = len(layout.blocks)
        self._block_of = np.repeat(np.arange(count, dtype=np.int32), np.diff(self.starts))
        self.number = number
        self._whole_since = self.number
        self._changed_in = np.full(count, self.number, np.int64)
        self._frames = {}

    def change(self, cells: Cells) -> None:
        """All cells as they are now."""
        self._change(cells, self._differing(cells))

    def change_blocks(self, fresh: dict[int, Cells]) -> None:
        """These blocks as they are now."""
        changed = sorted(n for n, cells in fresh.items() if (cells != self._block(n)).any())
        cells = self.cells.copy() if changed else self.cells
        for number in changed:
            cells[self.starts[number] : self.starts[number + 1]] = fresh[number]
        self._change(cells, np.array(changed, np.int64))

    def follow(self, frame: cluster.StatesFrame) -> None:
        """A frame of the picture that this one is a copy of: it serves this one's watchers as it
        is. Raises BadFrame, and has changed nothing then."""
        encoded = Encoded(frame.encoding, frame.cells)
        if frame.HasField("layout"):
            layout = _layout(frame.layout)
            cells = np.zeros(int(layout.starts()[-1]), np.uint8)
            apply_frame(cells, layout.starts(), encoded, _largest(layout))
            self._take(layout, cells, frame.number)
            self._frames[0] = frame
            return
        if frame.after != self.number or not self.number:
            raise BadFrame(f"it goes on from {frame.after}, not from {self.number}")
        if not frame.cells:
            return
        cells = self.cells.copy()
        apply_frame(cells, self.starts, encoded, _largest(self.layout))
        blocks = self._differing(cells)
        self.cells, self.number = cells, frame.number
        self._changed_in[blocks] = self.number
        self._frames = {frame.after: frame}

    def since(self, seen: int) -> cluster.StatesFrame:
        """What brings somebody who was sent the frame of this number up to date."""
        seen = 0 if seen < self._whole_since else seen
        frame = self._frames.get(seen)
        if frame is None:
            if not seen:
                frame = self._frame(0, encode_whole(self.cells))
                frame.layout.CopyFrom(_message(self.layout))
            elif seen == self.number:
                return self._frame(seen, None)
            else:
                blocks = np.flatnonzero(self._changed_in > seen)
                frame = self._frame(seen, encode_blocks(self.cells, self.starts, blocks))
            self._frames[seen] = frame
        return frame

    def _differing(self, cells: Cells) -> Numbers:
        """The blocks in which these cells are others."""
        differ = np.bincount(self._block_of[cells != self.cells], minlength=len(self.layout.blocks))
        return np.flatnonzero(differ)

    def _block(self, number: int) -> Cells:
        return self.cells[self.starts[number] : self.starts[number + 1]]

    def _change(self, cells: Cells, blocks: Numbers) -> None:
        if not len(blocks):
            return
        before, self.cells = self.cells, cells
        seen, self.number = self.number, self.number + 1
        self._changed_in[blocks] = self.number
        self._frames = {seen: self._frame(seen, encode_change(before, cells, self.starts, blocks))}

    def _frame(self, after: int, encoded: Encoded | None) -> cluster.StatesFrame:
        layer, grouping = self._asked
        frame = cluster.StatesFrame(number=self.number, after=after, layer=layer, grouping=grouping)
        if encoded is not None:
            frame.encoding, frame.cells = encoded.encoding, encoded.data
        return frame


def _message(layout: Layout) -> cluster.StatesLayout:
    hosts = [cluster.StatesHost(id=one, rack=rack, cells=n) for one, rack, n in layout.blocks]
    return cluster.StatesLayout(hosts=hosts, legend=layout.legend)


def _layout(told: cluster.StatesLayout) -> Layout:
    """Raises BadFrame for one that no leader makes."""
    cells = sum(one.cells for one in told.hosts)
    if cells > MOST_CELLS or len(told.legend) > MOST_NAMED:
        raise BadFrame(f"{cells} cells with {len(told.legend)} names")
    return Layout(tuple((one.id, one.rack, one.cells) for one in told.hosts), tuple(told.legend))


def _largest(layout: Layout) -> int:
    return len(layout.legend) or int(types.VM_STATE_UNKNOWN)
