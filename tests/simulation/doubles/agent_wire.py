"""The port between leader and agents over the simulated network: the controllers' end of every
connection. Refusals reach the leader as `agents.grpc_errors` has them."""

from __future__ import annotations

import asyncio
from typing import Any

from fleet.v1 import agent_pb2 as wire
from fleet_agent.reporting.report_stream import Pace
from fleet_controller.agents import port
from fleet_controller.agents.port import NO_GUIDANCE, Guidance, Questions, Unreachable
from tests.simulation.doubles.agent_server import AgentEnd, SentReports, Switchboard
from tests.simulation.doubles.call import Call
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.clockwork import Process
from tests.simulation.engine.network import Pipe


class SimDialer:
    """One controller's way to agents."""

    def __init__(self, board: Switchboard, name: str, process: Process, witness: Witness) -> None:
        self.board = board
        self.name = name
        self.process = process
        self.witness = witness
        self.connections: dict[SimConnection, None] = {}

    def connect(self, host_id: str, address: str) -> SimConnection:
        connection = SimConnection(self, host_id, address)
        self.connections[connection] = None
        return connection

    def died(self) -> None:
        """The controller's process is gone."""
        for connection in list(self.connections):
            connection.died()
        self.connections.clear()


class SimConnection:
    """An AgentConnection."""

    def __init__(self, dialer: SimDialer, host_id: str, address: str) -> None:
        self._dialer = dialer
        self._network = network = dialer.board.network
        self.loop = network.loop
        self.peer = f"{host_id} at {address}"
        end = address.partition(":")[0]
        self.there = Pipe(network, dialer.name, end, self._broke)
        self._back = Pipe(network, end, dialer.name, self._broke)
        self.agent = AgentEnd(
            dialer.board, host_id, address, dialer.process, self.there, self._back, self._lost
        )
        self._calls: dict[Call, None] = {}
        self.closed = False

    def watch(self, first: wire.WatchRequest) -> SimReports:
        return SimReports(self, first)

    async def assign(self, request: wire.AssignRequest, seconds: float) -> wire.AssignResponse:
        self._dialer.witness.assignment_sent(self._dialer.name, request)
        call, there, network = self.call(), self.there, self._network
        there.send(self.agent.deliver_assign, call, request)
        if network.repeats():
            network.send_again(
                there.source, there.target, lambda: self.agent.deliver_assign(None, request)
            )
        answer: wire.AssignResponse = await self._answer(call, seconds)
        return answer

    async def reset(self, request: wire.ResetRequest, seconds: float) -> wire.ResetResponse:
        raise NotImplementedError("nobody resets hosts in the simulation")

    async def describe(self, seconds: float) -> None:
        call = self.call()
        self.there.send(self.agent.deliver_describe, call)
        await self._answer(call, seconds)

    async def _answer(self, call: Call, seconds: float) -> Any:
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

    def call(self) -> Call:
        if self.closed:
            raise Unreachable(f"{self.peer}: the call has ended")
        call = Call(self.loop)
        self._calls[call] = None
        return call

    def hang_up(self, why: str) -> None:
        if self.closed:
            return
        self._forget(why)
        self.there.send(self.agent.closed)

    def is_open(self) -> bool:
        """Whether what is sent to the agent arrives now."""
        return self._network.is_open(self.there.source, self.there.target)

    def died(self) -> None:
        """The controller's process is gone."""
        self.closed = True
        self._back.broken = True
        self.there.send(self.agent.closed)

    def _broke(self) -> None:
        self.there.broken = self._back.broken = True
        self._lost()
        self.agent.closed()

    def _lost(self) -> None:
        """The controller learns that the connection is gone."""
        self._forget("connection reset")

    def _forget(self, why: str) -> None:
        self.closed = True
        self._dialer.connections.pop(self, None)
        for call in list(self._calls):
            call.fail(Unreachable(f"{self.peer}: {why}"))
        self._calls.clear()


class SimReports:
    """One Watch call. The first request is sent with the first read."""

    def __init__(self, connection: SimConnection, first: wire.WatchRequest) -> None:
        self._connection = connection
        self._call = connection.call()
        self._sent = SentReports(connection.loop, self._call, self._arrived)
        self._first: wire.WatchRequest | None = first

    async def read(self) -> wire.Report:
        if self._first is not None:
            first, self._first = self._first, None
            self._connection.there.send(self._connection.agent.deliver_watch, self._sent, first)
        try:
            report: wire.Report = await self._call.read()
        except asyncio.CancelledError:
            self.cancel()
            raise
        return report

    async def repace(self, pace: wire.Pace, guidance: Guidance = NO_GUIDANCE) -> None:
        if self._connection.closed:
            raise Unreachable(f"{self._connection.peer}: the call has ended")
        self._connection.there.send(self._sent.repaced, Pace.of(pace))

    def cancel(self) -> None:
        """The connection serves one Watch: it ends with it."""
        self._connection.hang_up("the call was ended at this end")

    def _arrived(self, report: wire.Report) -> None:
        self._call.put(report)
        if self._connection.is_open():
            self._sent.acknowledged()  # a message for each would cost as much as the report
        else:
            self._connection.there.send(self._sent.acknowledged)
