"""One host as the leader reaches it, and whom its link tells what it hears."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from fleet.keys import NO_EPOCH, Epoch
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.conduct import Conduct
from fleet_controller.agents.port import NO_GUIDANCE, AgentConnection, Guidance, Reports
from fleet_controller.core.model import Health


class LinkListener(Protocol):
    """Whom links tell what they hear, and ask what to say."""

    @property
    def term(self) -> types.Term: ...

    def guidance(self) -> Guidance:
        """What hosts are told beside their orders, as of now."""

    def may_act(self) -> bool:
        """Whether the lease still holds."""

    def assignment_for(self, host_id: str) -> wire.AssignRequest | None:
        """The request that sends the host its assignment; None when there is nothing to send."""

    def most_report_bytes(self, host_id: str) -> int:
        """The most that an honest report of the host takes."""

    def reported(self, host_id: str, report: wire.Report) -> None:
        """Raises Misbehaves for a report that says more than the host can have, and other
        ValueErrors for one that makes no sense."""

    def misbehaved(self, host_id: str, why: str) -> None:
        """The host did what no agent may; its link has ended for that."""

    def lost_sight(self, host_id: str) -> None: ...

    def health_changed(self, host_id: str, before: Health, after: Health, why: str) -> None: ...

    def outranked(self, host_id: str, term: types.Term, why: str) -> None:
        """An agent says that it has heard a newer leader, of this term."""


class Link:
    """One host as the leader reaches it. Times are of the injected monotonic clock, in seconds."""

    def __init__(self, host_id: str, address: str, now: float, heartbeat: float) -> None:
        self.host_id = host_id
        self.address = address
        self.heard = now
        self.since = now  # when the present stream, or the last one, was opened
        self.heartbeat = heartbeat
        self.conduct = Conduct()
        self.health = Health.UNREACHABLE
        self.tried = False  # dialled at least once
        self.ever_heard = False
        self.error = ""
        self.connection: AgentConnection | None = None
        self.acknowledged = NO_EPOCH  # what the agent has confirmed
        self.redial = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._reports: Reports | None = None
        self._push_wait = 0.0  # seconds between the last two pushes that the agent declined
        self._push_at = math.inf  # when to try again

    @property
    def live(self) -> bool:
        return self.health is Health.LIVE

    @property
    def reachable(self) -> bool:
        """A host that was not dialled yet gets the benefit of the doubt."""
        return self.live or not self.tried

    @property
    def declining(self) -> bool:
        """Whether the host is there and does not take its assignment."""
        return self._push_wait > 0

    def connected(
        self, connection: AgentConnection, first: wire.WatchRequest, heartbeat: float
    ) -> Reports:
        """A connection is made: ask for its reports."""
        self.connection = connection
        self.heartbeat = heartbeat
        self._reports = connection.watch(first)
        return self._reports

    def opened(self, now: float, epoch: Epoch) -> None:
        """The first report has come, and says which assignment the host has."""
        self.heard = self.since = now
        self.ever_heard = True
        self.error = ""
        self.acknowledged = epoch
        self.conduct.was_asked_again()

    def fail(self, why: str) -> None:
        """It was dialled, or its stream has ended, without any misbehaviour."""
        self.error = why
        self.conduct.was_asked_again()

    def acknowledge(self, epoch: Epoch) -> None:
        """The host has taken this assignment."""
        self.acknowledged = epoch
        self.error = ""
        self.forget_push()

    def decline(self, why: str, now: float, first_wait: float, most: float, share: float) -> None:
        """The link is good and what was asked of it was not: its reports are still worth having.
        It is asked again after `first_wait`, doubled up to `most`; times `share`, by chance."""
        self.error = why
        self._push_wait = min(max(first_wait, self._push_wait * 2), most)
        self._push_at = now + self._push_wait * share

    def forget_push(self) -> None:
        """The host has taken its assignment, or is not there to take it."""
        self._push_wait, self._push_at = 0.0, math.inf

    def push_is_due(self, now: float) -> bool:
        """Whether a host that declined is to be asked again; once for each time."""
        if now < self._push_at:
            return False
        self._push_at = math.inf
        return True

    def end_stream(self, why: str = "") -> bool:
        """End the stream of reports; its reader then dials anew. False when there is no stream."""
        if self._reports is None:
            return False
        self.error = why or self.error
        self._reports.cancel()
        return True

    async def repace(
        self, pace: wire.Pace, heartbeat: float, guidance: Guidance = NO_GUIDANCE
    ) -> None:
        """Ask a live host for another pace, and tell it what it is told beside. It may be silent
        for the longer of both heartbeats until it has answered. Raises LinkError."""
        if self._reports is None:
            return
        self.heartbeat = max(self.heartbeat, heartbeat)
        await self._reports.repace(pace, guidance)
        self.heartbeat = heartbeat

    async def drop(self) -> None:
        """Close the connection, if there is one."""
        connection, self.connection, self._reports = self.connection, None, None
        self.forget_push()
        if connection:
            await connection.close()
