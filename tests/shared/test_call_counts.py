"""Each caller has its share of a server's calls, and what it ended it may ask again."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from fleet.serving.call_counts import CallBounds, CallCounts
from fleet.transport import Peer, Refusal, Role

BOB, EVE = Peer(Role.VIEWER, "bob"), Peer(Role.VIEWER, "eve")


def counts(in_all: int = 100) -> CallCounts:
    return CallCounts(CallBounds(in_all, {Role.VIEWER: 4}))


def refused(calls: CallCounts, caller: Peer, weight: int = 1, long: bool = False) -> str:
    with pytest.raises(Refusal) as told:
        calls.counted(caller, weight, long)
    assert told.value.reason == "TOO_MANY_CALLS"
    return str(told.value)


def test_a_caller_with_its_share_under_way_is_refused_and_no_other() -> None:
    calls = counts()
    with ExitStack() as under_way:
        for _ in range(4):
            under_way.enter_context(calls.counted(BOB))
        assert refused(calls, BOB).startswith("viewer/bob has 4 calls under way already")
        with calls.counted(EVE):
            pass
    with calls.counted(BOB):
        pass


def test_long_calls_leave_room_for_short_ones() -> None:
    calls = counts()
    with ExitStack() as under_way:
        for _ in range(3):
            under_way.enter_context(calls.counted(BOB, long=True))
        assert "3 calls that last" in refused(calls, BOB, long=True)
        with calls.counted(BOB):
            pass


def test_a_call_of_large_messages_counts_as_several() -> None:
    calls = counts()
    with calls.counted(BOB, weight=2), calls.counted(BOB):
        refused(calls, BOB, weight=2)
        with calls.counted(BOB):
            pass


def test_calls_are_bounded_in_all() -> None:
    calls = counts(in_all=1)
    with calls.counted(BOB):
        assert refused(calls, EVE).startswith("1 calls are under way already")


def test_a_role_without_a_share_may_not_call() -> None:
    refused(counts(), Peer(Role.AGENT, "h1"))


def test_a_call_that_fails_is_counted_no_more() -> None:
    calls = counts(in_all=1)
    with pytest.raises(ValueError), calls.counted(BOB):
        raise ValueError
    with calls.counted(BOB):
        pass
