"""The mirror of the store: the same whatever it is fed by, and in whatever order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, FleetRecord, HostRecord, Meta, Shard
from fleet_controller.mirror.records import RecordChange, RecordKind
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import BrokenRecord, encode, encode_spec
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Change, Delete, Entry, Put, Snapshot

FLEET = FleetRecord("spv", "uid", 1, total=5)
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
ASSIGNMENT = Assignment((Shard("uid", IndexSet.span(0, 5), 1, 3),))


def mirror() -> tuple[ClusterState, list[RecordChange]]:
    told: list[RecordChange] = []
    state = ClusterState()
    state.on_change(told.append)
    return state, told


def test_each_kind_of_record_has_its_table() -> None:
    state, told = mirror()
    host = HostRecord("h1", "a:1", cordoned=True)
    state.written(
        [
            Put(keys.META, encode(Meta(last_number=3))),
            Put(keys.host("h1"), encode(host)),
            Put(keys.fleet("spv"), encode(FLEET)),
            Put(keys.spec("uid", 2), encode_spec(SPEC)),
            Put(keys.assignment("h1"), encode(ASSIGNMENT)),
            Put(keys.LEADER, b"anything"),
            Put("notes/of-an-operator", b"anything"),
        ],
        9,
    )
    assert (state.meta, state.hosts, state.cordoned) == (Meta(last_number=3), {"h1": host}, {"h1"})
    assert (state.fleets, state.specs) == ({"spv": FLEET}, {("uid", 2): SPEC})
    assert (state.assignments, state.revision) == ({"h1": ASSIGNMENT}, 9)
    assert state.fleet_by_uid("uid") == FLEET and state.fleet_by_uid("other") is None
    assert {state.mod_revision(key) for key in (keys.META, keys.host("h1"))} == {9}
    assert RecordChange(RecordKind.HOST, "h1") in told
    assert RecordChange(RecordKind.ASSIGNMENT, "h1") in told
    state.written([Delete(keys.host("h1")), Delete(keys.spec("uid", 2))], 10)
    assert (state.hosts, state.specs, state.cordoned) == ({}, {}, set())
    assert state.mod_revision(keys.host("h1")) == 0


def test_what_is_older_is_ignored_a_deletion_too() -> None:
    state, told = mirror()
    state.apply(keys.host("h1"), encode(HostRecord("h1", "new:1")), 9)
    told.clear()
    state.apply(keys.host("h1"), encode(HostRecord("h1", "old:1")), 8)
    state.apply(keys.host("h1"), None, 9)
    assert (state.hosts["h1"].address, told) == ("new:1", [])
    state.apply(keys.host("h1"), None, 10)
    state.apply(keys.host("h1"), encode(HostRecord("h1", "old:1")), 9)
    assert state.hosts == {} and state.mod_revision(keys.host("h1")) == 0


def test_a_reading_takes_away_what_is_gone_but_nothing_newer() -> None:
    state, _ = mirror()
    state.apply(keys.host("gone"), encode(HostRecord("gone", "a:1")), 5)
    state.apply(keys.host("newer"), encode(HostRecord("newer", "a:1")), 12)
    here = Entry(keys.host("here"), encode(HostRecord("here", "a:1")), 4, 6)
    state.load(Snapshot((here,), 10, "cluster"))
    assert state.hosts.keys() == {"here", "newer"}
    assert (state.revision, state.cluster) == (12, "cluster")


@pytest.mark.parametrize("value", [b"", b"{", b'{"id":5}', b"[]", b"\xff\xfe"])
@pytest.mark.parametrize(
    "key", [keys.META, keys.host("h1"), keys.assignment("h1"), keys.fleet("spv")]
)
def test_a_record_that_cannot_be_understood_names_its_key(key: str, value: bytes) -> None:
    state, _ = mirror()
    if key in (keys.META, keys.assignment("h1")) and value == b'{"id":5}':
        state.apply(key, value, 3)  # fields of a newer controller are no mistake
        return
    with pytest.raises(BrokenRecord, match=f"the store's key {key} cannot be understood"):
        state.apply(key, value, 3)


def test_a_spec_that_cannot_be_understood_names_its_key() -> None:
    state, _ = mirror()
    with pytest.raises(BrokenRecord, match="fleets/uid/spec/1"):
        state.apply(keys.spec("uid", 1), b'{"memory_bytes":"much"}', 3)


HOSTS = [f"h{n}" for n in range(4)]
histories = st.lists(
    st.lists(
        st.tuples(st.sampled_from(HOSTS), st.booleans()),
        min_size=1,
        max_size=3,
        unique_by=lambda w: w[0],
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(histories, st.randoms(use_true_random=False))
def test_readings_answers_and_watches_in_any_order_make_the_same_mirror(
    history: list[list[tuple[str, bool]]], random: object
) -> None:
    async def scenario() -> None:
        store = MemoryStore(lambda: 0.0)
        feeds: list[Snapshot | Change | tuple[list[Put | Delete], int]] = []
        for turn, transaction in enumerate(history):
            writes: list[Put | Delete] = [
                Put(keys.host(name), encode(HostRecord(name, f"a:{turn}")))
                if there
                else Delete(keys.host(name))
                for name, there in transaction
            ]
            before = (await store.read()).revision
            result = await store.txn([], writes)
            if result.revision == before:
                continue
            feeds.append((writes, result.revision))
            feeds.append(await store.read())
            async for batch in store.watch("", before):
                feeds += batch
                break
        random.shuffle(feeds)  # type: ignore[attr-defined]
        state, _ = mirror()
        for feed in feeds:
            match feed:
                case Snapshot():
                    state.load(feed)
                case Change():
                    state.watched([feed])
                case (sent, revision):
                    state.written(sent, revision)
        final = await store.read()
        assert {keys.host(name) for name in state.hosts} == {e.key for e in final.entries}
        for entry in final.entries:
            assert encode(state.hosts[entry.key.removeprefix(keys.HOSTS)]) == entry.value
            assert state.mod_revision(entry.key) == entry.mod_revision

    asyncio.run(scenario())
