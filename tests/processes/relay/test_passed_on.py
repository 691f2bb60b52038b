"""What operators ask of hosts, passed on by a controller: one host, its refusals, who may."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest

from fleet.keys import Term
from fleet.transport import Refusal, Role
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import Declined
from fleet_controller.relay import host_calls
from tests.certificates import identity
from tests.doubles.leading import until
from tests.doubles.scripted_agents import stale_term
from tests.doubles.scripted_questions import Silent
from tests.processes.relay.relay_rig import SECONDS, RelayRig, refusal, relay_rig

GOLDEN = types.Image(name="golden", snapshot="1")
IN_USE = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "IMAGE_IN_USE", "3 clones of golden@1 exist")
THERE = wire.ImportImageProgress(image=wire.ImageOnHost(image=GOLDEN))
VIEWER = identity(Role.VIEWER, "eve")

CALLS: dict[str, Callable[[Any], Any]] = {
    "Doctor": lambda s: s.Doctor(cluster.HostDoctorRequest(host="h1")),
    "Tune": lambda s: s.Tune(cluster.HostTuneRequest(host="h1", apply=True)),
    "DeleteImage": lambda s: s.DeleteImage(cluster.HostDeleteImageRequest(host="h1", image=GOLDEN)),
    "ImportImage": lambda s: s.ImportImage(
        cluster.HostImportImageRequest(host="h1", image=GOLDEN, source="/srv/golden.img")
    ).read(),
    "ListImages": lambda s: s.ListImages(cluster.ListClusterImagesRequest(host="h1")),
    "Top": lambda s: s.Top(cluster.ClusterTopRequest(host="h1", samples=1)).read(),
}


@pytest.fixture
async def rig() -> AsyncIterator[RelayRig]:
    async with relay_rig(1) as made:
        yield made


async def test_doctor_is_asked_of_the_only_host_with_the_term(rig: RelayRig) -> None:
    reply = wire.DoctorResponse(admits_guests=127, binding_limit="dynamic_irqs")
    rig.agents["h1"].questions.replies["Doctor"] = reply
    assert await rig.stub(VIEWER).Doctor(cluster.HostDoctorRequest(guests=250)) == reply
    (asked,) = rig.agents["h1"].questions.asked
    assert asked == wire.DoctorRequest(term=rig.leading.memory.term, guests=250)
    assert asked.term.revision > 0


async def test_tuning_is_passed_on_and_a_change_is_an_event(rig: RelayRig) -> None:
    stub, questions = rig.stub(), rig.agents["h1"].questions
    changes = [wire.TuneChange(what="kernel.pty.max", done=True), wire.TuneChange(what="irqs")]
    reply = questions.replies["Tune"] = wire.TuneResponse(changes=changes)
    assert await rig.stub(VIEWER).Tune(cluster.HostTuneRequest(guests=500)) == reply
    assert not rig.events("host_tuned")
    assert await stub.Tune(cluster.HostTuneRequest(apply=True, guests=500)) == reply
    await stub.Tune(cluster.HostTuneRequest(undo=True))
    term = rig.leading.memory.term
    assert questions.asked == [
        wire.TuneRequest(term=term, guests=500),
        wire.TuneRequest(term=term, apply=True, guests=500),
        wire.TuneRequest(term=term, undo=True),
    ]
    assert rig.events("host_tuned") == [
        ("h1: tuning: 1 changes made", "operator/alice"),
        ("h1: undoing of the tuning: 1 changes made", "operator/alice"),
    ]
    both = stub.Tune(cluster.HostTuneRequest(apply=True, undo=True))
    assert (await refusal(both))[1] == "BAD_QUERY"


async def test_an_image_is_imported_listed_and_deleted(rig: RelayRig) -> None:
    stub, questions = rig.stub(), rig.agents["h1"].questions
    copying = wire.ImportImageProgress(done_bytes=1, total_bytes=2, step="copying")
    questions.replies["ImportImage"] = [copying, THERE, None]
    request = cluster.HostImportImageRequest(image=GOLDEN, source="/srv/g.img", size_bytes=1 << 30)
    assert [one async for one in stub.ImportImage(request)] == [copying, THERE]
    listed = questions.replies["ListImages"] = wire.ListImagesResponse(images=[THERE.image])
    answer = await rig.stub(VIEWER).ListImages(cluster.ListClusterImagesRequest(host="h1"))
    assert answer.hosts == [cluster.HostImages(host="h1", images=listed)]
    questions.replies["DeleteImage"] = wire.DeleteImageResponse()
    await stub.DeleteImage(cluster.HostDeleteImageRequest(image=GOLDEN))
    term = rig.leading.memory.term
    imported, _, deleted = questions.asked
    assert imported == wire.ImportImageRequest(
        term=term, image=GOLDEN, source="/srv/g.img", size_bytes=1 << 30
    )
    assert deleted == wire.DeleteImageRequest(term=term, image=GOLDEN)
    assert rig.events("image_imported") == [("h1: image golden@1 is imported", "operator/alice")]
    assert rig.events("image_deleted") == [("h1: image golden@1 is deleted", "operator/alice")]


async def test_an_import_is_known_to_be_done_though_its_caller_goes_with_the_image(
    rig: RelayRig,
) -> None:
    """As fleetctl does; the agent's stream may not have ended yet."""
    rig.agents["h1"].questions.replies["ImportImage"] = [THERE]
    importing = rig.stub().ImportImage(cluster.HostImportImageRequest(image=GOLDEN, source="x"))
    assert await importing.read() == THERE
    importing.cancel()
    exchange = rig.agents["h1"].questions.exchanges[0]
    await rig.agents["h1"].until(lambda: exchange.gone)
    assert rig.events("image_imported") == [("h1: image golden@1 is imported", "operator/alice")]


async def test_a_refusal_of_the_agent_passes_through_and_changes_nothing(rig: RelayRig) -> None:
    stub, questions = rig.stub(), rig.agents["h1"].questions
    said = (IN_USE.code, IN_USE.reason, IN_USE.message)
    for method, call in CALLS.items():
        questions.replies[method] = Declined("x", IN_USE)
        assert await refusal(call(stub)) == said, method
    questions.replies["ImportImage"] = [
        wire.ImportImageProgress(done_bytes=1),
        questions.replies["Top"],
    ]
    importing = stub.ImportImage(cluster.HostImportImageRequest(image=GOLDEN, source="x"))
    assert (await importing.read()).done_bytes == 1
    assert await refusal(importing.read()) == said
    assert not rig.events("image_deleted") + rig.events("image_imported") + rig.events("host_tuned")


async def test_no_host_says_who_leads(rig: RelayRig) -> None:
    elsewhere = Refusal(
        grpc.StatusCode.FAILED_PRECONDITION, "NOT_LEADER", "go there", {"leader_address": "evil:1"}
    )
    for method, call in CALLS.items():
        if method == "Top":  # the host is among the silent ones
            continue
        rig.agents["h1"].questions.replies[method] = Declined("it declines", elsewhere)
        code, reason, said = await refusal(call(rig.stub()))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "HOST_UNREACHABLE"), method
        assert "evil" not in said


async def test_a_host_whose_answer_is_larger_than_any_is_named(rig: RelayRig) -> None:
    huge = wire.DoctorResponse(verdicts=[wire.LimitVerdict(limit="x" * (20 << 20))])
    rig.agents["h1"].questions.replies["Doctor"] = huge
    code, reason, _ = await refusal(CALLS["Doctor"](rig.stub()))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "HOST_UNREACHABLE")
    assert rig.events("host_misbehaves")


async def test_an_older_agent_is_told_with_its_version(rig: RelayRig) -> None:
    stub = rig.stub()
    for method, call in CALLS.items():
        code, reason, said = await refusal(call(stub))
        assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"), method
        assert said.startswith("the agent of h1, version 0.1.0, does not offer ")
    assert not rig.events("image_deleted") + rig.events("image_imported") + rig.events("host_tuned")


async def test_viewers_read_and_agents_do_not_even_that(rig: RelayRig) -> None:
    changing = {"Tune", "DeleteImage", "ImportImage"}
    for method, call in CALLS.items():
        denied = (grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED")
        assert (await refusal(call(rig.stub(identity(Role.AGENT, "h1")))))[:2] == denied
        by_viewer = await refusal(call(rig.stub(VIEWER)))
        assert (by_viewer[:2] == denied) is (method in changing), method
    assert len(rig.agents["h1"].questions.asked) == len(CALLS) - len(changing)


async def test_which_host_must_be_said_among_several_and_it_must_be_there() -> None:
    async with relay_rig(2) as rig:
        stub = rig.stub()
        code, reason, said = await refusal(stub.Doctor(cluster.HostDoctorRequest()))
        assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "WHICH_HOST")
        assert said == "there are 2 hosts: say which (h1, h2, ...)"
        code, reason, said = await refusal(stub.Doctor(cluster.HostDoctorRequest(host="h3")))
        assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NO_SUCH_HOST")
        assert said == "there is no host 'h3'"


async def test_a_host_out_of_reach_is_named_with_since_when(rig: RelayRig) -> None:
    await rig.lose("h1")
    for method, call in CALLS.items():
        code, reason, said = await refusal(call(rig.stub()))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "HOST_UNREACHABLE"), method
        assert said.startswith("host h1 cannot be reached (last heard "), said
    assert not rig.events("host_tuned"), "nothing was sent"


async def test_a_host_that_goes_in_the_middle_ends_the_call_and_leaves_an_event(
    rig: RelayRig,
) -> None:
    rig.agents["h1"].questions.replies["ImportImage"] = [wire.ImportImageProgress(done_bytes=1)]
    importing = rig.stub().ImportImage(cluster.HostImportImageRequest(image=GOLDEN, source="x"))
    await importing.read()
    await rig.servers["h1"].stop(0)
    assert (await refusal(importing.read()))[:2] == (
        grpc.StatusCode.UNAVAILABLE,
        "HOST_UNREACHABLE",
    )
    assert rig.events("image_imported") == [
        ("h1: import of image golden@1: how it ended is not known", "operator/alice")
    ]


async def test_an_import_ends_once_vms_of_the_image_may_be_placed_there(rig: RelayRig) -> None:
    await rig.holds("h1")
    rig.agents["h1"].questions.replies["ImportImage"] = [THERE]
    importing = rig.stub().ImportImage(
        cluster.HostImportImageRequest(host="h1", image=GOLDEN, source="x")
    )
    reading = asyncio.ensure_future(importing.read())
    await until(lambda: bool(rig.events("image_imported")), SECONDS)
    assert not reading.done(), "the host has not said yet that it has it"
    await rig.holds("h1", GOLDEN)
    assert await reading == THERE


async def test_a_slow_host_is_named_before_the_caller_ceases_to_wait(rig: RelayRig) -> None:
    rig.agents["h1"].questions.replies["Doctor"] = Silent()
    code, reason, said = await refusal(rig.stub().Doctor(cluster.HostDoctorRequest(), timeout=1.0))
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "HOST_UNREACHABLE")
    assert said.startswith("host h1 did not answer in time")


async def test_an_import_may_be_long_but_not_silent(
    rig: RelayRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_calls, "IMPORT_SILENCE_SECONDS", 0.3)
    rig.agents["h1"].questions.replies["ImportImage"] = [wire.ImportImageProgress(done_bytes=1)]
    importing = rig.stub().ImportImage(cluster.HostImportImageRequest(image=GOLDEN, source="x"))
    await importing.read()
    assert (await refusal(importing.read()))[1] == "HOST_UNREACHABLE"
    exchange = rig.agents["h1"].questions.exchanges[0]
    await rig.agents["h1"].until(lambda: exchange.gone)


async def test_an_import_that_the_operator_ends_ends_at_the_agent(rig: RelayRig) -> None:
    rig.agents["h1"].questions.replies["ImportImage"] = [wire.ImportImageProgress(done_bytes=1)]
    importing = rig.stub().ImportImage(cluster.HostImportImageRequest(image=GOLDEN, source="x"))
    await importing.read()
    importing.cancel()
    exchange = rig.agents["h1"].questions.exchanges[0]
    await rig.agents["h1"].until(lambda: exchange.gone)
    await until(lambda: bool(rig.events("image_imported")))


async def test_a_deposed_leader_asks_nothing_more(rig: RelayRig) -> None:
    rig.agents["h1"].questions.replies["Doctor"] = wire.DoctorResponse()
    await rig.depose()
    for method, call in CALLS.items():
        assert (await refusal(call(rig.stub())))[1] == "NOT_LEADER", method
    assert not rig.agents["h1"].questions.asked


async def test_what_goes_on_ends_as_leadership_does(rig: RelayRig) -> None:
    rig.agents["h1"].questions.replies["ImportImage"] = [wire.ImportImageProgress(done_bytes=1)]
    importing = rig.stub().ImportImage(cluster.HostImportImageRequest(image=GOLDEN, source="x"))
    await importing.read()
    ending = asyncio.ensure_future(refusal(importing.read()))
    await rig.depose()
    assert (await ending)[:2] == (grpc.StatusCode.UNAVAILABLE, "NOT_LEADER")


async def test_an_agent_that_knows_a_newer_leader_makes_this_one_say_so(rig: RelayRig) -> None:
    heard = rig.leading.memory.state.seals.term(Term(1, 2**40))
    rig.agents["h1"].questions.replies["Tune"] = stale_term("a newer leader", heard)
    assert (await refusal(CALLS["Tune"](rig.stub())))[1] == "NOT_LEADER"
    assert rig.events("leader_outranked")


async def test_an_agent_that_only_says_so_is_out_of_reach_itself(rig: RelayRig) -> None:
    heard = types.Term(store_generation=1, revision=2**40)
    rig.agents["h1"].questions.replies["Tune"] = stale_term("a newer leader", heard)
    assert (await refusal(CALLS["Tune"](rig.stub())))[1] == "HOST_UNREACHABLE"
    assert not rig.events("leader_outranked") and rig.events("host_distrusted")


async def test_a_lease_that_may_be_gone_is_enough_to_ask_nothing(rig: RelayRig) -> None:
    rig.agents["h1"].questions.replies["Doctor"] = wire.DoctorResponse()
    relay = rig.leading.relay
    relay.questions("h1")
    relay._lease.end("in this test")
    assert (await refusal(CALLS["Doctor"](rig.stub())))[1] == "NOT_LEADER"
    assert not rig.agents["h1"].questions.asked
