"""The states of VMs as frames: what has changed between two pictures of all cells, in few bytes.

Pure: the encodings are told in cluster.proto at StatesEncoding. Whoever encodes picks the smallest;
whoever applies a frame believes nothing of it.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types

Cells = NDArray[np.uint8]  # a VmState each
Numbers = NDArray[np.int64]

WHOLE = cluster.STATES_ENCODING_WHOLE
BLOCKS = cluster.STATES_ENCODING_BLOCKS
GAPS = cluster.STATES_ENCODING_GAPS
_MOST_STATE = int(types.VM_STATE_UNKNOWN)
# Of zlib: of a boot wave's 560 kB this one makes 150 kB in 6 ms, the strongest 135 kB in 60 ms.
_LEVEL = 1
_SEVEN_BITS = 7
_LONGEST_VARINT = 5
# A gap of one byte, as they mostly are, and half a byte of state.
_BYTES_A_CHANGE = 1.5


class BadFrame(ValueError):
    """What the bytes say cannot be; one sentence."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Cells as they travel."""

    encoding: cluster.StatesEncoding.ValueType
    data: bytes


def starts_of(sizes: Numbers) -> Numbers:
    """Where each block begins, and where the last one ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)])


def encode_whole(cells: Cells) -> Encoded:
    return Encoded(WHOLE, zlib.compress(_packed(cells), _LEVEL))


def encode_blocks(cells: Cells, starts: Numbers, blocks: Numbers) -> Encoded:
    """These blocks as they are now, whatever they were; `blocks`: ascending. As `encode_whole`
    where that takes no more."""
    sizes = starts[blocks + 1] - starts[blocks]
    if int(sizes.sum()) + 2 * len(blocks) >= len(cells):
        return encode_whole(cells)
    head = _varints(np.array([len(blocks)])) + _varints(_gaps(blocks))
    if (sizes % 2).any():
        body = b"".join(_packed(cells[starts[one] : starts[one + 1]]) for one in blocks)
    else:  # no block is padded: all of them at once
        body = _packed(cells[_within(starts, blocks)])
    return Encoded(BLOCKS, zlib.compress(head + body, _LEVEL))


def encode_change(before: Cells, after: Cells, starts: Numbers, blocks: Numbers) -> Encoded:
    """What has changed, all of it within these blocks, in the encoding that is the smallest before
    it is deflated: to deflate each of them costs more than the bytes that it would spare."""
    within = _within(starts, blocks)
    changed = within[before[within] != after[within]]
    if len(changed) * _BYTES_A_CHANGE > len(within) / 2 + len(blocks):
        return encode_blocks(after, starts, blocks)
    raw = _varints(np.array([len(changed)])) + _varints(_gaps(changed)) + _packed(after[changed])
    return Encoded(GAPS, zlib.compress(raw, _LEVEL))


def apply_frame(cells: Cells, starts: Numbers, frame: Encoded, largest: int = _MOST_STATE) -> None:
    """Change the cells as the frame says, none to more than `largest`. Raises BadFrame, and has
    changed nothing then."""
    most = len(cells) // 2 + 1 + (_LONGEST_VARINT + 1) * (len(cells) + len(starts) + 1)
    body = _Body(_inflated(frame.data, most), largest)
    if frame.encoding == WHOLE:
        where = np.arange(len(cells))
        states = body.states(len(cells))
    elif frame.encoding == BLOCKS:
        blocks = body.positions(len(starts) - 1)
        sizes = [int(starts[one + 1] - starts[one]) for one in blocks]
        empty = np.zeros(0, np.int64)
        where = np.concatenate(
            [empty, *(np.arange(starts[one], starts[one + 1]) for one in blocks)]
        )
        states = np.concatenate([np.zeros(0, np.uint8), *(body.states(size) for size in sizes)])
    elif frame.encoding == GAPS:
        where = body.positions(len(cells))
        states = body.states(len(where))
    else:
        raise BadFrame(f"the encoding {frame.encoding} is not known")
    body.check_end()
    cells[where] = states


class _Body:
    """Inflated bytes, read from the front. All of it raises BadFrame."""

    def __init__(self, raw: bytes, largest: int) -> None:
        self._raw = raw
        self._largest = largest
        self._at = 0

    def positions(self, most: int) -> Numbers:
        """Ascending ones below `most`: how many, and the gap before each."""
        count = self._varint()
        if count > most:
            raise BadFrame(f"{count} changes of {most}")
        found = np.cumsum(self._varints(count) + 1) - 1
        if count and found[-1] >= most:
            raise BadFrame(f"position {found[-1]} of {most}")
        return found

    def states(self, count: int) -> Cells:
        size = (count + 1) // 2
        part = np.frombuffer(self._raw[self._at : self._at + size], np.uint8)
        if len(part) != size:
            raise BadFrame("it ends too early")
        self._at += size
        found = np.column_stack([part & 15, part >> 4]).reshape(-1)
        if (found > self._largest).any() or found[count:].any():
            raise BadFrame("no VM has such a state")
        return found[:count]

    def check_end(self) -> None:
        if self._at != len(self._raw):
            raise BadFrame(f"{len(self._raw) - self._at} bytes too many")

    def _varints(self, count: int) -> Numbers:
        """So many at once: a standby that reads frames has other things to do as well."""
        part = np.frombuffer(self._raw, np.uint8)[self._at : self._at + count * _LONGEST_VARINT]
        ends = np.flatnonzero(part < 128)[:count] + 1
        if len(ends) < count:
            raise BadFrame("it ends too early, or a number is too long")
        if not count:
            return np.zeros(0, np.int64)
        firsts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        lengths = ends - firsts
        if int(lengths.max()) > _LONGEST_VARINT:
            raise BadFrame("a number is too long")
        places = np.arange(int(ends[-1])) - np.repeat(firsts, lengths)
        bits = (part[: int(ends[-1])] & 127).astype(np.int64) << (_SEVEN_BITS * places)
        self._at += int(ends[-1])
        return np.add.reduceat(bits, firsts)

    def _varint(self) -> int:
        value = 0
        for place in range(_LONGEST_VARINT):
            if self._at >= len(self._raw):
                raise BadFrame("it ends too early")
            byte = self._raw[self._at]
            self._at += 1
            value |= (byte & 127) << (_SEVEN_BITS * place)
            if byte < 128:
                return value
        raise BadFrame("a number is too long")


def _inflated(data: bytes, most: int) -> bytes:
    """Raises BadFrame."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(data, most)
    except zlib.error as error:
        raise BadFrame(f"it cannot be inflated: {error}") from error
    if not stream.eof or stream.unused_data:
        raise BadFrame("it is longer than any frame, or not whole")
    return raw


def _packed(states: Cells) -> bytes:
    even = np.append(states, 0).astype(np.uint8) if len(states) % 2 else states
    return (even[::2] | even[1::2] << 4).tobytes()


def _gaps(positions: Numbers) -> Numbers:
    return np.diff(positions, prepend=-1) - 1


def _within(starts: Numbers, blocks: Numbers) -> Numbers:
    """The positions of all cells of these blocks, ascending."""
    sizes = starts[blocks + 1] - starts[blocks]
    ends = np.cumsum(sizes)
    return np.repeat(starts[blocks] - ends + sizes, sizes) + np.arange(int(sizes.sum()))


def _varints(numbers: Numbers) -> bytes:
    if not (numbers >= 128).any():  # a byte each, as gaps of a wave are
        return numbers.astype(np.uint8).tobytes()
    rows = np.empty((len(numbers), _LONGEST_VARINT), np.uint8)
    used = np.empty(rows.shape, bool)
    rest = numbers.astype(np.int64)
    for place in range(_LONGEST_VARINT):
        following = rest >> _SEVEN_BITS
        rows[:, place] = (rest & 127) | np.where(following > 0, 128, 0)
        used[:, place] = True if place == 0 else rest > 0
        rest = following
    return rows[used].tobytes()
