"""One host as the leader reaches it, and what its link asks of the leader."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import Protocol

from fleet.keys import NO_EPOCH, Epoch
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import AgentConnection, Reports
from fleet_controller.core.model import Health


class Superior(Protocol):
    """What a link needs of the leader."""

    @property
    def term(self) -> types.Term: ...

    def may_act(self) -> bool:
        """Whether the lease still holds."""

    def assignment_for(self, host_id: str) -> wire.AssignRequest | None:
        """The request that tells the host its assignment; None when it never had one."""

    def reported(self, host_id: str, report: wire.Report) -> None:
        """Raises ValueError for a report that makes no sense."""

    def lost_sight(self, host_id: str) -> None: ...

    def health_changed(self, host_id: str, before: Health, after: Health, why: str) -> None: ...

    def outranked(self, why: str) -> None:
        """An agent has heard a newer leader."""


@dataclass(slots=True, eq=False)
class Link:
    """One host as the leader reaches it. Times are of the injected monotonic clock."""

    host_id: str
    address: str
    heard: float
    heartbeat: float
    health: Health = Health.UNREACHABLE
    tried: bool = False
    ever_heard: bool = False
    error: str = ""
    connection: AgentConnection | None = None
    reports: Reports | None = None
    acknowledged: Epoch = NO_EPOCH  # what the agent has confirmed
    push_wait: float = 0.0  # seconds between the last two pushes that the agent declined
    push_at: float = math.inf  # when to try again
    redial: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
