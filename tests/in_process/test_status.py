"""What status tells of a leader that is new, and of drains that go on or wait."""

from __future__ import annotations

import asyncio

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import Declined
from fleet_controller.core.model import Health
from fleet_controller.replica.leader import Leader
from tests.doubles import answers
from tests.doubles.leading import until
from tests.in_process.six_hosts import HOSTS, ME, PER_HOST, Stage, left, play


def test_a_new_leader_says_how_many_hosts_it_has_heard_and_does_not_call_the_rest_trouble() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        for name in ("h4", "h5"):
            stage.agent(name).mute = True

    async def second(leader: Leader, stage: Stage) -> None:
        await until(lambda: leader.memory.links.by_health[Health.LIVE] == 4)
        status = answers.status(leader, "spv")
        assert (status.settling.heard, status.settling.hosts) == (4, 6)
        assert 0 <= status.settling.seconds < 5
        assert status.fleets[0].states[types.VM_STATE_UNKNOWN] == 8
        assert not status.fleets[0].problems
        await until(lambda: not leader.memory.settling)
        status = answers.status(leader, "spv")
        assert not status.HasField("settling")
        (problem,) = status.fleets[0].problems
        assert (problem.kind, problem.hosts, problem.count) == ("host_unreachable", 2, 8)

    play(first, second)


def test_status_counts_each_vm_once_while_it_moves() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.hosts.drain("h0", ME)
        seen = set()
        while left(leader, "h0"):
            status = answers.fleet_status(leader, "spv")
            assert status.placed == 24 and not status.unplaced
            seen.add(bool(leader.memory.observed.staging.get(status.uid)))
            await asyncio.sleep(0.05)
        assert True in seen, "some were seen on their way"

    play(scene)


def test_a_drain_that_waits_for_a_host_that_does_not_prepare_names_it_and_why() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        for name in ("h1", "h2"):
            await leader.hosts.cordon(name, True, ME)
        for name in ("h3", "h4", "h5"):
            stage.agent(name).assign_refusals = [Declined("the ledger's disk is full")] * 999
        await leader.hosts.drain("h0", ME)
        await until(lambda: leader.memory.links.declining >= {"h3", "h4", "h5"})
        (found,) = answers.status(leader).drains
        assert (found.host, found.progress.left, found.progress.moving) == ("h0", 4, 4)
        waited_for = [part.split(", which ") for part in found.progress.message.split("; ")]
        assert {why for _, why in waited_for} == {
            "does not take its assignment: the ledger's disk is full"
        }
        assert sum(int(who.split()[0]) for who, _ in waited_for) == 4
        assert {who[-2:] for who, _ in waited_for} <= {"h3", "h4", "h5"}
        detail = answers.host_detail(leader, "h0")
        assert detail.drain.message == found.progress.message
        for name in ("h3", "h4", "h5"):
            stage.agent(name).assign_refusals.clear()
        await until(lambda: left(leader, "h0") == 0)
        assert not answers.status(leader).drains, "it is empty"
        assert answers.host_detail(leader, "h0").drain.done
        assert not answers.host_detail(leader, "h1").HasField("drain")

    play(scene)


def test_a_drain_that_waits_for_its_own_host_to_let_go_says_so() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        uid = leader.memory.state.fleets["spv"].uid
        own = stage.agent("h0")
        own.holds_back = True
        own.problems = [
            wire.Problem(kind="destroy", fleet_uid=uid, count=1, example_message="it is busy")
        ]
        await leader.hosts.drain("h0", ME)
        await until(lambda: answers.drain_of(leader, "h0").releasing == 4)
        await until(lambda: "h0" in leader.memory.observed.troubled)
        (found,) = answers.status(leader).drains
        assert found.progress.releasing == 4
        assert found.progress.message == (
            "4 VMs wait for h0 to let them go, which reports destroy: it is busy"
        )
        own.holds_back = False
        await until(lambda: left(leader, "h0") == 0)

    play(scene)


def test_a_drain_that_fits_nowhere_says_which_hosts_are_full_and_how_many_more_would_do() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await leader.hosts.cordon("h5", True, ME)
        await leader.hosts.drain("h0", ME)
        await until(lambda: "h0" in leader.planning.last_pass.unplaced)
        (found,) = answers.status(leader).drains
        assert found.progress.message == (
            "8 VMs fit on no other host and stay where they are: 4 hosts are full at 8 each "
            "(guests) (2 more are cordoned, draining or out of reach); 1 more host like these "
            "would do"
        )

    play(scene, total=HOSTS * PER_HOST)


def test_of_many_drains_a_status_shows_those_in_plain_trouble_first() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        for number in (0, 1, 2):
            await leader.hosts.drain(f"h{number}", ME)
            stage.agent(f"h{number}").holds_back = True
        stage.network.cut("h2:1")
        await until(lambda: leader.memory.links.by_health[Health.LIVE] == HOSTS - 1)
        first = answers.status(leader).drains[0]
        assert first.host == "h2" and "h2 cannot be reached" in first.progress.message
        stage.network.mend()
        for number in (0, 1, 2):
            stage.agent(f"h{number}").holds_back = False
        await until(lambda: not answers.status(leader).drains)

    play(scene)
