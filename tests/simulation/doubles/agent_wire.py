"""The port between leader and agents over the simulated network: both ends of every connection.

Agents answer as `fleet_agent.api` does, and refusals reach the leader as `agents/grpc_errors.py`
has them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from fleet.keys import Term
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.assignment import BadAssignment
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.fencing import CallRefused, StaleEpoch, StaleTerm
from fleet_agent.reconcile.ledger import LedgerError
from fleet_agent.reporting.report_stream import Pace, ReportStream
from fleet_controller.agents import port
from fleet_controller.agents.port import Questions, Unreachable
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import Clockwork, Process
from tests.simulation.engine.network import Network, Pipe

WINDOW = 4  # reports under way before the agent's stream waits for the reader


class AgentServer:
    """One agent's process as others reach it."""

    def __init__(self, loop: Clockwork, host_id: str, process: Process, witness: Witness) -> None:
        self.loop = loop
        self.host_id = host_id
        self.process = process
        self.witness = witness
        self.agent: Agent | None = None  # once its ledger has been read
        self.links: dict[_Link, None] = {}

    def died(self) -> None:
        """The process is gone; its machine closes the connections."""
        for link in list(self.links):
            link.end_from_agent()
        self.links.clear()


class Switchboard:
    """Which agent answers at which address."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.servers: dict[str, AgentServer] = {}


class SimDialer:
    """One controller's way to agents."""

    def __init__(self, board: Switchboard, name: str, process: Process, witness: Witness) -> None:
        self.board = board
        self.name = name
        self.process = process
        self.witness = witness
        self.links: dict[_Link, None] = {}

    def connect(self, host_id: str, address: str) -> _Link:
        link = _Link(self, host_id, address)
        self.links[link] = None
        return link

    def died(self) -> None:
        """The controller's process is gone."""
        for link in list(self.links):
            link.end_from_controller()
        self.links.clear()


class _Link:
    """A connection: the controller's end is an AgentConnection."""

    def __init__(self, dialer: SimDialer, host_id: str, address: str) -> None:
        self.dialer = dialer
        self.host_id = host_id
        self.peer = f"{host_id} at {address}"
        network = dialer.board.network
        self.loop = network.loop
        end = address.partition(":")[0]
        self.there = Pipe(network, dialer.name, end, self._broke)
        self.back = Pipe(network, end, dialer.name, self._broke)
        self._address = address
        self._calls: dict[_Call, None] = {}  # the controller waits for them
        self._work: dict[asyncio.Task[None], None] = {}  # the agent does it
        self._server: AgentServer | None = None
        self.closed = False

    # The controller's end -------------------------------------------------------------------

    def watch(self, first: wire.WatchRequest) -> SimReports:
        return SimReports(self, first)

    async def assign(self, request: wire.AssignRequest, seconds: float) -> wire.AssignResponse:
        self.dialer.witness.pushes(self.dialer.name, request)
        call = self.call()
        self.there.send(self._deliver_assign, call, request)
        if self.dialer.board.network.repeats():
            network = self.dialer.board.network
            network.send_again(
                self.there.source, self.there.target, lambda: self._deliver_assign(None, request)
            )
        answer: wire.AssignResponse = await self._answer(call, seconds)
        return answer

    async def describe(self, seconds: float) -> None:
        call = self.call()
        self.there.send(self._deliver_describe, call)
        await self._answer(call, seconds)

    async def _answer(self, call: _Call, seconds: float) -> Any:
        try:
            async with asyncio.timeout(seconds):
                return await call.read()
        except TimeoutError as error:
            raise port.NoAnswer(f"{self.peer}: no answer") from error
        finally:
            self._calls.pop(call, None)

    def questions(self) -> Questions:
        raise NotImplementedError("nobody asks questions in the simulation")

    async def close(self) -> None:
        self.hang_up("the call was ended at this end")

    def call(self) -> _Call:
        if self.closed:
            raise Unreachable(f"{self.peer}: the call has ended")
        call = _Call(self.loop)
        self._calls[call] = None
        return call

    def hang_up(self, why: str) -> None:
        if self.closed:
            return
        self.closed = True
        self.dialer.links.pop(self, None)
        self._fail_calls(why)
        self.there.send(self._closed_there)

    def _fail_calls(self, why: str) -> None:
        for call in list(self._calls):
            call.fail(Unreachable(f"{self.peer}: {why}"))
        self._calls.clear()

    def _lost(self) -> None:
        """The controller learns that the connection is gone."""
        self.closed = True
        self.dialer.links.pop(self, None)
        self._fail_calls("connection reset")

    # The agent's end ------------------------------------------------------------------------

    def server(self) -> AgentServer | None:
        """Who answers here; None, and the controller is told, when it is nobody."""
        server = self._server
        if server is None:
            if self.dialer.process.dead:
                return None  # a connection that was never made needs both to be made
            server = self.dialer.board.servers.get(self._address)
            if server is None or server.agent is None:
                self.back.send(self._lost)
                return None
            if server.host_id != self.host_id:
                self.back.send(self._lost)
                return None
            self._server = server
            server.links[self] = None
        return None if server.process.dead else server

    def _deliver_assign(self, call: _Call | None, request: wire.AssignRequest) -> None:
        server = self.server()
        if server is not None:
            self._start(server, self._serve_assign(server, call, request))

    async def _serve_assign(
        self, server: AgentServer, call: _Call | None, request: wire.AssignRequest
    ) -> None:
        assert server.agent is not None
        try:
            epoch = await server.agent.assign(request)
        except (CallRefused, BadAssignment, LedgerError) as error:
            if call is not None:
                self.back.send(call.fail, _as_the_port(self.peer, error))
            return
        except asyncio.CancelledError:
            server.witness.heard(server.host_id)  # it is taken over all the same
            raise
        server.witness.assigned(server.host_id, request)
        if call is not None:
            generation, revision = epoch
            answer = wire.AssignResponse()
            answer.epoch.store_generation, answer.epoch.revision = generation, revision
            self.back.send(call.put, answer)

    def _deliver_describe(self, call: _Call) -> None:
        server = self.server()
        if server is not None:
            self._start(server, self._serve_describe(call))

    async def _serve_describe(self, call: _Call) -> None:
        """The agent says who it is, or that it has heard a term: its own word either way."""
        self.back.send(call.put, None)

    def deliver_watch(self, reports: SimReports, first: wire.WatchRequest) -> None:
        server = self.server()
        if server is not None:
            self._start(server, self._serve_watch(server, reports, first))

    async def _serve_watch(
        self, server: AgentServer, stream: SimReports, first: wire.WatchRequest
    ) -> None:
        agent, term = server.agent, Term.of(first.term)
        assert agent is not None
        if first.observe:
            server.witness.observed(server.host_id)
            reports = stream.served = agent.open_observation(Pace.of(first.pace))
        else:
            if term >= agent.term:
                server.witness.heard(server.host_id)
            try:
                await agent.heard(term)
            except (CallRefused, LedgerError) as error:
                self.back.send(stream.call.fail, _as_the_port(self.peer, error))
                return
            server.witness.watched(server.host_id, term)
            reports = stream.served = agent.open_reports(term, Pace.of(first.pace))
        try:
            while (report := await reports.next()) is not None:
                await stream.room()
                stream.under_way += 1
                self.back.send(stream.arrived, report)
        finally:
            agent.close_reports(reports)
            server.witness.watched_no_more(server.host_id)
        stale = port.StaleTerm(f"{self.peer}: a newer leader watches this host")
        ended = Unreachable(f"{self.peer}: the agent ended its reports")
        is_stale = not first.observe and term < agent.term
        self.back.send(stream.call.fail, stale if is_stale else ended)

    def _start(self, server: AgentServer, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.spawn(server.process, work)
        self._work[task] = None
        task.add_done_callback(self._ended, context=server.process.context)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._work.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.loop.on_trouble(f"the agent of {self.host_id} raised {error!r}")

    def _closed_there(self) -> None:
        """The agent learns that the connection is gone."""
        if self._server is not None:
            self._server.links.pop(self, None)
        for task in list(self._work):
            task.cancel()

    # Ends that were not asked for -------------------------------------------------------------

    def _broke(self) -> None:
        self.there.broken = self.back.broken = True
        self._lost()
        self._closed_there()

    def end_from_agent(self) -> None:
        self._work.clear()
        self.there.broken = True
        self.back.send(self._lost)

    def end_from_controller(self) -> None:
        self.closed = True
        self.back.broken = True
        self.there.send(self._closed_there)


class _Call:
    """What comes back for one call, in order, until it ends with an error."""

    __slots__ = ("_error", "_items", "_loop", "_waiter")

    def __init__(self, loop: Clockwork) -> None:
        self._loop = loop
        self._items: deque[Any] = deque()
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._wake()

    def fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._wake()

    async def read(self) -> Any:
        while not self._items:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._items.popleft()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class SimReports:
    """One Watch call. The first request is sent with the first read."""

    def __init__(self, link: _Link, first: wire.WatchRequest) -> None:
        self.link = link
        self.call = link.call()
        self.served: ReportStream | None = None
        self.under_way = 0
        self._first: wire.WatchRequest | None = first
        self._room: asyncio.Future[None] | None = None

    async def read(self) -> wire.Report:
        if self._first is not None:
            first, self._first = self._first, None
            self.link.there.send(self.link.deliver_watch, self, first)
        try:
            report: wire.Report = await self.call.read()
        except asyncio.CancelledError:
            self.cancel()
            raise
        return report

    async def repace(self, pace: wire.Pace) -> None:
        if self.link.closed:
            raise Unreachable(f"{self.link.peer}: the call has ended")
        self.link.there.send(self._repaced, Pace.of(pace))

    def cancel(self) -> None:
        """The connection serves one Watch: it ends with it."""
        self.link.hang_up("the call was ended at this end")

    def arrived(self, report: wire.Report) -> None:
        self.call.put(report)
        there = self.link.there
        if self.link.dialer.board.network.is_open(there.source, there.target):
            self._acknowledged()  # a message for each would cost as much as the report
        else:
            there.send(self._acknowledged)

    async def room(self) -> None:
        """At the agent: until few enough reports are under way."""
        while self.under_way >= WINDOW:
            self._room = self.link.loop.create_future()
            await self._room

    def _acknowledged(self) -> None:
        self.under_way -= 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _repaced(self, pace: Pace) -> None:
        if self.served is not None:
            self.served.set_pace(pace)


def _as_the_port(peer: str, error: Exception) -> port.Declined:
    message = f"{peer}: {error}"
    if isinstance(error, StaleTerm):
        return port.StaleTerm(message)
    if isinstance(error, StaleEpoch):
        return port.AheadOfStore(message)
    return port.Declined(message)
