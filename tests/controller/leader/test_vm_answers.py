"""What is answered to questions about single VMs, from a leader's memory."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import clones as clone_queries
from fleet_controller.queries import vms as vm_queries
from fleet_controller.replica.leader import Leader
from tests.controller.leader.asked_leader import (
    ME,
    RUNNING,
    SPEC,
    Agents,
    fleet_of,
    play,
    scale,
)
from tests.doubles.leading import until


def test_vms_come_with_the_prefixes_of_their_generations() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        networked = types.FleetSpec()
        networked.CopyFrom(SPEC)
        networked.network.bridge, networked.network.prefix = "br0", "10.0.0.0/8"
        networked.more_networks.add(bridge="br1")
        await scale(leader, 2)
        await leader.fleets.apply("spv", networked, ME)
        await scale(leader, 4)
        listed = vm_queries.vms(leader.memory, cluster.ListVmsRequest())
        assert [row.generation for row in listed.vms] == [1, 1, 2, 2]
        (known,) = listed.networks
        assert (known.generation, list(known.prefixes)) == (2, ["10.0.0.0/8", ""])

    play(scenario)


def test_how_a_vm_was_begun_and_why_not_as_asked_is_what_its_host_says() -> None:
    cloned = types.FleetSpec(memory_bytes=4 << 20, vcpus=1, start=types.START_CLONE)

    async def scenario(leader: Leader, agents: Agents) -> None:
        await leader.fleets.apply("spv", cloned, ME)
        await scale(leader, 8)
        mine = sorted(index for _, index in agents["h2"].births)
        fleet = leader.memory.state.fleets["spv"]

        def shown(index: int) -> tuple[bool, int, str]:
            request = cluster.GetVmRequest(fleet="spv", index=index)
            one = vm_queries.vm(leader.memory, leader.planning, request)
            return one.HasField("started"), one.started, one.fallback

        assert shown(mine[0]) == (False, 0, "")
        silent = "VMs boot on 4 hosts, such as h0: an agent older than clones is there"
        assert clone_queries.not_cloned(leader.memory, fleet, cloned) == [silent]
        ranges = [types.IndexRange(start=mine[0], stop=2**32 - 1)]
        agents["h2"].send(
            fallbacks=[wire.Fallback(fleet_uid=fleet.uid, ranges=ranges, why="no room")],
            fallbacks_set=True,
        )
        await until(lambda: leader.memory.observed.host("h2").fallbacks is not None)
        assert shown(mine[0]) == (True, types.START_BOOT, "no room")
        agents["h2"].send(fallbacks_set=True)
        await until(lambda: leader.memory.observed.host("h2").fallbacks == ())
        assert shown(mine[0]) == (True, types.START_CLONE, "")
        assert clone_queries.not_cloned(leader.memory, fleet, SPEC) == []

    play(scenario)


def test_vms_are_found_by_state_host_and_index() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        mine = sorted(index for _, index in agents["h2"].births)
        by_host = vm_queries.vms(leader.memory, cluster.ListVmsRequest(host="h2"))
        assert [row.index for row in by_host.vms] == mine
        assert [by_host.hosts[row.host] for row in by_host.vms] == ["h2"] * 2
        none = vm_queries.vms(leader.memory, cluster.ListVmsRequest(state=types.VM_STATE_FAILED))
        assert (len(none.vms), none.matching) == (0, 0)
        indices = [types.IndexRange(start=6, stop=99)]
        some = vm_queries.vms(leader.memory, cluster.ListVmsRequest(indices=indices))
        assert [row.index for row in some.vms] == [6, 7]
        one = vm_queries.vm(leader.memory, leader.planning, cluster.GetVmRequest(index=mine[0]))
        assert (one.host, one.state, one.spec) == ("h2", RUNNING, SPEC)
        with pytest.raises(Refused, match="there is no 8") as refusal:
            vm_queries.vm(leader.memory, leader.planning, cluster.GetVmRequest(index=8))
        assert refusal.value.reason is Reason.NO_SUCH_VM

    play(scenario)


def test_vms_are_found_by_labels_of_their_hosts() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        mine = sorted(index for _, index in agents["h2"].births)
        for asked, found, hosts in (
            (cluster.ListVmsRequest(host_selector={"zone": "2"}), mine, 1),
            (cluster.ListVmsRequest(host_selector={"zone": "2"}, host="h2"), mine, 1),
            (cluster.ListVmsRequest(host_selector={"zone": "2"}, host="h1"), [], 0),
            (cluster.ListVmsRequest(host_selector={"zone": "2", "rack": "r"}), [], 0),
        ):
            listed = vm_queries.vms(leader.memory, asked)
            assert [row.index for row in listed.vms] == found
            assert listed.HasField("selected_hosts") and listed.selected_hosts == hosts
        everyone = vm_queries.vms(leader.memory, cluster.ListVmsRequest())
        assert not everyone.HasField("selected_hosts")

    play(scenario)


def test_vms_that_operators_stopped_are_found_by_that() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        vector = leader.memory.observed.vectors[fleet_of(leader).uid]
        stopped = sorted(index for _, index in agents["h2"].births)
        vector.set_power(int(vector.hosts[stopped[0]]), IndexSet.of(stopped), False)
        listed = vm_queries.vms(leader.memory, cluster.ListVmsRequest(powered_off_only=True))
        assert [row.index for row in listed.vms] == stopped and listed.matching == 2

    play(scenario)


def test_a_page_of_vms_says_the_base_of_mac_addresses_of_each_generation_on_it() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        listed = vm_queries.vms(leader.memory, cluster.ListVmsRequest())
        assert not listed.networks
        based = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
        based.network.bridge, based.network.mac_base = "br0", "00:16:3e:00:00:00"
        await leader.fleets.apply("spv", based, ME)
        await scale(leader, 9)
        listed = vm_queries.vms(leader.memory, cluster.ListVmsRequest())
        (known,) = listed.networks
        assert (known.generation, list(known.mac_bases)) == (2, ["00:16:3e:00:00:00"])
        assert [row.generation for row in listed.vms] == [1] * 8 + [2]

    play(scenario)


def test_vms_are_listed_from_any_place_and_by_other_than_their_index() -> None:
    async def scenario(leader: Leader, agents: Agents) -> None:
        await scale(leader, 8)
        vector = leader.memory.observed.vectors[fleet_of(leader).uid]

        def indices(**asked: Any) -> list[int]:
            answer = vm_queries.vms(leader.memory, cluster.ListVmsRequest(**asked))
            assert answer.matching == 8 and answer.position == min(8, asked.get("skip", 0))
            assert not answer.next_cursor or not asked.get("order")
            return [row.index for row in answer.vms]

        assert indices(skip=5) == [5, 6, 7] and indices(skip=2, limit=2) == [2, 3]
        assert indices(skip=99) == [] and indices(descending=True)[:2] == [7, 6]
        vector.set_state(int(vector.hosts[3]), IndexSet.of([3]), types.VM_STATE_FAILED)
        by_state = indices(order=cluster.VM_ORDER_STATE)
        assert by_state == [0, 1, 2, 4, 5, 6, 7, 3]
        assert indices(order=cluster.VM_ORDER_STATE, skip=6) == [7, 3]
        assert indices(order=cluster.VM_ORDER_STATE, descending=True) == [3, 0, 1, 2, 4, 5, 6, 7]
        names = [leader.memory.observed.names[int(one)] for one in vector.hosts[:8]]
        by_host = indices(order=cluster.VM_ORDER_HOST)
        assert [names[one] for one in by_host] == sorted(names)
        assert sorted(by_host) == list(range(8))
        for order in cluster.VmOrder.values():
            assert sorted(indices(order=order)) == list(range(8))
        assert indices(order=99) == list(range(8))  # of a newer fleetctl

    play(scenario)
