"""One leadership on a store in trouble: it says so once, waits, and goes on."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.change_deadline import set_change_deadline
from fleet_controller.core.model import Health
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.keys import EVENTS
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Put
from tests.doubles import answers
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.leading import another_change, leading, until
from tests.doubles.obedient_agents import Network, ObedientAgent, World
from tests.virtual_loop import run_virtual

ME = "operator/me"
SPEC = types.FleetSpec(memory_bytes=4 << 20, vcpus=1)
Scenario = Callable[[Leader, FaultyStore, MemoryStore], Awaitable[None]]


def play(scenario: Scenario) -> None:
    """300 hosts of 4 VMs each, so that a division takes several transactions."""

    async def whole() -> None:
        network, world = Network(), World()
        inner = MemoryStore(asyncio.get_running_loop().time)
        store = FaultyStore(inner)
        async with leading(store, network) as leader:
            facts = types.HostFacts(incarnation="i", capacity=types.Capacity(guests=4))
            announce = leader.announcements.announce
            for number in range(300):
                name = f"h{number}"
                network.agents[f"{name}:1"] = ObedientAgent(name, world, Random(number))
            await asyncio.gather(*(announce(f"h{n}", f"h{n}:1", facts) for n in range(300)))
            await until(lambda: leader.memory.links.by_health[Health.LIVE] == 300)
            await leader.fleets.apply("spv", SPEC, ME)
            await scenario(leader, store, inner)

    run_virtual(whole())


def converged(leader: Leader, total: int) -> bool:
    fleet = leader.memory.state.fleets["spv"]
    return fleet.total == total and answers.fleet_status(leader, fleet.name).converged


def kinds(leader: Leader) -> Counter[str]:
    events, _ = leader.memory.events.after(0, 10_000, "", "")
    return Counter(event.kind for event in events)


def test_a_full_scale_takes_as_few_transactions_as_hold_it() -> None:
    async def scenario(leader: Leader, store: FaultyStore, inner: MemoryStore) -> None:
        def changes() -> int:
            """Transactions, but for those of events alone."""
            written = ([write.key for write in writes] for _, writes in store.txns)
            return sum(not all(key.startswith(EVENTS) for key in one) for one in written)

        before = changes()
        await leader.fleets.scale("spv", 1_200, ME)
        await until(lambda: converged(leader, 1_200))
        assert changes() - before == -(-301 // 126)

    play(scenario)


def test_a_division_that_the_store_refuses_in_the_middle_is_completed_later() -> None:
    async def scenario(leader: Leader, store: FaultyStore, inner: MemoryStore) -> None:
        store.faults = [None, *[Fault.REFUSED] * 20]
        await leader.fleets.scale("spv", 1_200, ME)
        await until(lambda: converged(leader, 1_200))
        assert kinds(leader)["store_trouble"] == 1, "said once, not with each try"

    play(scenario)


def test_answers_lost_in_the_middle_of_a_division_cost_nothing_but_time() -> None:
    async def scenario(leader: Leader, store: FaultyStore, inner: MemoryStore) -> None:
        store.faults = [Fault.ANSWER_LOST, None, Fault.HELD_BACK, Fault.REQUEST_LOST]
        await leader.fleets.scale("spv", 1_200, ME)
        await store.release()
        await until(lambda: converged(leader, 1_200))

    play(scenario)


def test_what_a_compaction_swallowed_is_read_anew_once_the_store_can_be_read() -> None:
    async def scenario(leader: Leader, store: FaultyStore, inner: MemoryStore) -> None:
        by_hand = '{"id":"x%d","address":"x%d:1","cordoned":true}'
        store.compacts = store.reads_fail = True
        for number in range(20):
            record = (by_hand % (number, number)).encode()
            await inner.txn([], [Put(keys.host(f"x{number}"), record)])
        await until(lambda: not store.compacts)
        await asyncio.sleep(5)
        assert len(leader.memory.state.hosts) < 320
        store.reads_fail = False
        await until(lambda: len(leader.memory.state.hosts) == 320)
        await leader.fleets.scale("spv", 12, ME)
        await until(lambda: converged(leader, 12))

    play(scenario)


def test_a_deleted_fleet_is_gone_from_every_key_but_the_one_that_says_so() -> None:
    async def scenario(leader: Leader, store: FaultyStore, inner: MemoryStore) -> None:
        await leader.fleets.scale("spv", 600, ME)
        await until(lambda: converged(leader, 600))
        uid = leader.memory.state.fleets["spv"].uid
        await leader.fleets.delete("spv", ME)
        await until(lambda: "spv" not in leader.memory.state.fleets)
        left = [e.key for e in (await inner.read()).entries if uid in e.key + e.value.decode()]
        assert left == [keys.gone(uid)], "only that there was such a fleet"
        assert kinds(leader)["fleet_deleted"] == 1

    play(scenario)


def test_a_change_that_has_waited_too_long_for_another_is_not_begun() -> None:
    async def scenario(leader: Leader, store: FaultyStore, inner: MemoryStore) -> None:
        async def asked() -> None:
            set_change_deadline(leader.memory.clock() + 2.0)
            await leader.fleets.scale("spv", 1_200, ME)

        async with another_change(leader):
            late = asyncio.create_task(asked())
            await asyncio.sleep(2.5)
        with pytest.raises(Refused) as refusal:
            await late
        assert refusal.value.reason is Reason.CHANGE_DEADLINE_PASSED
        assert leader.memory.state.fleets["spv"].total == 0
        await leader.fleets.scale("spv", 12, ME)  # another call has no bound of that one

    play(scenario)
