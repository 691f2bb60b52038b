"""VMs that answered alike, gathered and told on: bounded, and equal in content alone."""

from __future__ import annotations

import pytest

from fleet.guest_commands.answers import (
    OF_HOSTS,
    Answer,
    BadAnswer,
    BadCommand,
    answer_of,
    check_command,
)
from fleet.guest_commands.groups import OutcomeGroups
from fleet.ranges import IndexSet
from fleet.v1 import commands_pb2 as wire
from fleet.wire_ranges import from_wire

KERNEL = Answer.ended(0, b"6.12.117\n", 100)


def told(groups: OutcomeGroups) -> list[wire.OutcomeGroup]:
    return [group for part in groups.take() for group in part]


def test_equal_answers_are_one_group_and_the_answer_is_told_once() -> None:
    groups = OutcomeGroups(10, 1000)
    groups.add(IndexSet.span(0, 10), KERNEL)
    groups.add(IndexSet.span(10, 20), Answer.ended(0, b"6.12.117\n", 100))
    (first,) = told(groups)
    assert from_wire(first.indices) == IndexSet.span(0, 20) and len(first.indices) == 1
    assert answer_of(first.text, 100, OF_HOSTS) == KERNEL
    groups.add(IndexSet.span(20, 30), KERNEL)
    (second,) = told(groups)
    assert second.number == first.number and not second.HasField("text")
    assert told(groups) == [] and groups.vms == 30


@pytest.mark.parametrize(
    "other",
    [
        Answer(KERNEL.outcome, 0, b"evil\n", KERNEL.total, KERNEL.digest),
        Answer.ended(1, b"6.12.117\n", 100),
        Answer(wire.COMMAND_OUTCOME_NO_ANSWER),
        Answer.failed("it does not run"),
    ],
)
def test_whoever_claims_the_digest_of_another_answer_changes_nobody_elses(other: Answer) -> None:
    groups = OutcomeGroups(10, 1000)
    groups.add(IndexSet.span(0, 1), other)
    groups.add(IndexSet.span(1, 9), KERNEL)
    assert len(told(groups)) == 2


def test_cut_outputs_that_begin_alike_are_apart_where_the_rest_differs() -> None:
    one, two = (Answer.ended(0, b"same" + rest, 4) for rest in (b"a", b"b"))
    assert one.output == two.output and one.is_cut
    groups = OutcomeGroups(10, 1000)
    groups.add(IndexSet.span(0, 1), one)
    groups.add(IndexSet.span(1, 2), two)
    assert len(told(groups)) == 2


@pytest.mark.parametrize(("most", "most_bytes"), [(3, 10_000), (1000, 30)])
def test_beyond_the_bound_all_further_outputs_are_one_answer_with_its_code(
    most: int, most_bytes: int
) -> None:
    groups = OutcomeGroups(most, most_bytes)
    for index in range(100):
        groups.add(IndexSet.span(index, index + 1), Answer.ended(0, b"%09d\n" % index, 100))
    groups.add(IndexSet.span(100, 101), Answer.ended(1, b"x" * 100, 100))
    found = told(groups)
    assert len(found) == 3 + 2
    others = [one for one in found if one.text.others]
    assert [(len(from_wire(one.indices)), one.text.exit_code) for one in others] == [
        (97, 0),
        (1, 1),
    ]
    assert not any(one.text.output for one in others)


def test_what_is_told_comes_in_parts_that_are_small_to_read() -> None:
    groups = OutcomeGroups(10_000, 64 << 20)
    groups.add(IndexSet.of(range(0, 200_000, 2)), KERNEL)
    for index in range(300):
        one = IndexSet.span(300_000 + index, 300_001 + index)
        groups.add(one, Answer.ended(0, b"%d" % index * 10_000, 65_536))
    parts = [wire.RunInVmsAnswer(groups=part) for part in groups.take()]
    assert max(part.ByteSize() for part in parts) < 512 * 1024
    assert sum(len(from_wire(one.indices)) for part in parts for one in part.groups) == 100_300


def test_a_million_vms_with_one_answer_are_a_few_bytes() -> None:
    groups = OutcomeGroups(10, 1000)
    for start in range(0, 1_000_000, 250):
        groups.add(IndexSet.span(start, start + 250), KERNEL)
    assert sum(one.ByteSize() for one in told(groups)) < 100


@pytest.mark.parametrize(
    "said",
    [
        {"outcome": wire.COMMAND_OUTCOME_HOST_SILENT},
        {"outcome": wire.COMMAND_OUTCOME_UNPLACED},
        {"outcome": 0},
        {"outcome": 77},
        {"exit_code": 256},
        {"output": b"x" * 101, "output_total": 101},
        {"output": b"xx", "output_total": 1},
        {"digest": b"x" * 33},
        {"reason": "x" * 201},
    ],
)
def test_what_no_host_may_answer_is_refused(said: dict[str, object]) -> None:
    text = wire.OutcomeText(**{"outcome": wire.COMMAND_OUTCOME_ENDED, **said})  # type: ignore[arg-type]
    with pytest.raises(BadAnswer):
        answer_of(text, 100, OF_HOSTS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"line": "  "},
        {"line": "a\0b"},
        {"line": "x" * 16_385},
        {"user": "-c evil"},
        {"user": "joe; reboot"},
        {"user": "x" * 33},
        {"timeout_ms": 0},
        {"timeout_ms": 4_000_000},
        {"output_bytes": 0},
        {"output_bytes": 65_537},
    ],
)
def test_a_command_that_no_vm_can_be_asked_is_refused(wrong: dict[str, object]) -> None:
    right = {"line": "uname -r", "user": "root", "timeout_ms": 10_000, "output_bytes": 4096}
    check_command(wire.GuestCommand(**right))  # type: ignore[arg-type]
    with pytest.raises(BadCommand):
        check_command(wire.GuestCommand(**{**right, **wrong}))  # type: ignore[arg-type]
