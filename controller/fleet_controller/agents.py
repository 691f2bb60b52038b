"""The port through which the leader speaks to agents, and what can go wrong on it."""

from __future__ import annotations

from typing import Protocol

from fleet.v1 import agent_pb2 as wire


class LinkError(Exception):
    """The agent did not do as asked; one sentence. Try again later."""


class Unreachable(LinkError):
    """No answer in time, no connection, a call that has ended, or a certificate that does not
    name this host."""


class Declined(LinkError):
    """The agent was reached and does not do it: its ledger is full, or the request is wrong."""


class StaleTerm(Declined):
    """The agent has heard a newer leader."""


class AheadOfStore(Declined):
    """The agent holds a newer assignment than the store: the store was restored or replaced."""


class Reports(Protocol):
    """The reports of one Watch call."""

    async def read(self) -> wire.Report:
        """The next one. Raises LinkError when the stream has ended. Cancelling ends the call."""

    async def repace(self, pace: wire.Pace) -> None:
        """Ask for another pace. Raises LinkError."""

    def cancel(self) -> None:
        """End the call; a pending read raises."""


class AgentConnection(Protocol):
    """One connection to one agent."""

    def watch(self, first: wire.WatchRequest) -> Reports: ...

    async def assign(self, request: wire.AssignRequest, seconds: float) -> wire.AssignResponse:
        """Raises LinkError, after at most `seconds`."""

    async def close(self) -> None: ...


class AgentDialer(Protocol):
    """Makes connections. Cheap: nothing is sent until the first call."""

    def connect(self, host_id: str, address: str) -> AgentConnection:
        """Raises Unreachable when this end can hold no more of them."""
