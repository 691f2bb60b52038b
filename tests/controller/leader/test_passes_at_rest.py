"""Passes while nothing is left to do: hosts that come and go cost none, and change none."""

from __future__ import annotations

import asyncio
from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Capacity, ClusterView, Health, HostView
from fleet_controller.core.passes import decide, is_at_rest
from fleet_controller.core.placement.placement import place
from fleet_controller.replica.leader import Leader
from fleet_controller.store.memory import MemoryStore
from tests.controller.placement.test_placement import after, cluster, draw_hosts, host, hosts_drawn
from tests.doubles import answers
from tests.doubles.leading import leading, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import run_virtual

ME = "operator/me"
MOVES = 250

flips = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20), st.booleans(), st.sampled_from(["", "q"])),
    min_size=9,
    max_size=9,
)


@settings(deadline=None)
@given(hosts_drawn, st.integers(0, 40), flips)
def test_at_rest_no_host_that_comes_goes_or_describes_itself_otherwise_changes_a_pass(
    drawn: list[tuple[int, str, bool, bool]],
    total: int,
    flipped: list[tuple[bool, int, bool, str]],
) -> None:
    view = cluster(draw_hosts(drawn), total)
    view = after(view, place(view))
    if not is_at_rest(view, decide(view, MOVES)):
        return
    changed = [
        _other(have, *flip) for have, flip in zip(view.hosts.values(), flipped, strict=False)
    ]
    other = msgspec.structs.replace(
        view, hosts={one.record.id: one for one in [*changed, host("new")]}
    )
    decided = decide(other, MOVES)
    assert not decided.assignments
    assert is_at_rest(other, decided)


def _other(have: HostView, reachable: bool, guests: int, cordoned: bool, why: str) -> HostView:
    record = msgspec.structs.replace(
        have.record, capacity=Capacity(guests), cordoned=cordoned, quarantine=why, labels={}
    )
    return msgspec.structs.replace(have, record=record, reachable=reachable)


def test_what_is_still_to_be_done_is_no_rest() -> None:
    def rests(view: ClusterView) -> bool:
        return is_at_rest(view, decide(view, MOVES))

    unplaced = cluster([host("a", 5)], 6)
    assert not rests(after(unplaced, place(unplaced)))
    view = cluster([host("a", 5), host("b", 5)], 6)
    assert not rests(view), "assignments are still to be written"
    whole = after(view, place(view))
    assert rests(whole)
    for state in ("draining", "lost"):
        record = msgspec.structs.replace(whole.hosts["a"].record, **{state: True})
        one = msgspec.structs.replace(whole.hosts["a"], record=record)
        assert not rests(msgspec.structs.replace(whole, hosts={**whole.hosts, "a": one}))
    fleet = msgspec.structs.replace(whole.fleets["spv"], deleting=True)
    assert not rests(msgspec.structs.replace(whole, fleets={"spv": fleet}))


def test_a_host_that_comes_and_goes_for_ever_costs_no_pass_while_nothing_is_to_be_done() -> None:
    async def whole() -> None:
        network, world = Network(), World()
        store = MemoryStore(asyncio.get_running_loop().time)
        async with leading(store, network) as leader:
            facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=4))
            for number in range(4):
                await _announced(leader, network, world, f"h{number}", facts)
            spec = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
            await leader.fleets.apply("spv", spec, ME)
            await leader.fleets.scale("spv", 8, ME)
            await until(lambda: answers.fleet_status(leader, "spv").converged)
            await asyncio.sleep(5)
            last = leader.planner.planning
            for _ in range(3):
                network.agents["h3:1"].end()
                await until(lambda: not leader.memory.is_live("h3"))
                await until(lambda: leader.memory.is_live("h3"))
            other = types.HostFacts(
                incarnation="i", capacity=types.Capacity(guests=5), labels={"rack": "r2"}
            )
            await leader.announcements.announce("h3", "h3:1", other)
            await asyncio.sleep(20)
            assert leader.planner.planning is last
            # What came meanwhile is there when something is to be done.
            await _announced(leader, network, world, "h4", facts)
            await leader.fleets.scale("spv", 20, ME)
            await until(lambda: answers.fleet_status(leader, "spv").converged)
            assert leader.planner.planning is not last

    run_virtual(whole())


async def _announced(
    leader: Leader, network: Network, world: World, name: str, facts: types.HostFacts
) -> None:
    network.agents[f"{name}:1"] = ObedientAgent(name, world, Random(name))
    await leader.announcements.announce(name, f"{name}:1", facts)
    await until(lambda: leader.memory.links.by_health[Health.LIVE] == len(network.agents))
