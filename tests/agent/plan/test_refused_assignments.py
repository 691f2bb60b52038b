"""What a controller asks that cannot be: refused as a whole, in one sentence."""

from __future__ import annotations

import pytest

from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import BadAssignment, parse_assignment
from tests.doubles.assignments import SPV, WEB, assignment, shard, tombstone


@pytest.mark.parametrize(
    ("broken", "sentence"),
    [
        (assignment(shard("0-9", 10), shard("5", 11)), "indices 5 of fleet .* are wanted twice"),
        (assignment(shard("0", 10), fleets=[WEB]), "without that fleet's identity"),
        (assignment(tombstones=[tombstone(3, "0", 9)], fleets=[WEB]), "tombstone 3 comes without"),
        (assignment(shard("16777216", 10)), "index 16777216 is above"),
        (assignment(fleets=[SPV.__class__("u", "../up", 1)]), "a fleet's name is"),
    ],
    ids=["twice", "no fleet", "tombstone without fleet", "too high", "hostile name"],
)
def test_a_contradictory_assignment_is_refused(broken: object, sentence: str) -> None:
    assert isinstance(broken, types.Assignment)
    with pytest.raises(BadAssignment, match=sentence):
        parse_assignment(broken)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("birth", -1, "birth -1"),
        ("restart", -1, "restart -1"),
        ("retry", -1, "retry -1"),
        ("id", -1, "tombstone -1"),
        ("born_until", -1, "born until -1"),
        ("number", 4096, "number 4096"),
        ("site", 16, "site 16"),
    ],
)
def test_a_number_out_of_its_bounds_is_refused(field: str, value: int, sentence: str) -> None:
    wanted = assignment(shard("0-9", 10), tombstones=[tombstone(3, "10", 9)])
    for part in (wanted.shards[0], wanted.tombstones[0], wanted.fleets[0]):
        if field in part.DESCRIPTOR.fields_by_name:
            setattr(part, field, value)
    with pytest.raises(BadAssignment, match=sentence):
        parse_assignment(wanted)


def test_an_empty_range_is_refused() -> None:
    broken = assignment(shard("0", 10))
    broken.shards[0].ranges[0].stop = 0
    with pytest.raises(BadAssignment, match="not a range"):
        parse_assignment(broken)
