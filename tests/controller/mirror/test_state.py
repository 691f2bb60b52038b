"""The mirror of the store: the same whatever it is fed by, and in whatever order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.events.event_ring import EventRecord
from fleet_controller.core.model import Assignment, FleetRecord, HostRecord, Meta, Shard
from fleet_controller.core.upgrades.record import UpgradeRecord
from fleet_controller.mirror.records import RecordChange, RecordKind
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode, encode_spec
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Change, Delete, Entry, Put, Snapshot

UID = "0d4b6f0e-9f43-4b70-8a3c-2b7e5b0c9d11"
FLEET = FleetRecord("spv", UID, 1, total=5)
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
ASSIGNMENT = Assignment((Shard("uid", IndexSet.span(0, 5), 1, 3),))


def mirror() -> tuple[ClusterState, list[RecordChange]]:
    told: list[RecordChange] = []
    state = ClusterState()
    state.on_change(told.append)
    return state, told


def test_the_upgrade_is_there_until_it_is_deleted_or_cannot_be_understood() -> None:
    state, told = mirror()
    record = UpgradeRecord("0.2.0", under_way={"h1": 7.0})
    for then in (None, b'{"version": "0.2.0; reboot"}', b'{"version": "0.2.0", "width": 0}'):
        revision = state.revision + 1
        state.written([Put(keys.UPGRADE, encode(record))], revision)
        assert state.upgrade == record and keys.UPGRADE not in state.broken
        state.apply(keys.UPGRADE, then, revision + 1)
        assert state.upgrade is None and (keys.UPGRADE in state.broken) == (then is not None)
    assert RecordChange(RecordKind.UPGRADE, "") in told


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
    assert state.fleet_by_uid(UID) == FLEET and state.fleet_by_uid("other") is None
    assert {state.mod_revision(key) for key in (keys.META, keys.host("h1"))} == {9}
    assert RecordChange(RecordKind.HOST, "h1") in told
    assert RecordChange(RecordKind.ASSIGNMENT, "h1") in told
    state.written([Delete(keys.host("h1")), Delete(keys.spec("uid", 2))], 10)
    assert (state.specs, state.mod_revision(keys.host("h1"))) == ({}, 0)


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


# What nobody understands


def _fleet(rest: str, name: str = "spv") -> bytes:
    return f'{{"name":"{name}","uid":"{UID}",{rest}}}'.encode()


RUBBISH = [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"id":{}}']
each_rubbish = pytest.mark.parametrize("value", RUBBISH, ids=lambda value: str(value[:9]))


def broken(state: ClusterState) -> list[str]:
    return list(state.broken)


@each_rubbish
@pytest.mark.parametrize(
    "key",
    [keys.host("h1"), keys.assignment("h1"), keys.fleet("spv"), keys.spec("uid", 1), keys.BREAKER,
     keys.UPGRADE,
     keys.rollout("uid"), keys.gone("uid")],
)  # fmt: skip
def test_a_record_that_cannot_be_understood_is_noted_and_nothing_ends(
    key: str, value: bytes
) -> None:
    state, told = mirror()
    state.apply(key, value, 3)
    if key not in state.broken:  # fields of a newer controller are no mistake
        assert value in (b"[]", RUBBISH[-1])  # protobuf takes an empty list for no fields
        return
    assert f"the store's key {key} cannot be understood" in state.broken.why(key)
    assert state.freeze is None and told
    state.apply(key, None, 4)
    assert not broken(state)


@each_rubbish
def test_an_event_that_cannot_be_understood_is_noted_and_takes_out_itself_alone(
    value: bytes,
) -> None:
    state, told = mirror()
    record = EventRecord(7, 1.0, "host_lost", "h1 is lost")
    state.apply(keys.event("0001"), encode(record), 3)
    state.apply(keys.event("0002"), encode(record), 4)
    state.apply(keys.event("0002"), value, 5)
    assert broken(state) == [keys.event("0002")] and state.events.broken_slots == {2}
    assert state.events.by_slot == {1: record} and state.freeze is None
    state.apply(keys.event("0002"), None, 6)
    state.apply(keys.event("none"), value, 7)
    assert broken(state) == [keys.event("none")] and not state.events.broken_slots
    assert not told, "nothing is decided from events"


@each_rubbish
@pytest.mark.parametrize("key", [keys.META, keys.FREEZE])
def test_what_the_store_says_of_itself_freezes_changes_where_nobody_understands_it(
    key: str, value: bytes
) -> None:
    state, _ = mirror()
    state.apply(keys.META, encode(Meta(generation=7)), 3)
    state.apply(key, value, 4)
    if key not in state.broken:
        assert value == RUBBISH[-1]
        return
    assert state.freeze is not None and key in state.freeze.reason
    assert state.meta.generation == 7, "what was known last"
    state.apply(key, None, 5)
    assert state.freeze is None


@pytest.mark.parametrize(
    "key", ["fleets/uid/spec/abc", "fleets/uid/spec/-1", "fleets/a/b/c", "hosts/", "hosts/a/b"]
)
def test_a_key_that_belongs_to_nothing_is_named_and_ignored(key: str) -> None:
    state, told = mirror()
    state.apply(key, b"rubbish", 3)
    assert broken(state) == [key] and not told
    assert (state.hosts, state.fleets, state.specs) == ({}, {}, {})
    state.apply(key, None, 4)
    assert not broken(state)


def test_a_key_of_a_newer_controller_is_no_mistake() -> None:
    state, _ = mirror()
    state.apply("new-things/1", b"whatever", 3)
    assert not broken(state)


@pytest.mark.parametrize("number", ["Infinity", "NaN", "-1.0"])
@pytest.mark.parametrize("field", ["admission", "readiness"])
def test_a_template_with_a_number_that_nobody_can_carry_out_is_broken(
    field: str, number: str
) -> None:
    name = {"admission": "per_second", "readiness": "timeout_seconds"}[field]
    state, _ = mirror()
    value = (
        f'{{"{field}":{{"{name}":"{number}"}}}}'
        if number != "-1.0"
        else (f'{{"{field}":{{"{name}":{number}}}}}')
    )
    state.apply(keys.spec("uid", 1), value.encode(), 3)
    assert broken(state) == [keys.spec("uid", 1)] and not state.specs


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (keys.fleet("spv"), _fleet('"number":3,"total":1000000000000')),
        (keys.fleet("spv"), _fleet('"number":3,"total":-5')),
        (keys.fleet("spv"), _fleet('"number":4096')),
        (keys.fleet("spv"), _fleet('"number":3', name="web")),
        (keys.fleet("spv"), b'{"name":"spv","uid":"no-uuid","number":3}'),
        (keys.host("h1"), b'{"id":"h2","address":"a:1"}'),
        (keys.host("h1"), b'{"id":"h1","address":"a:1","capacity":{"guests":-1}}'),
        (keys.host("h1"), b'{"id":"h1","address":"a:1","capacity":{"guests":4294967296}}'),
        (keys.assignment("h1"), b'{"shards":[{"fleet":"u","ranges":[[0,1099511627776]],"generation":1,"birth":2}]}'),  # noqa: E501
        (keys.assignment("h1"), b'{"shards":[{"fleet":"u","ranges":[[0,5]],"generation":-1,"birth":2}]}'),  # noqa: E501
        (keys.assignment("h1"), b'{"shards":[{"fleet":"u","ranges":[[0,5]],"generation":1,"birth":9223372036854775808}]}'),  # noqa: E501
        (keys.assignment("h1"), b'{"tombstones":[{"id":-1,"fleet":"u","ranges":[[0,5]],"born_until":2}]}'),  # noqa: E501
        (keys.rollout("u"), b'{"fleet":"u","from_generation":1,"to_generation":2,"since_revision":3,"halt_share":1e308}'),  # noqa: E501
        (keys.META, b'{"generation":-1}'),
    ],
)  # fmt: skip
def test_a_number_or_name_that_no_record_of_its_kind_can_have_is_broken(
    key: str, value: bytes
) -> None:
    state, _ = mirror()
    state.apply(key, value, 3)
    assert broken(state) == [key]
    state.apply(key, None, 4)
    assert not broken(state)


def test_a_host_whose_record_is_gone_still_holds_its_vms() -> None:
    state, told = mirror()
    state.apply(keys.host("h1"), encode(HostRecord("h1", "a:1", draining=True)), 3)
    state.apply(keys.assignment("h1"), encode(ASSIGNMENT), 4)
    state.apply(keys.host("h1"), None, 5)
    assert state.hosts["h1"].address == "a:1", "as it was known last"
    assert not state.is_stored("h1")
    state.apply(keys.assignment("h1"), encode(Assignment()), 6)
    assert "h1" not in state.hosts and told[-1] == RecordChange(RecordKind.HOST, "h1")
    assert state.draining == set()


def test_a_new_leader_knows_a_host_by_what_it_holds() -> None:
    state, told = mirror()
    state.load(Snapshot((Entry(keys.assignment("h1"), encode(ASSIGNMENT), 4, 4),), 9, "cluster"))
    assert (state.hosts["h1"].address, state.hosts["h1"].cordoned) == ("", False)
    assert RecordChange(RecordKind.HOST, "h1") in told
    state.apply(keys.host("h1"), encode(HostRecord("h1", "a:1")), 10)
    assert state.hosts["h1"].address == "a:1" and state.is_stored("h1")


def test_a_host_whose_record_cannot_be_understood_gets_nothing_until_an_operator_says_so() -> None:
    state, _ = mirror()
    state.apply(keys.host("h1"), b"rubbish", 3)
    assert state.cordoned == {"h1"} and not state.is_stored("h1")


def test_an_assignment_that_cannot_be_understood_stays_as_it_was_known() -> None:
    state, _ = mirror()
    state.apply(keys.assignment("h1"), encode(ASSIGNMENT), 3)
    state.apply(keys.assignment("h1"), b"rubbish", 4)
    assert state.assignment("h1") == ASSIGNMENT and not state.unread
    later, _ = mirror()
    later.apply(keys.assignment("h1"), b"rubbish", 4)
    assert later.unread == {"h1"} and "h1" in later.hosts
    later.apply(keys.assignment("h1"), encode(ASSIGNMENT), 5)
    assert not later.unread and not broken(later)


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


def test_all_that_is_broken_is_named_up_to_a_bound() -> None:
    state, _ = mirror()
    for number in range(3):
        state.apply(keys.host(f"h{number}"), b"rubbish", 3 + number)
    assert state.broken.in_words().startswith("the store's key hosts/h0 cannot be understood")
    assert state.broken.in_words().endswith("; also hosts/h1, hosts/h2")
    for number in range(200):
        state.apply(keys.host(f"x{number}" + "y" * 300), b"rubbish", 10 + number)
    assert state.broken.in_words().endswith(" and 194 more")
    assert len(state.broken.in_words()) < 1100
