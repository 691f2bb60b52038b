"""Agents that say where they are: thousands in few transactions, impostors refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.changes.announcements import CHANGES
from fleet_controller.core.model import Health
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.queries import fleets as fleet_queries
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Put, Unavailable
from tests.doubles.faulty_store import Fault, FaultyStore
from tests.doubles.leading import another_change, leading, until
from tests.doubles.scripted_agents import FakeDialer, ScriptedAgent
from tests.virtual_loop import run_virtual, virtual

Scenario = Callable[[Leader, FaultyStore, FakeDialer], Awaitable[None]]


def play(scenario: Scenario) -> None:
    async def whole() -> None:
        store = FaultyStore(MemoryStore(asyncio.get_running_loop().time))
        dialer = FakeDialer(0.01)
        async with leading(store, dialer) as leader:
            await scenario(leader, store, dialer)

    run_virtual(whole())


def facts(incarnation: str = "i1", guests: int = 10) -> types.HostFacts:
    return types.HostFacts(incarnation=incarnation, capacity=types.Capacity(guests=guests))


async def announce(leader: Leader, host: str, incarnation: str = "i1", at: str = "") -> None:
    await leader.announcements.announce(host, at or f"{host}:1", facts(incarnation))


def test_five_hundred_at_once_take_five_transactions() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        before = len(store.txns)
        await asyncio.gather(*(announce(leader, f"h{number}") for number in range(500)))
        assert len(store.txns) - before <= 5
        stored = await store.inner.read(keys.HOSTS)
        assert len(stored.entries) == len(leader.memory.state.hosts) == 500

    play(scenario)


def test_what_is_known_already_is_not_written_again() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        await announce(leader, "a")
        before = len(store.txns)
        await asyncio.gather(*(announce(leader, "a") for _ in range(20)))
        assert len(store.txns) == before
        await announce(leader, "a", at="elsewhere:2")
        assert leader.memory.state.hosts["a"].address == "elsewhere:2"

    play(scenario)


def test_an_error_of_ours_about_one_host_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        judge = leader.announcements._announced

        def broken(have: Any, one: Any) -> Any:
            if one.host_id == "bad":
                raise ZeroDivisionError
            return judge(have, one)

        monkeypatch.setattr(leader.announcements, "_announced", broken)
        hosts = ("a", "bad", "b")
        found = await asyncio.gather(
            *(announce(leader, host) for host in hosts), return_exceptions=True
        )
        assert isinstance(found[1], ZeroDivisionError)
        assert leader.memory.state.hosts.keys() == {"a", "b"}

    play(scenario)


def test_a_host_that_announces_itself_again_is_dialled_at_once() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        await announce(leader, "a")
        await asyncio.sleep(100)
        dialer.agents["a:1"] = ScriptedAgent("a")
        await announce(leader, "a")
        await until(lambda: leader.memory.links.by_health[Health.LIVE] == 1, 1.0)

    play(scenario)


@pytest.mark.parametrize("tried", [True, False])
def test_a_second_claimant_is_refused_and_reported(tried: bool) -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        dialer.agents["a:1"] = ScriptedAgent("a")
        await announce(leader, "a")
        if tried:
            await until(lambda: leader.memory.links.by_health[Health.LIVE] == 1)
        with pytest.raises(Refused, match="two dom0s use one certificate") as refusal:
            await announce(leader, "a", "i2", at="twin:1")
        assert refusal.value.reason is Reason.DUPLICATE_HOST
        assert leader.memory.state.hosts["a"].address == "a:1"
        events, _ = leader.memory.events.after(0, 100, "", "a")
        assert "host_refused" in [event.kind for event in events]

    play(scenario)


def test_a_dom0_cloned_with_its_certificate_and_ledger_is_refused_and_both_keep_their_vms() -> None:
    """The copy has all that the original remembers, and a boot of its own."""

    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        original, copy = ScriptedAgent("a"), ScriptedAgent("a")
        original.speaks = False
        dialer.agents |= {"a:1": original, "copy:1": copy}
        here, there = facts(), facts()
        here.boot_id, there.boot_id = "boot-1", "boot-2"
        await leader.announcements.announce("a", "a:1", here)
        await original.until(lambda: bool(original.streams))
        original.send(full=True, facts=here)
        await until(lambda: leader.memory.links.by_health[Health.LIVE] == 1)
        await leader.fleets.apply("spv", types.FleetSpec(memory_bytes=4 << 20), "operator/me")
        for _ in range(3):
            with pytest.raises(Refused, match="another boot, with the same ledger") as refusal:
                await leader.announcements.announce("a", "copy:1", there)
            assert refusal.value.reason is Reason.DUPLICATE_HOST
        assert leader.memory.state.hosts["a"].address == "a:1"
        assert copy.assigned == copy.watches == [], "nobody tells the copy anything"
        events, _ = leader.memory.events.after(0, 100, "", "a")
        assert [event.kind for event in events].count("host_refused") == 1
        (problem,) = fleet_queries.problems(leader.memory, "")
        assert (problem.kind, problem.hosts) == ("host_refused", 1)
        await leader.announcements.announce("a", "a:1", here)

    play(scenario)


def test_a_host_whose_predecessor_is_out_of_reach_takes_its_place() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        await announce(leader, "a")
        await until(lambda: not leader.memory.links.is_reachable("a"))
        await announce(leader, "a", "i2", at="new:1")
        assert leader.memory.state.hosts["a"].incarnation == "i2"

    play(scenario)


def test_one_refused_announcement_spoils_no_other() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        outcomes = await asyncio.gather(
            announce(leader, "a"),
            announce(leader, "b", at="nonsense"),
            announce(leader, "c"),
            return_exceptions=True,
        )
        assert [type(outcome) for outcome in outcomes] == [type(None), Refused, type(None)]
        assert leader.memory.state.hosts.keys() == {"a", "c"}

    play(scenario)


def test_an_announcer_that_has_gone_away_harms_nobody() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        async with another_change(leader):  # the batch waits
            gone = [asyncio.create_task(announce(leader, n, at=a)) for n, a in _SOME]
            await asyncio.sleep(1)
            for task in gone:
                task.cancel()
            await asyncio.wait(gone)
        await announce(leader, "later")
        assert "later" in leader.memory.state.hosts

    play(scenario)


_SOME = (("a", "a:1"), ("b", "nonsense"))


def test_a_store_in_trouble_is_told_and_the_next_try_works() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        store.faults = [Fault.REFUSED]
        outcomes = await asyncio.gather(
            *(announce(leader, f"h{n}") for n in range(3)), return_exceptions=True
        )
        assert {type(outcome) for outcome in outcomes} <= {Unavailable, type(None)}
        assert Unavailable in {type(outcome) for outcome in outcomes}
        await asyncio.gather(*(announce(leader, f"h{n}") for n in range(3)))
        assert len(leader.memory.state.hosts) == 3

    play(scenario)


def test_what_another_wrote_meanwhile_is_taken_into_account() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        await announce(leader, "a")
        by_hand = b'{"id":"a","address":"a:1","incarnation":"i1","cordoned":true}'
        await store.inner.txn([], [Put(keys.host("a"), by_hand)])
        await announce(leader, "a", at="new:1")
        record = leader.memory.state.hosts["a"]
        assert (record.address, record.cordoned) == ("new:1", True)

    play(scenario)


@virtual
async def test_nobody_waits_for_ever_when_the_leadership_ends() -> None:
    store = MemoryStore(asyncio.get_running_loop().time)
    async with leading(store, FakeDialer()) as leader:
        changing = asyncio.create_task(leader.writer.decide(asyncio.Event().wait))
        waiting = [asyncio.create_task(announce(leader, f"h{n}")) for n in range(3)]
        await asyncio.sleep(1)
    await asyncio.wait(waiting)
    changing.cancel()
    assert all(task.cancelled() for task in waiting)


# One host cannot make them many


def refusals(leader: Leader, host: str) -> list[tuple[str, int]]:
    """The events of what was refused of the host, and how often each was."""
    events, _ = leader.memory.events.after(0, 10_000, "", host)
    return [(event.message, event.count) for event in events if event.kind == "host_refused"]


async def change_at_once(leader: Leader) -> None:
    """As often as a host's record may be: it is at a:5 then."""
    await announce(leader, "a", at="a:1")
    for port in range(2, 2 + int(CHANGES.burst)):
        await announce(leader, "a", at=f"a:{port}")
        assert leader.memory.state.hosts["a"].address == f"a:{port}"


def test_a_host_that_announces_itself_without_end_is_refused_soon_and_others_are_not() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        await announce(leader, "evil")
        before, refused, began = len(store.txns), 0, asyncio.get_running_loop().time()
        for turn in range(2000):
            try:
                await announce(leader, "evil", at=f"evil:{turn + 1}")
            except Refused as error:
                refused += 1
                assert error.reason is Reason.TOO_MANY_ANNOUNCEMENTS
                assert error.metadata["retry_after_seconds"] in ("1", "2")
            await asyncio.sleep(0.005)
        took = asyncio.get_running_loop().time() - began
        assert refused >= 1960
        assert len(store.txns) - before <= CHANGES.burst + 1 + took * CHANGES.per_second
        ((message, count),) = refusals(leader, "evil")
        assert message.startswith("host evil announces itself too often; again in ")
        assert count == refused
        await announce(leader, "b")
        await asyncio.sleep(2)
        await announce(leader, "evil")

    play(scenario)


def test_a_host_is_written_a_few_times_at_once_then_every_ten_seconds_with_its_newest() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        await change_at_once(leader)
        before = len(store.txns)
        for port in range(6, 22):
            await announce(leader, "a", at=f"a:{port}")
            assert leader.memory.state.hosts["a"].address == "a:5"
            await asyncio.sleep(0.4)
        assert len(store.txns) == before
        await until(lambda: leader.memory.state.hosts["a"].address == "a:21", 10.0)
        assert len(store.txns) == before + 1

    play(scenario)


def test_a_change_that_is_taken_back_before_it_was_written_is_not_written() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        await change_at_once(leader)
        before = len(store.txns)
        for port in (6, 5):
            await announce(leader, "a", at=f"a:{port}")
        await asyncio.sleep(60)
        assert len(store.txns) == before
        assert leader.memory.state.hosts["a"].address == "a:5"

    play(scenario)


def test_a_change_that_waits_outlives_a_store_in_trouble() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        await change_at_once(leader)
        for port in (6, 7):
            await announce(leader, "a", at=f"a:{port}")
        store.faults = [Fault.REFUSED] * 3
        await until(lambda: leader.memory.state.hosts["a"].address == "a:7")

    play(scenario)


def test_refusals_are_counted_by_host_and_reason_whatever_the_host_says() -> None:
    async def scenario(leader: Leader, store: FaultyStore, dialer: FakeDialer) -> None:
        for turn in range(25):
            with pytest.raises(Refused):
                await announce(leader, "evil", at=f"bad address {turn}")
        ((message, count),) = refusals(leader, "evil")
        assert (message, count) == (
            "'bad address 24' is not an address such as 10.0.0.7:7443",
            25,
        )

    play(scenario)
