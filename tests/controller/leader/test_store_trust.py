"""Signs that the store was set back: believed only by who leads, and only after looking again. And
hosts whose assignment is of an earlier store, and that this one has given none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from fleet.keys import NO_EPOCH, Epoch, Term
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import HostRecord, Meta
from fleet_controller.core.recovery.freeze import are_many
from fleet_controller.core.recovery.seals import SealKey, Seals
from fleet_controller.events import EventLog
from fleet_controller.leader.store_doubts import StoreDoubts
from fleet_controller.leader.store_trust import StoreTrust
from fleet_controller.leader.unproven_claims import UnprovenClaims
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.committer import Committer, Outdated
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.codec import encode
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Entry, Guard, Put, Snapshot, Unavailable
from tests.virtual_loop import virtual

KEY = SealKey("5e" * 32)
SEALS = Seals(KEY)
HELD = b'{"tombstones":[{"id":1,"fleet":"uid","ranges":[[0,1]],"born_until":1}]}'


# What is doubted


def doubts() -> StoreDoubts:
    """Of a store of generation 1 that was first read at revision 3."""
    return doubting(mirror())


def doubting(state: ClusterState) -> StoreDoubts:
    return StoreDoubts(state, UnprovenClaims(lambda: 0.0))


def proven(host: str, epoch: Epoch) -> types.Epoch:
    """As a leader of this store has told it."""
    return SEALS.epoch(host, epoch)


def mirror() -> ClusterState:
    state = ClusterState()
    meta = Entry(keys.META, encode(Meta()), 3, 3)
    seal = Entry(keys.SEAL, encode(KEY), 2, 2)
    state.load(Snapshot((meta, seal), 3, "cluster"))
    return state


def test_a_host_that_is_ahead_is_a_reason_until_the_store_has_what_it_holds() -> None:
    state = mirror()
    doubted = doubting(state)
    doubted.claimed("h1", proven("h1", Epoch(1, 900)))
    assert "host h1 holds the assignment of epoch 1.900" in doubted.reason
    assert doubted.confirmed() == doubted.reason
    state.written([Put(keys.assignment("h1"), b"{}")], 900)
    assert not doubted.confirmed()


@pytest.mark.parametrize("said", [Epoch(1, 3), NO_EPOCH, Epoch(1, 2)])
def test_what_the_store_may_have_told_raises_no_doubt(said: Epoch) -> None:
    doubted = doubts()
    doubted.claimed("h1", proven("h1", said))
    assert not doubted.reason


def test_a_host_whose_key_was_deleted_is_not_ahead_by_what_it_had_before() -> None:
    state = mirror()
    state.written([Put(keys.assignment("h1"), b"{}")], 900)
    state.apply(keys.assignment("h1"), None, 950)
    doubted = doubting(state)
    doubted.claimed("h1", proven("h1", Epoch(1, 900)))
    assert not doubted.reason


# What follows


class FailingCommitter(Committer):
    """`fails`: the errors of the next readings."""

    fails: list[Exception]

    async def read_again(self) -> None:
        if self.fails:
            raise self.fails.pop(0)
        await super().read_again()


@dataclass
class Rig:
    """A leader on a store of generation 2 that knows hosts a and b."""

    store: MemoryStore
    state: ClusterState
    committer: FailingCommitter
    trust: StoreTrust
    unproven: UnprovenClaims
    events: EventLog
    gone_on: list[str] = field(default_factory=list)

    @property
    def frozen(self) -> str:
        return self.state.freeze.reason if self.state.freeze else ""

    async def resolve(self) -> None:
        task = asyncio.create_task(self.trust.resolve_for_ever(lambda: self.gone_on.append("")))
        await asyncio.sleep(30)
        task.cancel()

    async def assignments(self) -> dict[str, bytes]:
        found = (await self.store.read(keys.ASSIGNMENTS)).entries
        return {entry.key: entry.value for entry in found}


async def make(*, leads: bool = True) -> Rig:
    store = MemoryStore(asyncio.get_running_loop().time)
    hosts = [Put(keys.host(name), encode(HostRecord(name, f"{name}:1"))) for name in ("a", "b")]
    seal = Put(keys.SEAL, encode(KEY))
    await store.txn([], [Put(keys.META, encode(Meta(generation=2))), seal, *hosts])
    term = (await store.txn([], [Put(keys.LEADER, b"me")])).revision
    state = ClusterState()
    state.load(await store.read())
    guard = Guard(keys.LEADER, create_revision=term)
    committer = FailingCommitter(store, state, guard, lambda: None)
    committer.fails = []
    audit = Audit(state.audit, lambda: 0.0)
    events = EventLog(lambda: 0.0)
    unproven = UnprovenClaims(lambda: 0.0)
    own = term if leads else term + 1
    trust = StoreTrust(state, store, committer, audit, events, own, unproven)
    trust.begin()
    return Rig(store, state, committer, trust, unproven, events)


@virtual
async def test_a_host_that_is_ahead_freezes_changes() -> None:
    rig = await make()
    rig.trust.claimed("h1", proven("h1", Epoch(2, 900)))
    assert not rig.trust.trusted and not rig.trust.tells_assignments, "nothing is done meanwhile"
    await rig.resolve()
    assert "host h1 holds the assignment of epoch 2.900" in rig.frozen and not rig.gone_on


@virtual
async def test_a_store_that_has_it_after_all_is_trusted() -> None:
    rig = await make()
    written = await rig.store.txn([], [Put(keys.assignment("h1"), b"{}")])
    rig.trust.claimed("h1", proven("h1", Epoch(2, written.revision)))
    assert not rig.trust.trusted
    await rig.resolve()
    assert rig.trust.trusted and len(rig.gone_on) == 1 and not rig.frozen


@virtual
async def test_a_host_that_has_heard_of_a_newer_leader_than_can_be_freezes_changes() -> None:
    rig = await make()
    rig.trust.outranked("h1", SEALS.term(Term(2, 900)), "h1 has heard (2, 900)")
    await rig.resolve()
    assert "no other controller leads" in rig.frozen


@virtual
async def test_who_does_not_lead_any_more_freezes_nothing_and_does_nothing() -> None:
    rig = await make(leads=False)
    rig.trust.outranked("h1", SEALS.term(Term(2, 900)), "h1 has heard (2, 900)")
    rig.trust.claimed("h1", proven("h1", Epoch(2, 900)))
    await rig.resolve()
    assert not rig.frozen and not rig.gone_on and not rig.trust.trusted


@pytest.mark.parametrize("error", [Unavailable("away"), Outdated("moved on")])
@virtual
async def test_a_store_that_cannot_be_read_is_asked_again(error: Exception) -> None:
    rig = await make()
    rig.committer.fails = [error, error]
    rig.trust.claimed("h1", proven("h1", Epoch(2, 900)))
    await rig.resolve()
    assert rig.frozen and not rig.committer.fails


@virtual
async def test_a_leadership_is_out_of_date_once_changes_are_frozen() -> None:
    rig = await make()
    rig.trust.freeze_changed()
    assert not rig.trust.anew.is_set(), "it began so"
    rig.trust.claimed("h1", proven("h1", Epoch(2, 900)))
    await rig.resolve()
    rig.trust.freeze_changed()
    assert rig.trust.anew.is_set()


@virtual
async def test_one_is_given_an_empty_assignment_and_who_was_never_given_any_is_not() -> None:
    rig = await make()
    assert rig.trust.claimed("a", proven("a", Epoch(1, 9))) and not rig.trust.claimed(
        "a", proven("a", Epoch(1, 9))
    )
    assert not rig.trust.claimed("b", proven("b", NO_EPOCH))
    await rig.trust.write_for_earlier_hosts()
    assert await rig.assignments() == {keys.assignment("a"): b"{}"}
    assert not rig.trust.is_of_earlier_store("a") and not rig.trust.claimed(
        "a", proven("a", Epoch(1, 9))
    )


@virtual
async def test_what_one_was_given_meanwhile_stands() -> None:
    rig = await make()
    assert rig.trust.claimed("a", proven("a", Epoch(1, 9)))
    await rig.committer.write_one([Put(keys.assignment("a"), HELD)])
    await rig.trust.write_for_earlier_hosts()
    assert await rig.assignments() == {keys.assignment("a"): HELD}


# What one host says alone

LIES = [
    types.Epoch(store_generation=2**64 - 1, revision=2**63 - 1),
    types.Epoch(store_generation=2, revision=900),
    types.Epoch(store_generation=2, revision=900, seal=b"0123456789abcdef"),
    Seals(SealKey("00" * 32)).epoch("a", Epoch(2, 900)),
    SEALS.epoch("b", Epoch(2, 900)),  # what was said to another host
]


@pytest.mark.parametrize("lie", LIES)
@virtual
async def test_one_host_that_proves_nothing_freezes_nothing_and_is_named(lie: types.Epoch) -> None:
    rig = await make()
    assert rig.trust.claimed("a", lie) and not rig.trust.claimed("a", lie)
    assert rig.trust.trusted and rig.trust.tells_assignments
    await rig.resolve()
    assert not rig.frozen and rig.trust.trusted
    assert rig.unproven.hosts == ["a"] and "host a claims an assignment" in rig.unproven.why("a")
    (event,) = rig.events.page(0, 10, "", "").events
    assert (event.kind, event.host) == ("host_distrusted", "a")


@pytest.mark.parametrize("term", [types.Term(), types.Term(store_generation=2**64 - 1)])
@virtual
async def test_a_term_that_no_leader_of_this_store_had_is_believed_of_nobody(
    term: types.Term,
) -> None:
    rig = await make()
    assert not rig.trust.outranked("a", term, "a has heard a leader of term (9, 9)")
    await rig.resolve()
    assert not rig.frozen and rig.trust.trusted
    assert rig.unproven.why("a") == "a has heard a leader of term (9, 9)"


@virtual
async def test_a_term_of_the_past_that_is_proven_is_no_claim_to_a_newer_leader() -> None:
    rig = await make()
    assert not rig.trust.outranked("a", SEALS.term(Term(1, 1)), "a says so")
    assert rig.trust.trusted


@virtual
async def test_a_host_is_trusted_again_once_it_claims_nothing() -> None:
    rig = await make()
    rig.trust.claimed("a", LIES[0])
    assert rig.trust.claimed("a", types.Epoch()), "there is something to plan"
    assert not rig.unproven.hosts and rig.trust.trusted


@virtual
async def test_many_hosts_that_agree_freeze_changes_where_the_key_is_gone() -> None:
    rig = await make()
    for host in ("a", "b"):
        rig.trust.claimed(host, LIES[1])
    await rig.resolve()
    assert "2 of 2 hosts claim to know more than the store" in rig.frozen
    assert rig.state.freeze is not None and rig.state.freeze.believes_claims


@virtual
async def test_who_is_not_a_host_of_the_store_does_not_count_among_many() -> None:
    rig = await make()
    for host in ("a", "x", "y", "z"):
        rig.trust.claimed(host, LIES[1])
    await rig.resolve()
    assert not rig.frozen and rig.trust.trusted


@pytest.mark.parametrize(
    ("claiming", "known", "many"),
    [(1, 1, False), (1, 2, False), (2, 2, True), (2, 20, True), (2, 21, False),
     (45, 4480, False), (447, 4480, False), (448, 4480, True)],
)  # fmt: skip
def test_one_in_a_hundred_hosts_in_agreement_are_not_many(
    claiming: int, known: int, many: bool
) -> None:
    assert are_many(claiming, known) is many


@virtual
async def test_an_operator_freezes_changes_by_a_word() -> None:
    rig = await make()
    await rig.trust.freeze_for("etcd is that of the other site", "operator/me")
    assert rig.frozen == "operator/me began: etcd is that of the other site"
    assert rig.state.freeze is not None and rig.state.freeze.believes_claims


@pytest.mark.parametrize("value", [None, b"{}", b"rubbish", b'{"key":"xyz"}'])
@virtual
async def test_a_store_without_a_good_key_is_given_one(value: bytes | None) -> None:
    rig = await make()
    rig.state.apply(keys.SEAL, value, rig.state.revision + 1)
    rig.trust.claimed("a", SEALS.epoch("a", Epoch(2, 900)))
    assert rig.unproven.hosts == ["a"], "nothing is proven without it"
    assert rig.state.seal_key is None
