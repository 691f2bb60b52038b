"""The controller's words: what is kept in the store, and a snapshot of all of it.

Records are immutable and hold intent only; what agents observe is never in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import IntEnum, StrEnum
from typing import Annotated, Literal

import msgspec

from fleet.identity import MAX_FLEET_NUMBER, MAX_INDEX, MAX_SITE, Fleet
from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.holdings import UNTOLD, HostHoldings

# Bounds of what is stored: those of the wire, and what indices and numbers of fleets may be. They
# are checked where a record is read.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
LONGEST = 2**63 - 1
Long = Annotated[int, msgspec.Meta(ge=0, le=LONGEST)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Total = Annotated[int, msgspec.Meta(ge=0, le=MAX_INDEX + 1)]
FleetNumber = Annotated[int, msgspec.Meta(ge=0, le=MAX_FLEET_NUMBER)]
Site = Annotated[int, msgspec.Meta(ge=0, le=MAX_SITE)]
# UUIDs of domains are derived from it.
Uid = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class Capacity(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a host admits, or what one VM takes. In a host's, 0 means that the resource is not
    limited; except for guests, of which 0 means none."""

    guests: Count = 0
    memory_bytes: Long = 0
    disks: Count = 0
    vifs: Count = 0
    event_channels: Count = 0
    clones: Count = 0
    boots: Count = 0


# What becomes of a drain at its deadline; empty: it has none.
DrainEnd = Literal["", "stop", "force"]


class HostRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One dom0, as its agent announced it and operators set it."""

    id: str
    address: str
    labels: Mapping[str, str] = {}
    capacity: Capacity = Capacity()
    binding_limit: str = ""
    machine_id: str = ""
    incarnation: str = ""
    cordoned: bool = False
    draining: bool = False
    drained: bool = False  # the drain is over: the host was seen empty
    lost: bool = False  # declared: what it held may be placed elsewhere
    quarantine: str = ""  # why it gets no further VMs
    agent_version: str = ""
    hypervisor: str = ""
    storage: str = ""
    upgrades: bool = False  # its agent can be told to upgrade itself
    max_guests: int = 0  # an operator's bound of what it claims; 0: none
    pinned: bool = False  # what it announces changes neither labels nor capacity
    awaits_approval: bool = False  # it is new, and gets nothing before an operator has said so
    holdings: HostHoldings = UNTOLD  # what it has of what fleets ask for
    drain_change: str = ""  # the id of the change that drained it, or ended that
    # When its drain has been long enough, in seconds since 1970 (0: never), and what becomes of it
    # then: it ends, or it goes on though fleets' budgets would not let it.
    drain_until: float = 0.0
    drain_then: DrainEnd = ""
    drain_ignores_budget: bool = False


class FleetRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fleet: what it is called and how many VMs it is to have."""

    name: str
    uid: Uid
    number: FleetNumber
    site: Site = 0
    total: Total = 0
    generation: Count = 1
    deleting: bool = False
    changed_by: str = ""
    change: str = ""  # the id of the last change of it
    applied: Count = 0  # the generation of the file that was applied last; 0: the newest
    owners: tuple[str, ...] = ()  # people, who are its admins, and whose bounds it counts for

    @property
    def identity(self) -> Fleet:
        return Fleet(self.uid, self.name, self.number, self.site)

    @property
    def wanted(self) -> IndexSet:
        """The indices that are to run."""
        return IndexSet.span(0, self.total)


class Shard(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one host runs of one fleet with one generation, birth and power.

    `staged`: cloned and defined here, while another host has it and has not released it yet; its
    agent is told that its power is off. `restart`, `retry`: as in fleet.v1.Shard.
    """

    fleet: str
    ranges: IndexSet
    generation: Count
    birth: Long
    power: bool = True
    staged: bool = False
    restart: Long = 0
    retry: Long = 0

    @property
    def kin(self) -> Kin:
        return Kin(self.fleet, self.generation, self.birth)


class Tombstone(msgspec.Struct, frozen=True, omit_defaults=True):
    """Ranges a host must release; only VMs born up to `born_until` are meant."""

    id: Long
    fleet: str
    ranges: IndexSet
    born_until: Long
    # Of a host that was given up: what an operator had stopped, until it is placed elsewhere.
    off: IndexSet = EMPTY
    staged: bool = False  # of what never ran on the host


class Assignment(msgspec.Struct, frozen=True, omit_defaults=True):
    """All shards and tombstones of one host."""

    shards: tuple[Shard, ...] = ()
    tombstones: tuple[Tombstone, ...] = ()

    def indices(self, fleet: str) -> IndexSet:
        """What the host is to run of the fleet."""
        return IndexSet.union_of(shard.ranges for shard in self.shards if shard.fleet == fleet)


NOTHING = Assignment()


class LabelledAssignment(Assignment, frozen=True, omit_defaults=True):
    """As it is written: with the id of the change that it follows from. No decision sees that, so
    that two assignments are the same whatever they follow from."""

    change: str = ""


class Label(msgspec.Struct, frozen=True):
    """What is read of it besides the assignment."""

    change: str = ""


class GoneFleet(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fleet that was deleted. It is remembered for hosts that were away: what is left of it on
    them may be released, and their agents must be told its name."""

    name: str
    uid: Uid
    number: FleetNumber
    site: Site = 0

    @property
    def identity(self) -> Fleet:
        return Fleet(self.uid, self.name, self.number, self.site)


class BreakerRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """While it is open, hosts of these scopes are not declared lost by time: too many of them are
    gone at once.

    `scopes`: "fleet", or label=value of a rack. Times are seconds since 1970. An operator keeps it
    closed until `released_until`.
    """

    scopes: tuple[str, ...] = ()
    reason: str = ""
    since: float = 0.0
    released_until: float = 0.0


class DeniedRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody whose certificate counts for nothing until this is taken back. A host that is
    denied is expelled: it is not dialled either. `since`: seconds since 1970."""

    role: str
    name: str
    reason: str = ""
    actor: str = ""  # who has denied it
    since: float = 0.0

    @property
    def who(self) -> str:
        return f"{self.role}/{self.name}"


class Meta(msgspec.Struct, frozen=True, omit_defaults=True):
    """Facts about the store itself. `generation` grows when an operator has recovered it.

    `cluster`: the etcd cluster in which this was written; empty in records of older controllers.
    `raised`: what placement adds to the store's revision, so that births and tombstones after a
    recovery are above all that were given before the store was set back.
    """

    generation: Long = 1
    last_number: Annotated[int, msgspec.Meta(ge=-1, le=MAX_FLEET_NUMBER)] = -1
    site: Site = 0
    cluster: str = ""
    raised: Long = 0


class Health(IntEnum):
    """How a host stands with the leader; values are those of fleet.v1.HostHealth."""

    LIVE = 1
    UNREACHABLE = 2
    SUSPECT = 3
    LOST = 4


class HostView(msgspec.Struct, frozen=True):
    """One host as placement sees it."""

    record: HostRecord
    assignment: Assignment
    reachable: bool  # live, or not yet tried by a new leader
    # Tombstones the host has acknowledged; they hold nothing any more.
    released: frozenset[int] = frozenset()
    # Marked VMs on the host that are neither assigned to it nor tombstoned: (uid, birth, indices)
    orphans: tuple[tuple[str, int, IndexSet], ...] = ()
    # Staged VMs that the host has cloned and defined: (uid, birth, indices)
    prepared: tuple[tuple[str, int, IndexSet], ...] = ()

    @property
    def pending_tombstones(self) -> tuple[Tombstone, ...]:
        """Those the host has not acknowledged."""
        if not self.assignment.tombstones:
            return ()
        return tuple(t for t in self.assignment.tombstones if t.id not in self.released)


class RolloutState(StrEnum):
    """Where a rollout stands; those that are over stay so."""

    RUNNING = "running"
    CANARY = "canary"  # changes its canaries alone, and waits for its promotion
    HELD = "held"  # two generations side by side, as somebody wants it
    PAUSED = "paused"
    HALTED = "halted"  # by itself: too many of those changed failed
    ABORTED = "aborted"
    DONE = "done"

    @property
    def words(self) -> str:
        """As in: the rollout is at its canaries."""
        return "at its canaries" if self is RolloutState.CANARY else self.value


class RolloutRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was asked of a fleet's last rollout, and its state. How far it is follows from the
    assignments. `since_revision`: VMs of `to_generation` with an earlier birth are not its work.

    `canaries`, `canary_share`: how many VMs are changed before it is promoted; both 0: it needs no
    promotion. `promote_after`: seconds after which it is promoted by itself; 0: by hand.
    """

    fleet: str  # uid
    from_generation: Count
    to_generation: Count
    since_revision: Long
    state: RolloutState = RolloutState.RUNNING
    max_unavailable: Count = 0  # VMs; 0: by share
    max_unavailable_share: Share = 0.05  # of the total
    by_label: str = ""
    halt_share: Share = 0.2
    since_unix: float = 0.0
    actor: str = ""
    why: str = ""  # it halted by itself
    change: str = ""  # the id of the last change of it
    canaries: Count = 0
    canary_share: Share = 0.0  # of the total, where `canaries` is 0
    promote_after: Count = 0
    promoted: bool = False
    undo_on_halt: bool = False
    forgotten: bool = False  # its canaries have waited for long, and it was told

    @property
    def open(self) -> bool:
        """Whether it may still change VMs, at once or when somebody says so."""
        return self.state not in (RolloutState.ABORTED, RolloutState.DONE)

    @property
    def works(self) -> bool:
        """Whether it changes VMs by itself."""
        return self.state in (RolloutState.RUNNING, RolloutState.CANARY)

    @property
    def needs_promotion(self) -> bool:
        return bool(self.canaries or self.canary_share) and not self.promoted


class VmOrder(msgspec.Struct, frozen=True, omit_defaults=True):
    """VMs that are to be restarted or made anew, as many at once as the fleet's budget allows.
    `since`: the revision at which it was asked for; what was begun anew since then is done."""

    indices: IndexSet
    since: Long
    since_unix: float = 0.0
    actor: str = ""
    change: str = ""  # the id of the change that asked for it


class OrdersRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was ordered of a fleet's VMs and is not done yet. It is deleted with the last of it."""

    fleet: str  # uid
    restart: VmOrder | None = None
    reimage: VmOrder | None = None


class RebalanceRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a fleet is being rebalanced, and how that was asked for. What is left to do follows from
    the assignments; the record goes when there is nothing."""

    fleet: str  # uid
    only_bounds: bool = False  # what breaks no bound stays
    planned: Count = 0  # VMs that were to move when it began
    since_unix: float = 0.0
    actor: str = ""
    change: str = ""  # the id of the change that began it


class ObservedFleet(msgspec.Struct, frozen=True):
    """Which VMs of one fleet run, and which have failed, on whatever host. `unknown`: nothing is
    heard of their hosts. `restarting`: they are said to run, and it is not known yet whether that
    is after the restart that was ordered. `steady`: of those that run, the ones that have for as
    long as its rollout asks for, without a break and all the time in this leader's sight."""

    running: IndexSet
    failed: IndexSet
    unknown: IndexSet = EMPTY
    restarting: IndexSet = EMPTY
    steady: IndexSet = EMPTY


class ClusterView(msgspec.Struct, frozen=True):
    """Everything a placement is decided from. `revision`: the store's, with Meta.raised added:
    births and tombstone ids are made of it."""

    revision: int
    hosts: Mapping[str, HostView]
    fleets: Mapping[str, FleetRecord]  # by name
    specs: Mapping[tuple[str, int], types.FleetSpec]  # by (uid, generation)
    rollouts: Mapping[str, RolloutRecord] = {}  # by uid
    # By uid, of fleets that are being rolled out, or have a disruption budget that may be used.
    observed: Mapping[str, ObservedFleet] = {}
    gone: Set[str] = frozenset()  # uids of fleets that were deleted
    # Why VMs of a fleet are placed nowhere for now, by uid.
    held_back: Mapping[str, str] = {}
    orders: Mapping[str, OrdersRecord] = {}  # by uid
    # VMs begun anew on purpose within the last minute, by uid of a fleet with a budget.
    # `begun_unknown`: what was in the minute before it led, a leader does not know.
    begun_anew: Mapping[str, int] = {}
    begun_unknown: bool = False
    rebalances: Mapping[str, RebalanceRecord] = {}  # by uid, of fleets that are being rebalanced
    now: float = 0.0  # seconds since 1970


# Event channels a PV guest takes in dom0: store, console, and one for each disk and vif.
_CHANNELS_ALWAYS = 2


def footprint(spec: types.FleetSpec) -> Capacity:
    """What one VM of this spec takes of its host."""
    disks = bool(spec.disk.target) + len(spec.more_disks) + spec.HasField("identity")
    vifs = (1 if spec.HasField("network") else 0) + len(spec.more_networks)
    # Clones share their memory: how many fit, each host measures.
    cloned = spec.start == types.START_CLONE
    return Capacity(
        guests=1,
        memory_bytes=0 if cloned else spec.memory_bytes,
        disks=disks,
        vifs=vifs,
        event_channels=_CHANNELS_ALWAYS + disks + vifs,
        clones=int(cloned),
        boots=int(not cloned),
    )
