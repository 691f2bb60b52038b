"""What an earlier version wrote is read to the same values: the store, a sandbox, contexts.

The files are in `earlier`, whose README says which version made them, and how.
"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.audit import AuditRecord
from fleet_controller.core.model import (
    Assignment,
    BreakerRecord,
    Capacity,
    FleetRecord,
    GoneFleet,
    HostRecord,
    Meta,
    RolloutRecord,
    RolloutState,
    Shard,
    Tombstone,
)
from fleet_controller.core.recovery.freeze import Freeze
from fleet_controller.election.leader_key import Holder
from fleet_controller.store import keys
from fleet_controller.store.codec import decode, decode_spec, encode, encode_spec
from fleetctl.sandbox.state.context import context_of
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.record import (
    EtcdMember,
    HollowProcess,
    Record,
    Replica,
    Settings,
    difference,
)
from megafleet.contexts import load

EARLIER = Path(__file__).parent / "earlier"
STORES = sorted(file.stem.removeprefix("store-") for file in EARLIER.glob("store-*.json"))
SPV = "25c44139-6bc1-4832-8497-397d31e1af45"

KINDS: dict[str, type[msgspec.Struct]] = {
    keys.META: Meta,
    keys.BREAKER: BreakerRecord,
    keys.FREEZE: Freeze,
    keys.HOSTS: HostRecord,
    keys.ASSIGNMENTS: Assignment,
    keys.ROLLOUTS: RolloutRecord,
    keys.GONE: GoneFleet,
    keys.AUDIT: AuditRecord,
    keys.FLEETS: FleetRecord,
}


def store(name: str) -> dict[str, bytes]:
    """Keys without the prefix, and their values."""
    held: dict[str, str] = json.loads((EARLIER / f"store-{name}.json").read_text())
    return {key: value.encode() for key, value in held.items()}


def read(name: str, key: str) -> msgspec.Struct:
    return decode(kind_of(key), key, store(name)[key])


def kind_of(key: str) -> type[msgspec.Struct]:
    return next(kind for prefix, kind in KINDS.items() if key.startswith(prefix))


@pytest.mark.parametrize("name", STORES)
def test_every_value_is_read_whole_and_would_be_written_as_it_was(name: str) -> None:
    for key, value in store(name).items():
        if keys.spec_of(key):
            assert encode_spec(decode_spec(key, value)) == value, key
        elif key != keys.LEADER:
            assert encode(decode(kind_of(key), key, value)) == value, key


def test_there_is_a_value_of_every_kind() -> None:
    held = {key for name in STORES for key in store(name)}
    for kind in (*KINDS, keys.LEADER):
        assert any(key.startswith(kind) for key in held), kind
    assert any(keys.spec_of(key) for key in held)


def test_a_host() -> None:
    assert read("whole", "hosts/hollow-00001") == HostRecord(
        id="hollow-00001",
        address="127.0.0.1:21483",
        labels={"rack": "r01"},
        capacity=Capacity(guests=20, memory_bytes=1 << 40),
        machine_id="6d0cb3a81f4452219a697198d7fd3147",
        incarnation="954237c14814499789c503e8e467d002",
        cordoned=True,
        agent_version="0.1.0",
        hypervisor="hollow",
        storage="hollow",
    )
    drained = read("recovered", "hosts/hollow-00006")
    assert isinstance(drained, HostRecord) and drained.draining and drained.drained
    lost = read("breaker", "hosts/hollow-00008")
    assert isinstance(lost, HostRecord) and lost.lost


def test_fleets_and_their_templates() -> None:
    assert read("whole", "fleets/spv") == FleetRecord(
        name="spv", uid=SPV, number=0, total=60, generation=2, changed_by="operator/sandbox"
    )
    key = keys.spec(SPV, 2)
    spec = decode_spec(key, store("whole")[key])
    assert (spec.memory_bytes, spec.vcpus, spec.image.name) == (24 << 20, 1, "golden")
    assert (spec.disk.target, spec.admission.parallel) == ("xvda", 250)
    assert (spec.on_loss, spec.placement.spread_label) == (types.ON_LOSS_REPLACE, "rack")
    uid = "c6fdc7af-be14-405b-bc28-8d0d46350031"
    assert read("whole", keys.gone(uid)) == GoneFleet(name="old", uid=uid, number=1)


def test_assignments_with_powered_off_and_restarted_shards() -> None:
    assert read("whole", "assignments/hollow-00003") == Assignment(
        shards=(
            shard(15, 16, birth=30, power=False),
            shard(16, 18, birth=30),
            shard(18, 21, birth=31),
            shard(21, 23, birth=32),
        )
    )
    restarted = read("restarted", "assignments/hollow-00005")
    assert isinstance(restarted, Assignment)
    assert [one.restart for one in restarted.shards] == [0, 15, 0]


def test_assignments_with_staged_shards_and_tombstones() -> None:
    held = read("moving", "assignments/hollow-00007")
    assert held == Assignment(
        shards=(
            shard(45, 48, birth=40),
            shard(48, 51, birth=41),
            shard(51, 52, birth=42),
            shard(43, 44, birth=48, staged=True),
        ),
        tombstones=(Tombstone(3014657, SPV, IndexSet.span(52, 53), born_until=42),),
    )
    given_up = read("given_up", "assignments/hollow-00002")
    assert isinstance(given_up, Assignment)
    assert given_up.tombstones[1] == Tombstone(
        id=720898,
        fleet="7ca5b00e-8d8f-47f7-9868-5ff5c3c2265a",
        ranges=IndexSet.span(9, 18),
        born_until=6,
        off=IndexSet.span(9, 18),
    )


def shard(start: int, stop: int, *, birth: int, power: bool = True, staged: bool = False) -> Shard:
    return Shard(SPV, IndexSet.span(start, stop), 2, birth, power, staged)


def test_rollouts() -> None:
    assert read("whole", keys.rollout(SPV)) == RolloutRecord(
        fleet=SPV,
        from_generation=1,
        to_generation=2,
        since_revision=24,
        state=RolloutState.DONE,
        by_label="rack",
        since_unix=1795901731.1103265,
        actor="operator/sandbox",
    )
    paused = read("restarted", keys.rollout("98187cf5-2f56-4e4f-9dea-5afd65c660ae"))
    assert isinstance(paused, RolloutRecord)
    assert (paused.state, paused.max_unavailable) == (RolloutState.PAUSED, 1)


def test_what_holds_for_the_whole_cluster() -> None:
    assert read("whole", keys.META) == Meta(last_number=1, cluster="b7c65b7f52480611")
    assert read("recovered", keys.META) == Meta(2, 1, 0, "fb39e1184abd9e50", 1 << 32)
    assert read("whole", keys.BREAKER) == BreakerRecord(released_until=1795905328.5296643)
    opened = read("breaker", keys.BREAKER)
    assert isinstance(opened, BreakerRecord)
    assert (opened.scopes, opened.since) == (("fleet", "rack=r03"), 1795902175.9726207)
    frozen = read("frozen", keys.FREEZE)
    assert isinstance(frozen, Freeze)
    assert (frozen.since, frozen.totals) == (1795902375.4127803, {"batch": 2})
    assert frozen.reason.endswith("it was restored from a backup")
    assert read("whole", keys.audit("000000000004")) == AuditRecord(
        4, 1795901724.5218823, "operator/sandbox", "scale", fleet="old", before="0", after="8"
    )
    leader = Holder.parse(store("whole")[keys.LEADER], term=9)
    assert leader == Holder("controller-1", "127.0.0.1:8870", 1193350702139831816, 9)
    assert leader.value() == store("whole")[keys.LEADER]


@pytest.mark.parametrize(
    ("file", "kept"), [("sandbox-up.json", False), ("sandbox-kept.json", True)]
)
def test_a_sandbox_is_opened_with_its_context(tmp_path: Path, file: str, kept: bool) -> None:
    folder = Folder.of("sandbox", {"XDG_STATE_HOME": str(tmp_path)})
    folder.path.mkdir(parents=True)
    folder.record_file.write_text((EARLIER / file).read_text())
    record = folder.load()
    asked = Settings(
        hosts=8, per_host=20, profile="instant", seed=1, hosts_per_rack=2,
        store="etcd", controllers=1, etcd=1,
    )  # fmt: skip
    assert record == Record(
        id="cd29d01cdf19e068",
        name="sandbox",
        asked=asked,
        hosts=8,
        store_version="etcd 3.4.23",
        reasons=[],
        etcd=[EtcdMember("etcd-1", 7262, 7248)],
        controllers=[Replica("controller-1", 8870)],
        hollow=[HollowProcess("hollow-1", 1, 4), HollowProcess("hollow-2", 5, 8)],
        kept=kept,
    )
    assert not difference(record, asked)
    contexts = tmp_path / "config.toml"
    written = (EARLIER / "contexts.toml").read_text()
    contexts.write_text(written.replace("{STATE}", str(tmp_path)))
    held = load(contexts)
    assert (held.current, held.named) == ("sandbox", {"sandbox": context_of(record, folder)})
