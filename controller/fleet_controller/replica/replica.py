"""One controller replica: stands by or leads, and knows which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fleet_controller.agents.port import AgentDialer
from fleet_controller.core.model import DeniedRecord
from fleet_controller.election.election import Election, LeaderLease
from fleet_controller.election.leader_key import Holder
from fleet_controller.events import EventLog
from fleet_controller.leader.environment import LeaderEnvironment
from fleet_controller.replica.leader import Leader
from fleet_controller.replica.store_health import StoreHealthPoll
from fleet_controller.store.port import Store


class NotLeading(Exception):
    """This replica does not lead; `address` is the leader's, empty when none is known."""

    def __init__(self, message: str, address: str) -> None:
        super().__init__(message)
        self.address = address


@dataclass(frozen=True, slots=True)
class Past:
    """A leadership that is over: why, and how many seconds ago what is known of it was true."""

    leader: Leader
    reason: str
    seconds: float


class Replica:
    """Leads whenever the election says so."""

    def __init__(
        self,
        name: str,
        election: Election,
        environment: LeaderEnvironment,
        new_uid: Callable[[], str],
    ) -> None:
        self.name = name
        self._environment = environment
        self._election = election
        self._new_uid = new_uid
        self._leading: Leader | None = None
        self._last: Leader | None = None
        self._last_term = 0
        self._lost_at = 0.0
        self.store_health = StoreHealthPoll(
            environment.store, environment.clock, environment.events
        )

    async def run(self) -> None:
        """Until cancelled."""
        await self._election.lead(self._lead)

    def leader(self) -> Leader:
        """What to ask. Raises NotLeading."""
        leading, leadership = self._leading, self._election.leadership
        if leading and leadership and leadership.valid() and leading.ready.is_set():
            self._last = None  # as large as its successor
            return leading
        if leadership:
            raise NotLeading("this controller has just become the leader and still reads", "")
        known = self._election.current_leader()
        if known and known[0] != self.name:
            raise NotLeading(f"this controller stands by; {known[1]} leads", known[1])
        raise NotLeading(f"no controller leads: {self._nobody_leads()}", "")

    def _nobody_leads(self) -> str:
        """Why, as far as this replica can tell."""
        store = self._environment.store.description
        unsure = f"{store} cannot be reached, has no quorum, or has not chosen one yet"
        return self._election.refusal or unsure

    def leadership_name(self) -> str:
        """A name for this leadership; no other leadership has the same. Printable ASCII. Raises
        NotLeading."""
        term = self.leader().memory.term
        return f"{ascii(self.name)[1:-1]} {term.store_generation}.{term.revision}"

    def past(self) -> Past | None:
        """What this replica knew when it led. None when another is known to have led since. It
        ages; nothing may be changed from it."""
        holder = self._election.holder
        led_since = holder is not None and holder.term > self._last_term
        if self._last is None or self._election.leadership or led_since:
            return None
        store = self._environment.store.description
        why = self._election.refusal or f"{store} cannot be reached or has no quorum"
        reason = f"no controller leads, as {why}; this is what {self.name} knew when it led"
        return Past(self._last, reason, self._environment.clock() - self._lost_at)

    @property
    def denied(self) -> Mapping[str, DeniedRecord]:
        """Who is denied, by role/name, as far as this replica knows: as the leader, or from when
        it led. One that has only stood by knows nobody; it passes calls on to one that does."""
        leading = self._leading
        known = leading if leading and leading.ready.is_set() else self._last
        return known.memory.state.denied if known else {}

    @property
    def other_leader(self) -> Holder | None:
        """The other replica that leads, as far as is known; None while this one does, or nobody."""
        holder = self._election.holder
        if self._election.leadership or holder is None or not holder.address:
            return None
        return None if holder.replica == self.name else holder

    @property
    def known_leader(self) -> Holder | None:
        """The replica that leads, this one or another, as far as is known."""
        return self._election.holder

    @property
    def events(self) -> EventLog:
        return self._environment.events

    @property
    def store(self) -> Store:
        return self._environment.store

    @property
    def dialer(self) -> AgentDialer:
        return self._environment.dialer

    def clock(self) -> float:
        """Monotonic, in seconds: the leader's, while this replica leads."""
        return self._environment.clock()

    async def until_leader_is_not(self, term: int) -> None:
        """Until this term is not the one that is known to be under way."""
        await self._election.until_over(term)

    async def another_leads(self) -> Holder:
        """Wait until another replica leads, as far as is known."""
        while (leader := self.other_leader) is None:
            await self._election.until_changed()
        return leader

    async def depose(self, leader: Holder) -> None:
        """End the leadership of a replica that is known to be gone, without waiting for its
        lease. Its successor need not be this one."""
        await self._election.depose(leader)

    async def _lead(self, lease: LeaderLease) -> None:
        """Make a leader and run it. When changes are frozen or taken again, make another under
        the same lease."""
        while True:
            leading = self._leading = Leader(lease, self._environment, self._new_uid, self.name)
            try:
                await leading.run()
            finally:
                self._leading = None
                self._environment.events.end()
                if leading.ready.is_set():
                    self._last, self._last_term = leading, lease.term_revision
                    self._lost_at = self._environment.clock()
