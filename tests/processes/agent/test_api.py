"""One agent behind real gRPC with mTLS: who may call, and what refusals look like."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from fleet.transport import Identity, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_agent.api.service import AgentApi
from fleet_agent.core.model import VmState
from fleet_agent.daemon.server import SERVICE, AgentServer, CannotListen, SharedServices
from fleetctl.local.certificate_authority import Authority
from tests.certificates import identity
from tests.doubles.assignments import assignment, shard
from tests.processes.agent.agent_caller import states_told
from tests.processes.agent.served_agent import HOST, TEN, Served, refusal, serving


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serving() as made:
        yield made


async def test_an_assignment_is_answered_watched_and_described(served: Served) -> None:
    async with served.caller() as caller:
        answer = await caller.assign(TEN, 10)
        assert answer.epoch == types.Epoch(store_generation=1, revision=10)
        reports = await caller.until_converged(10)
        assert states_told(reports) == dict.fromkeys(range(10), VmState.RUNNING)
        told = await caller.describe()
        assert (told.host_id, told.epoch.revision, told.term.revision) == (HOST, 10, 1)
        assert told.facts.incarnation == "i"


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER, Role.AGENT])
async def test_only_controllers_may_call(served: Served, role: Role) -> None:
    denied = (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
    async with served.caller(identity(role, "somebody")) as caller:
        assert await refusal(caller.assign(TEN, 10)) == denied
        assert await refusal(caller.describe()) == denied
        assert await refusal(anext(caller.reports())) == denied


async def test_a_certificate_of_another_authority_does_not_connect(served: Served) -> None:
    stranger = Authority.create("Stranger").identity(Role.CONTROLLER, "controller-1")
    mixed = Identity(identity(Role.CONTROLLER, "c").ca, stranger.certificate, stranger.key)
    async with served.caller(mixed) as caller:
        assert (await refusal(caller.describe()))[0] is grpc.StatusCode.UNAVAILABLE


async def test_a_host_that_answers_at_anothers_address_is_refused(served: Served) -> None:
    async with served.caller(host="dom0-2") as caller:
        assert (await refusal(caller.describe()))[0] is grpc.StatusCode.UNAVAILABLE


async def test_refusals_carry_their_reason(served: Served) -> None:
    precondition = grpc.StatusCode.FAILED_PRECONDITION
    async with served.caller() as caller:
        await caller.assign(TEN, 10, term=5)
        assert await refusal(caller.assign(TEN, 11, term=4)) == (precondition, "STALE_TERM")
        assert await refusal(caller.assign(TEN, 9, term=5)) == (precondition, "STALE_EPOCH")
        wrong = caller.assign(TEN, 11, term=5, host="dom0-2")
        assert await refusal(wrong) == (precondition, "WRONG_HOST")
        twice = assignment(shard("0-9", 10), shard("0", 11))
        bad = (grpc.StatusCode.INVALID_ARGUMENT, "BAD_ASSIGNMENT")
        assert await refusal(caller.assign(twice, 12, term=5)) == bad
        served.ledger.full = True
        full = (grpc.StatusCode.UNAVAILABLE, "LEDGER_FULL")
        assert await refusal(caller.assign(assignment(), 12, term=5)) == full
        assert (await caller.describe(term=5)).epoch.revision == 10
        assert await refusal(caller.describe(term=6)) == full


async def test_a_stale_leader_is_told_so_on_its_stream(served: Served) -> None:
    async with served.caller() as old, served.caller() as new:
        stream = old.reports(term=3)
        await anext(stream)
        await new.assign(TEN, 10, term=4)

        async def read_to_the_end() -> None:
            async for _ in stream:
                pass

        assert await refusal(read_to_the_end()) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "STALE_TERM",
        )
        late = old.reports(term=3)
        assert (await refusal(anext(late)))[1] == "STALE_TERM"


async def test_an_observer_of_any_term_is_told_all_and_commands_nothing(served: Served) -> None:
    async with served.caller() as leader, served.caller() as observer:
        await leader.assign(TEN, 10, term=5)
        stream = leader.reports(term=5)
        await anext(stream)
        call: Any = observer.stub.Watch()
        await call.write(
            wire.WatchRequest(term=types.Term(store_generation=1, revision=2), observe=True)
        )
        report = await call.read()
        assert (report.full, report.term.revision) == (True, 5)
        assert (list(report.fleets), list(report.specs)) == (list(TEN.fleets), list(TEN.specs))
        await leader.assign(assignment(shard("0-4", 10)), 11, term=5)
        while (await anext(stream)).epoch.revision != 11:
            pass
        assert (await leader.describe(term=5)).term.revision == 5, "nobody was outranked"
        call.cancel()


async def test_an_observer_does_not_keep_a_host_from_looking_for_its_controller(
    served: Served,
) -> None:
    """Whoever observes may lead nobody: the host goes on announcing itself."""
    async with served.caller() as observer:
        call: Any = observer.stub.Watch()
        await call.write(wire.WatchRequest(observe=True))
        await call.read()
        assert served.watched == []
        stream = observer.reports()
        await anext(stream)
        assert served.watched == [True]
        call.cancel()
        assert served.watched == [True]


async def test_a_reader_that_closes_its_side_ends_the_stream(served: Served) -> None:
    async with served.caller() as caller:
        call: Any = caller.stub.Watch()
        await call.write(wire.WatchRequest(term=types.Term(store_generation=1, revision=1)))
        await call.read()
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
        assert await call.code() is grpc.StatusCode.OK


async def test_what_is_not_offered_answers_unimplemented(served: Served) -> None:
    expected = (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
    async with served.caller() as caller:
        stub: Any = caller.stub
        assert await refusal(stub.Doctor(wire.DoctorRequest())) == expected
        assert await refusal(stub.Tune(wire.TuneRequest())) == expected
        assert await refusal(stub.ListImages(wire.ListImagesRequest())) == expected
        assert await refusal(stub.DeleteImage(wire.DeleteImageRequest())) == expected
        for call in (
            stub.ImportImage(wire.ImportImageRequest()),
            stub.SendImage(wire.SendImageRequest()),
        ):
            assert await refusal(call.read()) == expected


async def test_health_and_reflection_are_served(served: Served) -> None:
    async with served.caller(identity(Role.VIEWER, "probe")) as caller:
        health = health_pb2_grpc.HealthStub(caller.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=SERVICE))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflected: Any = reflection_pb2_grpc.ServerReflectionStub(caller.channel)
        stream = reflected.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        listed = await stream.read()
        names = {service.name for service in listed.list_services_response.service}
        assert SERVICE in names


async def test_an_address_that_is_taken_is_refused_in_one_sentence(served: Served) -> None:
    nothing: Any = None
    api = AgentApi(nothing, consoles=nothing, sampling=nothing)
    server = AgentServer(api, SharedServices(), identity(Role.AGENT, HOST).for_server())
    with pytest.raises(CannotListen, match=f"cannot listen on {served.address}"):
        server.listen(served.address)
