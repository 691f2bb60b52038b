"""Signs that the store was set back: believed only by who leads, and only after looking again."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Meta
from fleet_controller.leader.doubts import Doubts
from fleet_controller.mirror.committer import Outdated
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.port import Entry, Put, Snapshot, Unavailable
from tests.virtual_loop import run_virtual


class Leader:
    """`finds`: what reading again says; `fails`: the errors of the next readings."""

    def __init__(self, *, leads: bool = True, finds: int = 0) -> None:
        self.state = ClusterState(lambda kind, name: None)
        meta = Entry(keys.META, encode(Meta()), 3, 3)
        self.state.load(Snapshot((meta,), 3, "cluster"))
        self.frozen: list[str] = []
        self.trusted = 0
        self.fails: list[Exception] = []
        self._leads = leads
        self._finds = finds

    def known_revision(self, host_id: str) -> int:
        return self.state.known_revision(keys.assignment(host_id))

    async def read_as_leader(self) -> bool:
        if self.fails:
            raise self.fails.pop(0)
        if self._finds:
            self.state.written([Put(keys.assignment("h1"), b"{}")], self._finds)
        return self._leads

    async def write_freeze(self, reason: str) -> None:
        self.frozen.append(reason)

    def trust(self) -> None:
        self.trusted += 1


def epoch(revision: int, generation: int = 1) -> types.Epoch:
    return types.Epoch(store_generation=generation, revision=revision)


async def play(doubts: Doubts) -> None:
    task = asyncio.create_task(doubts.resolve_for_ever())
    await asyncio.sleep(30)
    task.cancel()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    run_virtual(scenario)


def test_a_host_that_is_ahead_freezes_changes() -> None:
    leader = Leader()
    doubts = Doubts(leader)
    doubts.look_at("h1", epoch(900))
    assert doubts.reason, "nothing is done meanwhile"
    run(play(doubts))
    (reason,) = leader.frozen
    assert "host h1 holds the assignment of epoch 1.900" in reason and not leader.trusted


def test_a_store_that_has_it_after_all_is_trusted() -> None:
    leader = Leader(finds=900)
    doubts = Doubts(leader)
    doubts.look_at("h1", epoch(900))
    run(play(doubts))
    assert (leader.frozen, leader.trusted, doubts.reason) == ([], 1, "")


def test_a_host_that_has_heard_of_a_newer_leader_than_can_be_freezes_changes() -> None:
    leader = Leader()
    doubts = Doubts(leader)
    doubts.outranked("h1 has heard (1, 900)")
    run(play(doubts))
    assert "no other controller leads" in leader.frozen[0]


def test_who_does_not_lead_any_more_freezes_nothing_and_does_nothing() -> None:
    leader = Leader(leads=False)
    doubts = Doubts(leader)
    doubts.outranked("h1 has heard (1, 900)")
    doubts.look_at("h1", epoch(900))
    run(play(doubts))
    assert (leader.frozen, leader.trusted) == ([], 0) and doubts.reason


@pytest.mark.parametrize("error", [Unavailable("away"), Outdated("moved on")])
def test_a_store_that_cannot_be_read_is_asked_again(error: Exception) -> None:
    leader = Leader()
    leader.fails = [error, error]
    doubts = Doubts(leader)
    doubts.look_at("h1", epoch(900))
    run(play(doubts))
    assert len(leader.frozen) == 1


@pytest.mark.parametrize("told", [epoch(3), epoch(0, 0), epoch(2)])
def test_what_the_store_may_have_told_raises_no_doubt(told: types.Epoch) -> None:
    doubts = Doubts(Leader())
    doubts.look_at("h1", told)
    assert not doubts.reason


def test_a_host_whose_key_was_deleted_is_not_ahead_by_what_it_had_before() -> None:
    leader = Leader()
    leader.state.written([Put(keys.assignment("h1"), b"{}")], 900)
    leader.state.apply(keys.assignment("h1"), None, 950)
    doubts = Doubts(leader)
    doubts.look_at("h1", epoch(900))
    assert not doubts.reason
