"""Whether the store is the one that hosts were told from, and what follows where it is not.

While it is doubted nothing is planned, written or pushed; that takes one reading of the store.
Where the doubt is confirmed, changes are frozen, and the leadership begins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from fleet.keys import Term
from fleet.v1 import types_pb2 as types
from fleet_controller.core.audit import BY_LEADER
from fleet_controller.core.model import NOTHING
from fleet_controller.core.recovery import freeze
from fleet_controller.core.recovery.freeze import EpochClaim, Freeze
from fleet_controller.core.recovery.seals import SealKey, new_seal_key
from fleet_controller.events import EventLog
from fleet_controller.leader.store_doubts import StoreDoubts
from fleet_controller.leader.unproven_claims import UnprovenClaims
from fleet_controller.mirror.audit import Audit
from fleet_controller.mirror.committer import Committer, Outdated
from fleet_controller.mirror.records import put_assignment, put_freeze, put_meta, put_seal_key
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys
from fleet_controller.store.port import Store, StoreError, Unavailable

RETRY_SECONDS = 1.0


class StoreTrust:
    """Of the leadership of one term. `anew`: changes are frozen from here on, or taken again, and
    all that this leadership knows is out of date."""

    def __init__(
        self,
        state: ClusterState,
        store: Store,
        committer: Committer,
        audit: Audit,
        events: EventLog,
        term_revision: int,
        unproven: UnprovenClaims,
        make_seal_key: Callable[[], SealKey] = new_seal_key,
    ) -> None:
        self._state = state
        self._store = store
        self._committer = committer
        self._audit = audit
        self._events = events
        self._term_revision = term_revision
        self._unproven = unproven
        self._make_seal_key = make_seal_key
        self._doubts = StoreDoubts(state, unproven)
        self._doubted = asyncio.Event()
        self._begun = False
        self._said_outranked = False
        self.began_frozen = False
        self.anew = asyncio.Event()

    # ---- what is asked of it -------------------------------------------------------------

    @property
    def frozen(self) -> Freeze | None:
        """Why nothing is changed; None while changes are taken."""
        return self._state.freeze

    @property
    def trusted(self) -> bool:
        """Whether what is decided from the store may be carried out."""
        return not self.frozen and not self._doubts.reason

    @property
    def tells_assignments(self) -> bool:
        """Whether hosts may be told what the store says they are to have."""
        return not self.began_frozen and not self._doubts.reason

    def is_of_earlier_store(self, host_id: str) -> bool:
        """Whether the host still goes by what an earlier state of the store has given it."""
        return host_id in self._doubts.of_earlier_store

    def raise_unless_trusted(self) -> None:
        """Raises Refused with CHANGES_FROZEN; while the store is doubted Unavailable, since
        another controller may turn out to lead."""
        if self.frozen:
            raise freeze.refusal(self.frozen.reason)
        if self._doubts.reason:
            raise Unavailable(f"it is being read anew: {self._doubts.reason}")
        if self.anew.is_set():  # the next leadership may be deciding by now
            raise Unavailable("it is being read anew: changes are taken again")

    # ---- what it hears -------------------------------------------------------------------

    def claimed(self, host_id: str, epoch: types.Epoch) -> bool:
        """A host says which assignment it has; whether there is something new to plan for it."""
        earlier, distrusted = self.is_of_earlier_store(host_id), host_id in self._unproven
        claim = self._doubts.claimed(host_id, epoch)
        self._look_into()
        if claim is EpochClaim.UNPROVEN:
            self._note_distrust(host_id, distrusted)
            return not distrusted
        return distrusted or (claim is EpochClaim.OF_EARLIER_STORE and not earlier)

    def outranked(self, host_id: str, term: types.Term, why: str) -> bool:
        """An agent says that it has heard a newer leader, of this term; whether it proves that.
        While changes are frozen it is no news."""
        if self.began_frozen:
            return True
        distrusted = host_id in self._unproven
        own = Term(self._state.meta.generation, self._term_revision)
        proven = self._doubts.outranked(host_id, term, own, why)
        self._look_into()
        if not proven:
            self._note_distrust(host_id, distrusted)
        elif not self._said_outranked:  # every agent would say the same
            self._said_outranked = True
            self._events.add("leader_outranked", f"an agent has heard a newer leader: {why}")
        return proven

    def _look_into(self) -> None:
        if self._doubts.reason:
            self._doubted.set()

    def _note_distrust(self, host_id: str, before: bool) -> None:
        if not before:
            text = f"{host_id} is distrusted: {self._unproven.why(host_id)}"
            self._events.add("host_distrusted", text, host=host_id)

    def freeze_changed(self) -> None:
        """Changes are frozen in the store, or taken again."""
        if self._begun and self.began_frozen != (self.frozen is not None):
            self.anew.set()

    # ---- what it does --------------------------------------------------------------------

    async def claim_store(self) -> None:
        """The record about the store itself says which store it is: a new one is given its name,
        and in another one changes are frozen. Raises StoreError, Outdated."""
        if self._state.seal_key is None:
            await self._committer.write_one([put_seal_key(self._make_seal_key())])
        if keys.META in self._state.broken:
            return  # changes are frozen, and it is for an operator to say what is true
        meta = self._state.meta
        reason = freeze.replaced(meta, self._state.cluster)
        if reason and not self.frozen:
            await self._freeze(reason)
        elif not meta.cluster:
            named = msgspec.structs.replace(meta, cluster=self._state.cluster)
            await self._committer.write_one([put_meta(named)])

    def begin(self) -> None:
        """The leadership begins from the store as it is."""
        self.began_frozen = self.frozen is not None
        self._begun = True

    async def resolve_for_ever(self, go_on: Callable[[], None]) -> None:
        """Look into each doubt, until cancelled. `go_on` is called when one is over without a
        reason: what waited meanwhile goes on."""
        while True:
            await self._doubted.wait()
            self._doubted.clear()
            try:
                await self._resolve(go_on)
            except (StoreError, Outdated):
                await asyncio.sleep(RETRY_SECONDS)
                self._doubted.set()

    async def freeze_for(self, reason: str, actor: str) -> None:
        """An operator knows that the store is not the one that hosts were told from. Raises
        Outdated, StoreError."""
        await self._freeze(f"{actor} began: {reason}", actor=actor, believes_claims=True)

    async def write_for_earlier_hosts(self) -> None:
        """Hosts that go by an earlier state of the store are given an empty assignment, and what
        they have becomes known for what it is. Orphans are left as they are, unless another has
        their index by now. Raises Outdated, StoreError."""
        hosts = self._doubts.of_earlier_store
        if not hosts:
            return
        # What they were given meanwhile stands.
        there = [
            host
            for host in sorted(hosts & self._state.hosts.keys())
            if not self._state.assignment_revision(host)
        ]
        await self._committer.write([put_assignment(host, NOTHING) for host in there])
        hosts.clear()

    async def _resolve(self, go_on: Callable[[], None]) -> None:
        if not await self._read_as_leader():
            return  # another leads: the loss of leadership is on its way, and the doubt stays
        if reason := self._doubts.confirmed():
            await self._freeze(reason, believes_claims=self._doubts.by_claims_alone)
            return  # the leadership begins anew
        self._doubts.clear()
        go_on()

    async def _read_as_leader(self) -> bool:
        """Read the store anew; whether it says that this replica leads. Raises StoreError."""
        found = (await self._store.read(keys.LEADER)).entries
        await self._committer.read_again()
        leads = {entry.create_revision for entry in found if entry.key == keys.LEADER}
        return self._term_revision in leads

    async def _freeze(
        self, reason: str, *, actor: str = BY_LEADER, believes_claims: bool = False
    ) -> None:
        """From here on nothing is changed; what was decided before fails by META's guard."""
        since = self._events.now()
        await self._committer.write_one(
            [
                put_meta(self._state.meta),
                put_freeze(Freeze(reason, since, believes_claims=believes_claims)),
                self._audit.entry("freeze", actor, after=reason),
            ]
        )
        self._events.add("changes_frozen", f"changes are frozen: {reason}")
