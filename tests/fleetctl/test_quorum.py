"""Which changes of etcd's members are let through, and in which words others are refused."""

from __future__ import annotations

import pytest

from fleetctl.founding.quorum import (
    EtcdMember,
    may_fail,
    why_not_add,
    why_not_promote,
    why_not_remove,
)


def members(states: str) -> list[EtcdMember]:
    """A letter each: u is up, d down, L a learner that is up, l one that is not."""
    return [
        EtcdMember(
            number,
            f"c{number}",
            f"https://192.0.2.{number}:2380",
            learner=state in "Ll",
            problem="" if state in "uL" else "no answer in time",
        )
        for number, state in enumerate(states, 1)
    ]


@pytest.mark.parametrize(
    ("states", "spare"), [("u", 0), ("uu", 0), ("uuu", 1), ("uud", 0), ("udd", -1), ("uuuuu", 2)]
)
def test_how_many_more_may_fail(states: str, spare: int) -> None:
    assert may_fail(members(states)) == spare
    # A learner changes nothing of that.
    assert may_fail(members(states + "L")) == spare


@pytest.mark.parametrize(
    ("states", "refused"),
    [
        ("u", ""),
        ("uu", ""),
        ("uud", ""),
        ("udd", "1 of 3 members of etcd answer, and it takes 2"),
        ("uL", "one learner at a time"),
    ],
)
def test_a_learner_is_added_where_a_quorum_answers_and_no_other_waits(
    states: str, refused: str
) -> None:
    why = why_not_add(members(states))
    assert refused in why and bool(why) == bool(refused)


@pytest.mark.parametrize(
    ("states", "refused"),
    [
        ("uL", ""),
        ("uuL", ""),
        ("uudL", ""),
        ("ul", "does not answer yet"),
        ("udL", "1 of 2 members of etcd answer"),
        # Two of three vote; of four it would take three, and there are three with the learner.
        ("uddL", "1 of 3 members of etcd answer"),
    ],
)
def test_a_learner_gets_its_vote_where_a_quorum_is_left_with_it(states: str, refused: str) -> None:
    every = members(states)
    why = why_not_promote(every, every[-1])
    assert refused in why and bool(why) == bool(refused)


@pytest.mark.parametrize(
    ("states", "force", "refused"),
    [
        ("uud", False, ""),
        ("uuu", False, "answers: stop it first"),
        ("uuu", True, ""),
        ("u", True, "the only member of etcd"),
        ("ud", False, "1 of 2 members of etcd answer"),
        ("udu", True, "would lose its quorum"),
        ("uuddu", True, "would lose its quorum"),
        ("uuudd", False, ""),
    ],
)
def test_the_last_member_is_taken_out_where_the_others_are_a_quorum(
    states: str, force: bool, refused: str
) -> None:
    every = members(states)
    why = why_not_remove(every, every[-1], force=force)
    assert refused in why and bool(why) == bool(refused)


def test_a_learner_that_never_came_may_be_taken_out() -> None:
    every = members("uul")
    assert why_not_remove(every, every[-1]) == ""
