"""All that a leader knows: the store's mirror, what hosts report, what links find.

Plain data with one writer for each part. Changes decide from it, queries answer from it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet.certificates.certificate_dates import CertificateFile
from fleet.keys import Term
from fleet.transport import Peer, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.assignment_messages import AssignmentMessages
from fleet_controller.agents.link_table import LinkTable
from fleet_controller.core.host_claims import believed
from fleet_controller.core.model import (
    ClusterView,
    FleetRecord,
    HostRecord,
    HostView,
    ObservedFleet,
    RolloutRecord,
    Shard,
)
from fleet_controller.core.recovery.freeze import are_many, is_ahead
from fleet_controller.core.refusals import known_host
from fleet_controller.core.schedules.outlook import Outlook, Outlooks
from fleet_controller.events import EventLog
from fleet_controller.leader.allowances import Allowances
from fleet_controller.leader.environment import LeaderSettings
from fleet_controller.leader.expiring_certificates import ExpiringCertificates
from fleet_controller.leader.inventory import ReportedInventory
from fleet_controller.mirror.misplaced_vms import MisplacedVms
from fleet_controller.mirror.state import ClusterState
from fleet_controller.observed.begun_anew import BegunAnew
from fleet_controller.observed.boot_durations import BootDurations
from fleet_controller.observed.image_fetches import ImageFetches
from fleet_controller.observed.refused_hosts import RefusedHosts
from fleet_controller.observed.reports import Observed
from fleet_controller.observed.standby_reachability import StandbyReachability
from fleet_controller.observed.unproven_claims import UnprovenClaims
from fleet_controller.observed.vectors import NO_HOST
from fleet_controller.pulse import Pulse
from fleet_controller.store import keys

_HOSTS_A_SLICE = 64  # a quarter of a millisecond


@dataclass(frozen=True, slots=True)
class LeaderMemory:
    """Of one leadership. `clock`: monotonic, in seconds; `began`: when it began, on that clock.
    `durable`: whether what was acknowledged survives a restart of everything."""

    replica: str
    term_revision: int
    clock: Callable[[], float]
    began: float
    durable: bool
    settings: LeaderSettings
    events: EventLog
    state: ClusterState
    observed: Observed
    links: LinkTable
    reachability: StandbyReachability
    refused: RefusedHosts
    inventory: ReportedInventory  # what hosts have, while changes are frozen
    unproven: UnprovenClaims
    messages: AssignmentMessages
    allowances: Allowances
    certificates: ExpiringCertificates
    host_records: Pulse  # beats when one has changed
    boots: BootDurations
    image_fetches: ImageFetches  # what hosts lack for their VMs
    begun_anew: BegunAnew  # on purpose, of fleets with a disruption budget
    # Uids of fleets whose budget keeps VMs from going down, of the last pass.
    budget_waits: set[str]
    misplaced: MisplacedVms
    outlooks: Outlooks  # what is to come of totals by time

    @staticmethod
    def of_a_new_leader(
        replica: str,
        term_revision: int,
        clock: Callable[[], float],
        durable: bool,
        settings: LeaderSettings,
        events: EventLog,
        own_certificates: Callable[[], Sequence[CertificateFile]] = tuple,
        told_of_certificates: dict[str, int] | None = None,
        host_certificate_days: float = math.inf,
    ) -> LeaderMemory:
        """Nothing is known yet."""
        state, observed = ClusterState(), Observed(clock)
        return LeaderMemory(
            replica, term_revision, clock, clock(), durable, settings, events, state, observed,
            LinkTable(clock), StandbyReachability(), RefusedHosts(),
            ReportedInventory(lambda: state.seals), UnprovenClaims(clock),
            AssignmentMessages(state), Allowances(state),
            ExpiringCertificates(
                own_certificates, observed, state.hosts, events,
                {} if told_of_certificates is None else told_of_certificates,
                host_certificate_days,
            ),
            Pulse(),
            BootDurations(),
            ImageFetches(),
            BegunAnew(clock),
            set(),
            MisplacedVms(state),
            Outlooks(),
        )  # fmt: skip

    @property
    def term(self) -> types.Term:
        """As agents are told it, with its seal."""
        return self.state.seals.term(Term(self.state.meta.generation, self.term_revision))

    @property
    def settling(self) -> bool:
        """Whether this leadership is so young that what it has not heard says nothing."""
        young = self.clock() - self.began < self.settings.settle
        return young and not self.links.settled.is_set()

    def outlook(self, fleet: FleetRecord) -> Outlook | None:
        """None: nothing changes its total by time."""
        state, uid = self.state, fleet.uid
        return self.outlooks.of(
            uid, state.schedules.get(uid), state.spec_of(fleet), self.events.now()
        )

    def is_live(self, host_id: str) -> bool:
        return self.links.is_live(host_id)

    def host(self, host_id: str) -> HostRecord:
        """Raises Refused with NO_SUCH_HOST."""
        return known_host(self.state.hosts, host_id)

    def believed(self, host_id: str) -> HostRecord:
        """The host's record with as many guests as count. Raises Refused with NO_SUCH_HOST."""
        return believed(self.host(host_id), self.state.guest_claims.usual)

    def is_expelled(self, host_id: str) -> bool:
        """Whether its name is denied: it is not dialled, and what it says counts for nothing."""
        return str(Peer(Role.AGENT, host_id)) in self.state.denied

    def view(self) -> ClusterView:
        """A snapshot to decide from."""
        return self._view({one: self.host_view(one) for one in self.state.hosts})

    async def view_in_slices(self) -> ClusterView:
        """The same, made a few hosts at a time, so that answers are given in between: what is
        decided from it holds if the store's revision is the same as before."""
        hosts: dict[str, HostView] = {}
        for number, one in enumerate(tuple(self.state.hosts)):
            if one in self.state.hosts:
                hosts[one] = self.host_view(one)
            if number % _HOSTS_A_SLICE == _HOSTS_A_SLICE - 1:
                await asyncio.sleep(0)
        return self._view(hosts)

    def _view(self, hosts: dict[str, HostView]) -> ClusterView:
        state = self.state
        return ClusterView(
            state.stamp,
            hosts,
            dict(state.fleets),
            dict(state.specs),
            dict(state.rollouts),
            self._standings(),
            frozenset(state.gone),
            self._held_back(),
            dict(state.orders),
            self.begun_anew.counts(),
            self.begun_anew.unknown,
            dict(state.rebalances),
            self.events.now(),
        )

    def _standings(self) -> dict[str, ObservedFleet]:
        """What runs of fleets that change, or that have a budget, by uid."""
        state = self.state
        return {
            uid: self.observed.standing(uid, _steady_seconds(state.rollouts.get(uid)))
            for uid in state.rolling | self._disrupted()
        }

    def _disrupted(self) -> set[str]:
        """Uids of fleets with a disruption budget that something may use: VMs are ordered to begin
        anew, or are prepared elsewhere. What of a million VMs runs is worth no look without."""
        staging = {uid for uid, hosts in self.observed.staging.items() if hosts}
        used = staging | self.state.orders.keys()
        return used & self.state.budgeted() if used else set()

    def _held_back(self) -> dict[str, str]:
        """Why VMs of fleets are placed nowhere for now, by uid."""
        state = self.state
        for host in sorted(state.unread):
            if not self.observed.host(host).seen:
                why = f"what {host} holds is not known: {state.broken.why(keys.assignment(host))}"
                return dict.fromkeys((fleet.uid for fleet in state.fleets.values()), why)
        return {
            fleet.uid: state.broken.why(key)
            for fleet in state.fleets.values()
            if (key := keys.spec(fleet.uid, fleet.generation)) in state.broken
        }

    def host_view(self, host_id: str) -> HostView:
        """One host of it, believed about itself as far as hosts are. Raises Refused with
        NO_SUCH_HOST."""
        record, seen = self.believed(host_id), self.observed.host(host_id)
        return HostView(
            record,
            self.state.assignment(host_id),
            self._takes_orders(host_id),
            seen.released,
            (*seen.orphans, *seen.unassigned) if host_id in self.state.unread else seen.orphans,
            tuple((uid, birth, have) for (uid, _, birth), have in seen.prepared.items()),
        )

    def _takes_orders(self, host_id: str) -> bool:
        """Whether what is placed there now would be told it now: it is there as far as is known,
        can keep what it is told, and what it was told and holds is beyond doubt."""
        doubtful = host_id in self.unproven or host_id in self.state.unread
        able = host_id not in self.observed.refusing
        return self.links.is_reachable(host_id) and able and not doubtful

    def holder_of(self, uid: str, index: int) -> tuple[str, Shard] | None:
        """The host that has a VM of the fleet, and the shard there; of hosts that have it both
        held and staged, the one that holds it. None when it is on no host."""
        vector = self.observed.vectors.get(uid)
        number = vector.holder(index) if vector else NO_HOST
        if number == NO_HOST:
            return None
        host_id = self.observed.names[number]
        shards = self.observed.host(host_id).assignment.shards
        mine = (one for one in shards if one.fleet == uid and index in one.ranges)
        return next(((host_id, shard) for shard in mine), None)

    def assignment_message(self, host_id: str) -> wire.AssignRequest | None:
        """What the host is to have, as the store says; None when it was never given anything."""
        return self.messages.request(host_id, self.term)

    def hosts_ahead(self) -> frozenset[str]:
        """The hosts heard that hold a newer assignment than the store can have given them: those
        that prove it; and all that claim it, where many do or an operator believes them."""
        ahead = self._claiming_to_be_ahead()
        proven = frozenset(host for host in ahead if self.inventory.hosts[host].proven)
        return ahead if self._believes(len(ahead) - len(proven)) else proven

    def doubtful_hosts(self) -> frozenset[str]:
        """The hosts heard whose word counts for nothing that the store does not say: they prove
        nothing of what they were to have, and are few."""
        ahead = self._claiming_to_be_ahead()
        proving = frozenset(
            host for host, has in self.inventory.hosts.items() if has.proven or has.told is not None
        )
        if self._believes(len(ahead - proving)):
            return frozenset()
        return frozenset(self.inventory.hosts) - proving

    def _claiming_to_be_ahead(self) -> frozenset[str]:
        generation = self.state.meta.generation
        return frozenset(
            host
            for host, has in self.inventory.hosts.items()
            if is_ahead(has.epoch, generation, self.state.assignment_known(host))
        )

    def _believes(self, unproven: int) -> bool:
        """Whether so many hosts that prove nothing are believed to be ahead."""
        freeze = self.state.freeze
        by_word = freeze is not None and freeze.believes_claims
        return by_word or are_many(unproven, len(self.state.hosts))


def _steady_seconds(rollout: RolloutRecord | None) -> float:
    return rollout.promote_after if rollout else 0.0
