"""The agents' end of every connection: they answer as `fleet_agent.api` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fleet.keys import Term
from fleet.v1 import agent_pb2 as wire
from fleet_agent.core.assignment import BadAssignment
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.fencing import CallRefused, StaleEpoch, StaleTerm
from fleet_agent.reconcile.ledger import LedgerError
from fleet_agent.reporting.report_stream import Pace, ReportStream
from fleet_controller.agents import port
from fleet_controller.agents.port import Unreachable
from tests.doubles.scripted_agents import stale_term
from tests.simulation.doubles.call import Call
from tests.simulation.doubles.tongue import Tongue
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import Clockwork, Process
from tests.simulation.engine.network import Network, Pipe

WINDOW = 4  # reports under way before the agent's stream waits for the reader


class AgentServer:
    """One agent's process as others reach it."""

    def __init__(
        self,
        loop: Clockwork,
        host_id: str,
        process: Process,
        witness: Witness,
        tongue: Tongue,
    ) -> None:
        self.loop = loop
        self.host_id = host_id
        self.tongue = tongue
        self.process = process
        self.witness = witness
        self.agent: Agent | None = None  # once its ledger has been read
        self.connections: dict[AgentEnd, None] = {}

    def died(self) -> None:
        """The process is gone; its machine closes the connections."""
        for connection in list(self.connections):
            connection.died()
        self.connections.clear()


class Switchboard:
    """Which agent answers at which address."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.servers: dict[str, AgentServer] = {}


class SentReports:
    """The agent's half of one Watch call. `arrived` takes each report at the other end."""

    def __init__(self, loop: Clockwork, call: Call, arrived: Callable[[wire.Report], None]) -> None:
        self._loop = loop
        self.call = call
        self.arrived = arrived
        self.stream: ReportStream | None = None
        self.under_way = 0
        self._room: asyncio.Future[None] | None = None

    async def room(self) -> None:
        """Until few enough reports are under way."""
        while self.under_way >= WINDOW:
            self._room = self._loop.create_future()
            await self._room

    def acknowledged(self) -> None:
        self.under_way -= 1
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def repaced(self, pace: Pace) -> None:
        if self.stream is not None:
            self.stream.set_pace(pace)


class AgentEnd:
    """A connection as the agent has it. `caller`: the process at the other end, to which `back`
    leads, and which learns by `lost` that the connection is gone."""

    def __init__(
        self,
        board: Switchboard,
        host_id: str,
        address: str,
        caller: Process,
        there: Pipe,
        back: Pipe,
        lost: Callable[[], None],
    ) -> None:
        self._board = board
        self._loop = board.network.loop
        self._host_id = host_id
        self._address = address
        self._peer = f"{host_id} at {address}"
        self._caller = caller
        self._there = there
        self._back = back
        self._lost = lost
        self._server: AgentServer | None = None
        self._work: dict[asyncio.Task[None], None] = {}

    def deliver_assign(self, call: Call | None, request: wire.AssignRequest) -> None:
        """`call` None: nobody waits for an answer."""
        server = self._answering()
        if server is not None:
            self._start(server, self._serve_assign(server, call, request))

    def deliver_describe(self, call: Call) -> None:
        server = self._answering()
        if server is not None:
            self._start(server, self._serve_describe(server, call))

    def deliver_watch(self, sent: SentReports, first: wire.WatchRequest) -> None:
        server = self._answering()
        if server is not None:
            self._start(server, self._serve_watch(server, sent, first))

    def closed(self) -> None:
        """The agent learns that the connection is gone."""
        if self._server is not None:
            self._server.connections.pop(self, None)
        for task in list(self._work):
            task.cancel()

    def died(self) -> None:
        """The agent's process is gone."""
        self._work.clear()
        self._there.broken = True
        self._back.send(self._lost)

    def _answering(self) -> AgentServer | None:
        """Who answers here; None, and the caller is told, when it is nobody."""
        server = self._server
        if server is None:
            if self._caller.dead:
                return None  # a connection that was never made needs both to be made
            server = self._board.servers.get(self._address)
            if server is None or server.agent is None or server.host_id != self._host_id:
                self._back.send(self._lost)
                return None
            self._server = server
            server.connections[self] = None
        return None if server.process.dead else server

    async def _serve_assign(
        self, server: AgentServer, call: Call | None, request: wire.AssignRequest
    ) -> None:
        assert server.agent is not None
        if (said := server.tongue.assigned(request)) is not None:
            if call is not None:
                answer = call.fail if isinstance(said, Exception) else call.put
                self._back.send(answer, said)
            return
        try:
            epoch = await server.agent.assign(request)
        except (CallRefused, BadAssignment, LedgerError) as error:
            if call is not None:
                self._back.send(call.fail, _as_the_port(self._peer, error))
            return
        except asyncio.CancelledError:
            server.witness.controller_heard(server.host_id)  # it is taken over all the same
            raise
        server.witness.assignment_acknowledged(server.host_id, request)
        if call is not None:
            self._back.send(call.put, wire.AssignResponse(epoch=epoch.message()))

    async def _serve_describe(self, server: AgentServer, call: Call) -> None:
        """The agent says who it is, or that it has heard a term: its own word either way."""
        if server.tongue.describes():
            self._back.send(call.put, None)

    async def _serve_watch(
        self, server: AgentServer, sent: SentReports, first: wire.WatchRequest
    ) -> None:
        agent, term = server.agent, Term.of(first.term)
        assert agent is not None
        if (refusal := server.tongue.watch_refused()) is not None:
            self._back.send(sent.call.fail, refusal)
            return
        try:
            stream = sent.stream = await self._open(server, agent, term, first)
        except (CallRefused, LedgerError) as error:
            self._back.send(sent.call.fail, _as_the_port(self._peer, error))
            return
        try:
            while (report := await stream.next()) is not None:
                for told in server.tongue.reports(report):
                    await sent.room()
                    sent.under_way += 1
                    self._back.send(sent.arrived, told)
        finally:
            agent.close_reports(stream)
            server.witness.reports_ended(server.host_id)
        heard = agent.ledger_record.term_message()
        stale = stale_term(f"{self._peer}: a newer leader watches this host", heard)
        ended = Unreachable(f"{self._peer}: the agent ended its reports")
        is_stale = not first.observe and term < agent.term
        self._back.send(sent.call.fail, stale if is_stale else ended)

    async def _open(
        self, server: AgentServer, agent: Agent, term: Term, first: wire.WatchRequest
    ) -> ReportStream:
        """Raises CallRefused where the agent does not report to this term."""
        if first.observe:
            server.witness.observation_begun(server.host_id)
            return agent.open_observation(Pace.of(first.pace))
        if term >= agent.term:
            server.witness.controller_heard(server.host_id)
        written = True
        try:
            await agent.heard(first.term)
        except LedgerError:  # it reports all the same, and takes no orders
            written = False
        server.witness.reports_begun(server.host_id, term, written)
        return agent.open_reports(term, Pace.of(first.pace))

    def _start(self, server: AgentServer, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.spawn(server.process, work)
        self._work[task] = None
        task.add_done_callback(self._ended, context=server.process.context)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._work.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.on_trouble(f"the agent of {self._host_id} raised {error!r}")


def _as_the_port(peer: str, error: Exception) -> port.Declined:
    message = f"{peer}: {error}"
    if isinstance(error, StaleTerm):
        return stale_term(message, error.heard)
    if isinstance(error, StaleEpoch):
        return port.AheadOfStore(message)
    return port.Declined(message)
