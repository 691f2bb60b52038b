"""What is answered to questions, from a leader's memory, about hosts that obey or do not."""

from __future__ import annotations

import pytest

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.agents.port import Declined
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import fleets as fleet_queries
from fleet_controller.queries import hosts as host_queries
from fleet_controller.queries import vms as vm_queries
from fleet_controller.replica.leader import Leader
from tests.controller.leader.asked_leader import (
    HOSTS,
    ME,
    PER_HOST,
    RUNNING,
    Agents,
    fleet_of,
    play,
    scale,
)
from tests.doubles import answers
from tests.doubles.leading import until


def test_a_fleet_without_vms_has_converged() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        status = answers.status(leader)
        (fleet,) = status.fleets
        assert (fleet.fleet, fleet.total, fleet.placed, fleet.converged) == ("spv", 0, 0, True)
        assert (status.hosts.live, status.hosts.total) == (HOSTS, HOSTS)
        assert not fleet.problems and not fleet.unplaced_reasons

    play(scenario)


def test_status_counts_states_generations_and_hosts() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 10)
        await leader.fleets.apply("spv", types.FleetSpec(memory_bytes=8 << 20, vcpus=1), ME)
        await scale(leader, 16)
        fleet = fleet_of(leader)
        assert (fleet.states[RUNNING], sum(fleet.states)) == (16, 16)
        assert [(g.generation, g.assigned, g.running) for g in fleet.generations] == [
            (1, 10, 10),
            (2, 6, 6),
        ]
        assert (fleet.generation, fleet.changed_by, fleet.releasing) == (2, ME, 0)

    play(scenario)


def test_what_fits_nowhere_is_unplaced_with_its_reason() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 55, partial=True)
        assert [r.count for r in fleet_of(leader).unplaced_reasons] == [15], "told at once"
        await until(lambda: fleet_of(leader).states[RUNNING] == 40)
        fleet = fleet_of(leader)
        (reason,) = fleet.unplaced_reasons
        assert (fleet.unplaced, fleet.converged) == (15, False)
        assert (reason.reason, reason.count, reason.hosts_needed) == ("capacity", 15, 2)
        lost = vm_queries.vm(leader.memory, leader.planning, cluster.GetVmRequest(index=54))
        assert (lost.host, lost.unplaced_reason) == ("", reason.message)
        rows = vm_queries.vms(leader.memory, cluster.ListVmsRequest(limit=100)).vms
        assert [row.host for row in rows[40:]] == [0] * 15

    play(scenario)


def test_problems_are_counted_by_kind_with_an_example() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        uid = fleet_of(leader).uid
        for name, count in (("h0", 3), ("h1", 2)):
            problem = wire.Problem(
                kind="no_memory", fleet_uid=uid, count=count, example_message="out of memory"
            )
            other = wire.Problem(kind="other", fleet_uid="another", count=9)
            agents[name].send(problems=[problem, other], problems_set=True)
        await until(lambda: len(leader.memory.observed.troubled) == 2)
        (problem_,) = fleet_of(leader).problems
        assert (problem_.kind, problem_.count, problem_.hosts) == ("no_memory", 5, 2)
        assert problem_.example.endswith(": out of memory")

    play(scenario)


def test_problems_that_an_agent_makes_up_count_no_more_than_its_host_can_have() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        uid = fleet_of(leader).uid
        for agent in agents.values():
            agent.send(
                problems=[
                    wire.Problem(kind="driver", count=2**32 - 1),
                    wire.Problem(kind="x", fleet_uid="nobody's", count=1),
                    wire.Problem(kind="y", fleet_uid=uid, count=1),
                ],
                problems_set=True,
            )
        await until(lambda: len(leader.memory.observed.troubled) == HOSTS)
        (problem,) = fleet_of(leader).problems
        assert (problem.kind, problem.hosts) == ("driver", HOSTS)
        assert problem.count <= HOSTS * leader.memory.allowances.of("h0").vms

    play(scenario)


def test_orphans_beyond_what_a_host_can_have_are_void_and_name_it() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        uid = fleet_of(leader).uid
        vast = [types.IndexRange(start=0, stop=2**32 - 1)]
        orphans = [wire.Orphans(fleet_uid=uid, birth=1, ranges=vast)]
        agents["h0"].send(orphans=orphans, orphans_set=True)
        await until(lambda: not leader.memory.is_live("h0"))
        fleet = fleet_of(leader)
        (problem,) = fleet.problems
        assert (problem.kind, problem.hosts, fleet.orphans) == ("misbehaves", 1, 0)
        assert problem.example == "h0 reports 4,294,967,295 orphans; it can have 256"
        await scale(leader, 8)

    play(scenario)

    play(scenario)


def test_hosts_out_of_reach_and_hosts_that_decline_are_problems_too() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        agents["h0"].assign_refusals = [Declined("h0: the ledger's disk is full")] * 99
        await leader.fleets.scale("spv", 12, ME)
        await until(lambda: leader.memory.links.declining == {"h0"})
        (problem,) = fleet_of(leader).problems
        assert (problem.kind, problem.hosts, problem.count) == ("assignment_refused", 1, 3)
        assert problem.example == "h0: the ledger's disk is full"
        await until(lambda: fleet_of(leader).states[RUNNING] == 11)
        agents["h0"].assign_refusals.clear()
        await until(lambda: fleet_of(leader).converged)
        agents["h1"].end()
        await until(lambda: host_queries.host_counts(leader.memory).unreachable == 1)
        (problem,) = fleet_of(leader).problems
        assert (problem.kind, problem.hosts, problem.count) == ("host_unreachable", 1, 3)

    play(scenario)


def test_hosts_are_listed_by_pages_and_filters() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        first = answers.host_list(leader, cluster.ListHostsRequest(limit=3))
        assert ([h.id for h in first.hosts], first.matching) == (["h0", "h1", "h2"], HOSTS)
        request = cluster.ListHostsRequest(limit=3, cursor=first.next_cursor)
        rest = answers.host_list(leader, request)
        assert ([h.id for h in rest.hosts], rest.next_cursor) == (["h3"], "")
        await leader.hosts.cordon("h2", True, ME)
        await leader.hosts.drain("h1", ME)
        for asked, found in (
            (cluster.ListHostsRequest(selector={"zone": "1"}), ["h1"]),
            (cluster.ListHostsRequest(cordoned_only=True), ["h2"]),
            (cluster.ListHostsRequest(draining_only=True), ["h1"]),
            (cluster.ListHostsRequest(draining_only=True, cordoned_only=True), []),
            (cluster.ListHostsRequest(quarantined_only=True), []),
            (cluster.ListHostsRequest(health=cluster.HOST_HEALTH_LOST), []),
        ):
            assert [h.id for h in answers.host_list(leader, asked).hosts] == found
        summary = answers.host_summary(leader, "h0")
        assert (summary.assigned, summary.running, summary.failed) == (2, 2, 0)
        assert (summary.health, summary.capacity_guests) == (cluster.HOST_HEALTH_LIVE, PER_HOST)
        assert summary.report_age_seconds >= 0

    play(scenario)


def test_a_host_in_detail_shows_what_it_is_told_and_what_it_says() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        detail = answers.host_detail(leader, "h3")
        assert detail.epoch == detail.reported_epoch
        assert sum(r.stop - r.start for s in detail.shards for r in s.ranges) == 2
        assert [fleet.name for fleet in detail.fleets] == ["spv"]
        with pytest.raises(Refused) as refusal:
            answers.host_detail(leader, "h9")
        assert refusal.value.reason is Reason.NO_SUCH_HOST

    play(scenario)


def test_summaries_say_what_facts_say_and_how_many_vms_failed() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        record = leader.memory.state.hosts["h0"]
        summary = answers.host_summary(leader, "h0")
        assert (summary.agent_version, summary.hypervisor, summary.memory_bytes) == (
            record.agent_version, record.hypervisor, record.capacity.memory_bytes,
        )  # fmt: skip
        (fleet,) = leader.memory.state.fleets.values()
        vector = leader.memory.observed.vectors[fleet.uid]
        vector.set_state(int(vector.hosts[0]), IndexSet.span(0, 1), types.VM_STATE_FAILED)
        assert fleet_queries.fleet_summary(leader.memory, fleet).failed == 1
        vector.set_power(int(vector.hosts[1]), IndexSet.span(1, 2), False)
        vector.set_state(int(vector.hosts[1]), IndexSet.span(1, 2), types.VM_STATE_DEFINED)
        told = fleet_queries.fleet_summary(leader.memory, fleet)
        assert (told.running, told.as_wanted, told.powered_off) == (6, 7, 1)

    play(scenario)


def test_a_host_in_a_list_names_the_first_of_its_images() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        held = [types.Image(name="golden", snapshot=str(at)) for at in range(7)]
        facts = types.HostFacts(
            incarnation="i",
            capacity=types.Capacity(guests=PER_HOST),
            images=types.ImagesHeld(images=held),
        )
        await leader.announcements.announce("h0", "h0:1", facts)
        summary = answers.host_summary(leader, "h0")
        assert list(summary.images) == [f"golden@{at}" for at in range(5)]
        assert summary.more_images == 2
        assert not answers.host_summary(leader, "h1").images

    play(scenario)


def test_a_lost_host_that_is_heard_again_is_no_live_one_that_has_converged() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        await until(lambda: host_queries.host_counts(leader.memory).converged == HOSTS)
        leader.memory.state.lost.add("h0")  # until the next pass takes the verdict back
        counts = host_queries.host_counts(leader.memory)
        assert (counts.lost, counts.live, counts.converged) == (1, HOSTS - 1, HOSTS - 1)

    play(scenario)
