"""No RPC of either service answers before it has checked who calls, and who commands is fenced."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.keys import Term
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_agent.api.guard import commands, commands_by_stream, reads
from fleet_agent.api.service import AgentApi
from fleet_agent.reconcile.fencing import StaleTerm
from fleet_controller.api.service import ClusterApi

NOBODY: Any = None


class Careless(AgentApi):
    async def Assign(self, request: wire.AssignRequest, context: Any) -> wire.AssignResponse:
        return wire.AssignResponse()


def test_an_agent_with_an_rpc_that_anybody_may_call_is_not_made() -> None:
    with pytest.raises(TypeError, match="Assign of AgentService would not check who calls"):
        Careless(NOBODY)


class CarelessController(ClusterApi):
    async def Scale(self, request: cluster.ScaleRequest, context: Any) -> cluster.ScaleResponse:
        return cluster.ScaleResponse()


def test_a_controller_with_a_method_that_anybody_may_call_is_not_made() -> None:
    with pytest.raises(TypeError, match="Scale of ClusterService would not check who calls"):
        CarelessController(NOBODY, NOBODY)


class Unfenced(AgentApi):
    @reads()
    async def DeleteImage(
        self, request: wire.DeleteImageRequest, context: Any
    ) -> wire.DeleteImageResponse:
        return wire.DeleteImageResponse()


def test_an_agent_with_an_rpc_that_obeys_a_leader_that_is_none_is_not_made() -> None:
    with pytest.raises(TypeError, match="DeleteImage of AgentService would obey a leader"):
        Unfenced(NOBODY)


class Aborted(Exception):
    pass


class Call:
    """Of a controller or of somebody else, as gRPC hands it to a method."""

    def __init__(self, role: str = "controller") -> None:
        self._role = role

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_subject_alternative_name": [f"c1.{self._role}.megafleet".encode()]}

    async def abort(self, code: object, message: str, trailing: object) -> None:
        raise Aborted(message)


class Commanded:
    """Fenced at term (1, 5). Its methods note that they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    async def heard(self, term: types.Term) -> None:
        if Term.of(term) < Term(1, 5):
            raise StaleTerm("a newer leader has been here", Term(1, 5).message())

    @reads()
    async def look(self, request: wire.TuneRequest, context: Any) -> None:
        self.ran.append("look")

    @commands()
    async def change(self, request: wire.TuneRequest, context: Any) -> None:
        self.ran.append("change")

    @commands(when=lambda request: request.apply)
    async def tune(self, request: wire.TuneRequest, context: Any) -> None:
        self.ran.append("tune")

    @commands_by_stream()
    async def follow(self, first: wire.TuneRequest, rest: Any, context: Any) -> None:
        self.ran.append(f"follow {first.guests}")


def asked(revision: int, **fields: Any) -> wire.TuneRequest:
    return wire.TuneRequest(term=types.Term(store_generation=1, revision=revision), **fields)


async def stream(*requests: wire.TuneRequest) -> Any:
    for one in requests:
        yield one


async def test_whoever_commands_is_fenced_before_the_method_runs() -> None:
    host = Commanded()
    call: Any = Call()
    with pytest.raises(Aborted, match="newer leader"):
        await host.change(asked(4), call)
    with pytest.raises(Aborted, match="newer leader"):
        await host.tune(asked(4, apply=True), call)
    with pytest.raises(Aborted, match="newer leader"):
        await host.follow(stream(asked(4)), call)
    assert host.ran == []
    await host.change(asked(5), call)
    await host.follow(stream(asked(6, guests=7)), call)
    assert host.ran == ["change", "follow 7"]


async def test_whoever_only_reads_is_not_fenced() -> None:
    host = Commanded()
    call: Any = Call()
    await host.look(asked(4), call)
    await host.tune(asked(4), call)
    await host.follow(stream(), call)
    assert host.ran == ["look", "tune"]


@pytest.mark.parametrize("role", ["operator", "agent", "viewer"])
async def test_only_controllers_reach_any_method(role: str) -> None:
    host = Commanded()
    call: Any = Call(role)
    asks = (host.look(asked(9), call), host.change(asked(9), call), host.follow(stream(), call))
    for ask in asks:
        with pytest.raises(Aborted, match=f"{role}/c1 may not command an agent"):
            await ask
    assert host.ran == []
