"""A picture that follows another one by its frames, as standbys have it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from fleet.states.frames import BadFrame, Cells, Encoded, apply_frame, encode_whole
from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.pictures.picture import MOST_CELLS, Layout, Picture

LAYOUT = Layout((("h1", "a", 6), ("h2", "a", 4), ("h3", "b", 5)))
CELLS = 15


def cells(*states: int) -> Cells:
    return np.array([*states, *[0] * (CELLS - len(states))], np.uint8)


def picture() -> Picture:
    return Picture(cluster.STATES_LAYER_STATE, cluster.STATES_GROUPING_HOST)


def begun() -> tuple[Picture, Picture]:
    """The leader's, and one that has followed it so far."""
    leads, follows = picture(), picture()
    leads.begin(LAYOUT, cells(1, 1, 1))
    follows.follow(leads.since(0))
    return leads, follows


def drawn(frames: Sequence[cluster.StatesFrame]) -> list[int]:
    """What frames make of nothing, each applied to what the one before has made."""
    made, number = np.zeros(CELLS, np.uint8), 0
    for frame in frames:
        assert frame.HasField("layout") or frame.after == number
        number = frame.number
        if frame.cells:
            apply_frame(made, LAYOUT.starts(), Encoded(frame.encoding, frame.cells))
    return [int(one) for one in made]


def test_a_frame_of_the_leader_serves_the_watchers_of_the_copy_as_it_is() -> None:
    leads, follows = begun()
    first = follows.since(0)
    leads.change(cells(5, 5, 1))
    told = leads.since(first.number)
    follows.follow(told)
    assert follows.since(first.number) is told
    assert drawn([first, told]) == list(cells(5, 5, 1))


def test_who_reads_slowly_gets_one_merged_frame() -> None:
    leads, follows = begun()
    first = follows.since(0)
    for state in (2, 3, 4, 5):
        before = leads.number
        leads.change(cells(state, 1, 1, 0, 0, 0, state))
        follows.follow(leads.since(before))
    merged = follows.since(first.number)
    assert (merged.after, merged.number) == (first.number, leads.number)
    assert drawn([first, merged]) == list(cells(5, 1, 1, 0, 0, 0, 5))
    assert follows.since(first.number) is merged  # made once for all as far behind
    assert drawn([follows.since(0)]) == list(cells(5, 1, 1, 0, 0, 0, 5))


def test_a_copy_that_was_slow_itself_follows_the_merged_frame() -> None:
    leads, follows = begun()
    seen = follows.number
    for state in (2, 3):
        leads.change(cells(state))
    follows.follow(leads.since(seen))
    assert follows.number == leads.number and list(follows.cells) == list(cells(3))


def test_another_layout_begins_anew_for_all() -> None:
    leads, follows = begun()
    seen = follows.number
    leads.begin(Layout((("h1", "a", 3),)), np.array([7, 7, 0], np.uint8))
    follows.follow(leads.since(seen))
    again = follows.since(seen)
    assert again.HasField("layout") and [one.cells for one in again.layout.hosts] == [3]


def test_a_sign_of_life_changes_nothing() -> None:
    leads, follows = begun()
    before = follows.number
    follows.follow(leads.since(before))
    assert follows.number == before and not follows.since(before).cells


def _goes_on_from_another(frame: cluster.StatesFrame) -> None:
    frame.after += 1


def _is_cut(frame: cluster.StatesFrame) -> None:
    frame.cells = frame.cells[:-3]


def _is_of_many_millions(frame: cluster.StatesFrame) -> None:
    frame.layout.hosts.add(id="h", cells=MOST_CELLS + 1)


def _has_many_names(frame: cluster.StatesFrame) -> None:
    frame.layout.legend.extend("abcdefghijklmnopq")


@pytest.mark.parametrize(
    "wrong", [_goes_on_from_another, _is_cut, _is_of_many_millions, _has_many_names]
)
def test_a_frame_that_cannot_be_is_refused_and_changes_nothing(wrong: object) -> None:
    leads, follows = begun()
    before = follows.number
    leads.change(cells(4, 4))
    frame = cluster.StatesFrame()
    frame.CopyFrom(leads.since(before))
    assert callable(wrong)
    wrong(frame)
    with pytest.raises(BadFrame):
        follows.follow(frame)
    assert follows.number == before and list(follows.cells) == list(cells(1, 1, 1))


def test_a_copy_that_has_nothing_yet_follows_no_change() -> None:
    data = encode_whole(cells(1))
    frame = cluster.StatesFrame(number=1, encoding=data.encoding, cells=data.data)
    with pytest.raises(BadFrame):
        picture().follow(frame)
