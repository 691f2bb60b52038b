"""The agent's words: VMs in groups that share everything but their index."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from fleet.identity import Fleet
from fleet.keys import NO_EPOCH, Epoch, Kin, Term
from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types

# Kind of failure of a VM that ended by itself.
DIED = "died"
# Of one that its hypervisor has halted after an error, and of one that somebody has suspended.
PAUSED = "paused"
SUSPENDED = "suspended"

# Kinds of failure that are tried again, and that no waiting mends all the same: somebody has to
# bring an image here, or a kernel that the guest can be started with.
_NEEDS_SOMEBODY = frozenset(("image_missing", "kernel"))


class VmState(IntEnum):
    """One byte a VM; values are those of fleet.v1.VmState."""

    PENDING = 1
    CLONING = 2
    DEFINED = 3
    BOOTING = 4
    RUNNING = 5
    STOPPING = 6
    FAILED = 7
    UNKNOWN = 8


class Phase(IntEnum):
    """How far a domain is, as its hypervisor tells."""

    DEFINED = 1  # defined, not active
    ACTIVE = 2  # started; readiness not yet seen
    READY = 3  # active, and its readiness has been seen since it was started
    HALTED = 4  # active, and kept from running by its hypervisor after an error
    SUSPENDED = 5  # active, and kept from running by somebody on the host


class StepKind(StrEnum):
    """What can be done to VMs; the runner knows how."""

    CLONE = "clone"
    DEFINE = "define"
    START = "start"
    AWAIT_READY = "await_ready"
    STOP = "stop"
    UNDEFINE = "undefine"
    DESTROY = "destroy"


# What takes something away. The rest brings VMs up.
REMOVALS = frozenset((StepKind.STOP, StepKind.UNDEFINE, StepKind.DESTROY))


@dataclass(frozen=True, slots=True)
class Mark:
    """What is written on a domain or clone besides its kin and index: who ordered it last."""

    term: Term
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class CloneRun:
    """Clones that exist and carry our mark. `newest`: the highest epoch that any was made under,
    which is no part of what they are."""

    kin: Kin
    indices: IndexSet
    newest: Epoch = field(default=NO_EPOCH, compare=False)


@dataclass(frozen=True, slots=True)
class DomainRun:
    """Domains that exist and carry our mark. `restart`: the value for which they were last
    started; 0 for those that were never to be restarted. `newest`: as of clones. `why`: what keeps
    those that are halted or suspended from running. `fallback`: why those
    that are active were begun in another way than their fleet asks for; empty: they were not."""

    kin: Kin
    indices: IndexSet
    phase: Phase
    restart: int = 0
    newest: Epoch = field(default=NO_EPOCH, compare=False)
    why: str = ""
    fallback: str = ""


# Values of Shard.restart above 0, with the VMs that have them.
Restarts = tuple[tuple[int, IndexSet], ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """VMs of one kin for one driver call."""

    fleet: Fleet
    kin: Kin
    spec: types.FleetSpec
    mark: Mark
    indices: IndexSet
    restarts: Restarts = ()  # what is remembered with those that are started

    def restart_of(self, index: int) -> int:
        """The value for which this VM is started."""
        return max((value for value, which in self.restarts if index in which), default=0)


@dataclass(frozen=True, slots=True)
class StepFailure:
    """Why a step failed for one VM.

    `kind` is short and stable (no_memory, no_space, image_missing, conflict, busy, timeout,
    not_ready, ...): failures are counted by it. `retry` is False where trying again cannot
    help until somebody changes something.
    """

    index: int
    kind: str
    message: str
    retry: bool = True

    @property
    def lasting(self) -> bool:
        """Whether somebody has to change something before it can succeed."""
        return not self.retry or self.kind in _NEEDS_SOMEBODY


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of part of a batch: indices done, and failures one by one."""

    done: IndexSet
    failures: tuple[StepFailure, ...] = ()
