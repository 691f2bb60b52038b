"""Hosts whose assignment is of an earlier store, and that this one has given none."""

from __future__ import annotations

import asyncio

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import HostRecord, Meta
from fleet_controller.leader.strangers import Strangers
from fleet_controller.mirror.committer import Committer
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Guard, Put
from tests.virtual_loop import virtual

HELD = b'{"tombstones":[{"id":1,"fleet":"uid","ranges":[[0,1]],"born_until":1}]}'


async def _strangers() -> tuple[Strangers, MemoryStore, Committer]:
    """In a store of generation 2 that knows hosts a and b."""
    store = MemoryStore(asyncio.get_running_loop().time)
    state = ClusterState(lambda kind, name: None)
    hosts = [Put(keys.host(name), encode(HostRecord(name, f"{name}:1"))) for name in ("a", "b")]
    await store.txn([], [Put(keys.META, encode(Meta(generation=2))), *hosts])
    state.load(await store.read())
    leader = Guard(keys.LEADER, create_revision=0)
    committer = Committer(store, state, leader, lambda: None)
    return Strangers(state, committer), store, committer


async def _assignments(store: MemoryStore) -> dict[str, bytes]:
    return {entry.key: entry.value for entry in (await store.read(keys.ASSIGNMENTS)).entries}


def epoch(generation: int) -> types.Epoch:
    return types.Epoch(store_generation=generation, revision=9)


@virtual
async def test_one_is_given_an_empty_assignment_and_who_was_never_given_any_is_not() -> None:
    strangers, store, _ = await _strangers()
    assert strangers.look_at("a", epoch(1)) and not strangers.look_at("a", epoch(1))
    assert not strangers.look_at("b", types.Epoch())
    await strangers.write()
    assert await _assignments(store) == {keys.assignment("a"): b"{}"}
    assert not strangers.hosts and not strangers.look_at("a", epoch(1))


@virtual
async def test_what_one_was_given_meanwhile_stands() -> None:
    strangers, store, committer = await _strangers()
    assert strangers.look_at("a", epoch(1))
    await committer.write_one([Put(keys.assignment("a"), HELD)])
    await strangers.write()
    assert await _assignments(store) == {keys.assignment("a"): HELD}
