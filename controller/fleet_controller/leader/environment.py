"""What a leadership is given from outside: ports, clock, randomness, threads and settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Protocol

from fleet.certificates.certificate_dates import CertificateFile
from fleet.certificates.signing_request import SigningRequest
from fleet.transport import Peer
from fleet.v1 import joining_pb2 as joining
from fleet_controller.agents.links import LinkSettings
from fleet_controller.agents.port import AgentDialer
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.host_loss.quarantine import QuarantineSettings
from fleet_controller.core.passes import MOVES_AT_ONCE
from fleet_controller.core.recovery.recovery import RECOVER_AFTER_SECONDS
from fleet_controller.core.recovery.seals import SealKey, new_seal_key
from fleet_controller.events import EventLog
from fleet_controller.mirror.committer import MAX_WRITES
from fleet_controller.standbys import Standbys
from fleet_controller.store.port import Store


@dataclass(frozen=True, slots=True)
class LeaderSettings:
    """Times are in seconds."""

    # A new leader plans when every host has heard its term, or after this long without.
    settle: float = 20.0
    # Between two passes when no caller waits, so that a stream of reports costs few of them.
    pass_interval: float = 0.5
    store_retry: float = 1.0
    # From a leadership's beginning until what hosts have may be adopted.
    recover_after: float = RECOVER_AFTER_SECONDS
    # VMs that hosts prepare at the same time for hosts that are drained.
    moves_at_once: int = MOVES_AT_ONCE
    # Bytes a second of images that hosts fetch: each, and all of one image together. 0: no bound.
    image_rate: int = 0
    image_fleet_rate: int = 0
    # Writes of one transaction.
    max_writes: int = MAX_WRITES
    # Between two judgements of which hosts are lost, are back, or fail too much.
    judge_interval: float = 1.0
    loss: LossSettings = field(default_factory=LossSettings)
    quarantine: QuarantineSettings = field(default_factory=QuarantineSettings)
    # Whether a new host gets nothing before an operator approves it.
    approve_hosts: bool = False
    links: LinkSettings = field(default_factory=LinkSettings)


# A renewal is some 5 ms of the leader's: so many leave it half of its time. One at a time, with
# rests between them, they take it longer each.
RENEWALS_A_SECOND = 100
LONGEST_SPREAD_SECONDS = 600


class Issuer(Protocol):
    """Signs certificates of hosts."""

    @property
    def authorities(self) -> bytes:
        """PEM: what hosts are to trust."""

    @property
    def days(self) -> float:
        """How long what it signs is good."""

    @property
    def trust(self) -> joining.Trust: ...

    def issue(self, request: SigningRequest, now: datetime) -> bytes:
        """PEM. Raises CannotIssue."""


def _nowhere() -> list[str]:
    return []


@dataclass(frozen=True, slots=True)
class JoiningEnvironment:
    """`issuer`: signs certificates of hosts; None: nobody here can. `authority`: SHA-256 of the one
    (DER) that has signed this controller's certificate. `controllers`, `join_addresses`: where
    they are reached by now, this one first. `settings`: TOML for agents that join."""

    issuer: Issuer | None = None
    authority: Callable[[], bytes] = bytes
    controllers: Callable[[], list[str]] = _nowhere
    join_addresses: Callable[[], list[str]] = _nowhere
    settings: str = ""

    def trust(self, hosts: int) -> joining.Trust | None:
        """What so many hosts are told to hold by now; None: nothing is renewed here."""
        if self.issuer is None:
            return None
        told = self.issuer.trust
        told.spread_seconds = min(max(1, hosts // RENEWALS_A_SECOND), LONGEST_SPREAD_SECONDS)
        return told


@dataclass(frozen=True, slots=True)
class LeaderEnvironment:
    """Kept over the leaderships of one replica. `executor`: of one thread, for decisions;
    `make_seal_key`: for a store that has none; `holder`: whom this controller's certificate names.
    `told_of_certificates`: what events have said of those that end."""

    store: Store
    dialer: AgentDialer
    standbys: Standbys
    clock: Callable[[], float]
    random: Random
    executor: Executor
    events: EventLog
    settings: LeaderSettings
    make_seal_key: Callable[[], SealKey] = new_seal_key
    holder: Peer | None = None
    own_certificates: Callable[[], Sequence[CertificateFile]] = tuple
    told_of_certificates: dict[str, int] = field(default_factory=dict)
    joining: JoiningEnvironment = field(default_factory=JoiningEnvironment)
