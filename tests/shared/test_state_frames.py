"""Frames of VM states: whatever changes arrives, and what no encoder makes is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.states.frames import (
    BLOCKS,
    GAPS,
    WHOLE,
    BadFrame,
    Encoded,
    apply_frame,
    encode_blocks,
    encode_change,
    encode_whole,
    starts_of,
)

SIZES = st.lists(st.integers(0, 40), max_size=20)
STATES = 9


def cells_of(seed: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, STATES, count).astype(np.uint8)


@given(SIZES, st.integers(0, 99), st.floats(0, 1))
def test_what_has_changed_arrives(sizes: list[int], seed: int, share: float) -> None:
    starts = starts_of(np.array(sizes, np.int64))
    before, other = cells_of(seed, sum(sizes)), cells_of(seed + 1, sum(sizes))
    chosen = np.random.default_rng(seed).random(sum(sizes)) < share
    after = np.where(chosen, other, before)
    blocks = np.array(
        [
            block
            for block in range(len(sizes))
            if (before != after)[starts[block] : starts[block + 1]].any()
        ],
        np.int64,
    )
    for encoded in (
        encode_change(before, after, starts, blocks),
        encode_blocks(after, starts, blocks),
        encode_whole(after),
    ):
        shown = before.copy()
        apply_frame(shown, starts, encoded)
        assert (shown == after).all()


def test_the_smallest_encoding_is_taken() -> None:
    starts = starts_of(np.full(400, 250))
    before = np.full(100_000, 5, np.uint8)
    one = before.copy()
    one[77_777] = 7
    assert encode_change(before, one, starts, np.array([311])).encoding == GAPS
    block = before.copy()
    block[500:750] = cells_of(1, 250)
    assert encode_change(before, block, starts, np.array([2])).encoding == BLOCKS
    whole = cells_of(1, 100_000)
    assert encode_change(before, whole, starts, np.arange(400)).encoding == WHOLE


@given(st.sampled_from([0, WHOLE, BLOCKS, GAPS, 9]), st.binary(max_size=60))
def test_any_bytes_are_applied_or_refused_and_never_half(encoding: int, raw: bytes) -> None:
    starts = starts_of(np.array([10, 0, 7]))
    cells = cells_of(3, 17)
    before = cells.copy()
    try:
        apply_frame(cells, starts, Encoded(encoding, zlib.compress(raw)))  # type: ignore[arg-type]
    except BadFrame:
        assert (cells == before).all()
    assert cells.max() < STATES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        zlib.compress(bytes(9))[:-1],
        zlib.compress(bytes(9)) + b"more",
        zlib.compress(bytes(50_000_000)),
        zlib.compress(b"\xff" * 9),
    ],
)
def test_a_hostile_frame_is_refused(data: bytes) -> None:
    cells = cells_of(3, 17)
    with pytest.raises(BadFrame):
        apply_frame(cells, starts_of(np.array([10, 7])), Encoded(WHOLE, data))
