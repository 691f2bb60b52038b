"""Events that outlive their leader: written to the store's ring, told again by the next leader,
in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter

from fleet_controller.core.events.event_ring import MOST_OF_KIND, SLOTS
from fleet_controller.replica.leader import Leader
from fleet_controller.store import keys
from fleet_controller.store.port import Put
from tests.doubles import answers
from tests.doubles.faulty_store import Fault
from tests.doubles.leading import until
from tests.in_process.six_hosts import ME, Stage, kinds, play


def messages(leader: Leader) -> list[str]:
    events, _ = leader.memory.events.after(0, 10_000, "", "")
    return [event.message for event in events]


async def saved(leader: Leader) -> None:
    await until(lambda: not leader.memory.events.unsaved)


def test_the_next_leader_tells_again_what_matters_and_not_who_came_and_went() -> None:
    before: list[str] = []

    async def first(leader: Leader, stage: Stage) -> None:
        leader.memory.events.add("host_lost", "h3 is lost: gone", host="h3")
        leader.relay.console_opened("spv-1's console", "h1", ME, "spv")
        await saved(leader)
        before.extend(messages(leader))

    async def second(leader: Leader, stage: Stage) -> None:
        seen = kinds(leader)
        assert (seen["leader_elected"], seen["fleet_scaled"], seen["host_lost"]) == (2, 1, 1)
        assert not seen["console_opened"]
        again = messages(leader)
        kept = [one for one in before if one in again]
        assert again[: len(kept)] == kept, "in the order in which they were told"
        events, _ = leader.memory.events.after(0, 10_000, "", "h3")
        lost = [one for one in events if one.kind == "host_lost"]
        assert [(one.message, one.host) for one in lost] == [("h3 is lost: gone", "h3")]

    play(first, second)


def test_when_the_store_was_copied_is_known_to_whoever_leads_next() -> None:
    copied = 0.0

    async def first(leader: Leader, stage: Stage) -> None:
        nonlocal copied
        await asyncio.sleep(100)
        leader.memory.events.add("backup_taken", "the store was backed up", actor=ME)
        copied = leader.memory.events.last_backup
        await saved(leader)

    async def second(leader: Leader, stage: Stage) -> None:
        assert leader.memory.events.last_backup == copied > 100

    play(first, second)


def test_a_reader_goes_on_with_what_the_former_leader_told_later() -> None:
    cursor = 0

    async def first(leader: Leader, stage: Stage) -> None:
        nonlocal cursor
        cursor = leader.memory.events.page(0, 1, "", "").following
        leader.memory.events.add("breaker_opened", "too many are gone")
        await saved(leader)

    async def second(leader: Leader, stage: Stage) -> None:
        page = leader.memory.events.page(cursor, 100, "", "")
        assert page.former and not page.dropped
        assert [one.kind for one in page.events][:2] == ["breaker_opened", "leader_elected"]
        assert page.following > cursor

    play(first, second)


def test_what_is_told_while_the_store_takes_no_writes_is_kept_once_it_does() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        await saved(leader)
        stage.store.spares_events = False
        stage.store.faults = [Fault.REFUSED] * 3
        for number in range(3):
            leader.memory.events.add("host_lost", f"h{number} is lost")
        await until(lambda: len(stage.store.faults) < 3)
        assert len(leader.memory.events.unsaved) == 3
        await saved(leader)

    async def second(leader: Leader, stage: Stage) -> None:
        assert kinds(leader)["host_lost"] == 3

    play(first, second)


def test_a_flood_is_written_at_a_pace_and_fills_no_more_than_the_ring() -> None:
    async def scene(leader: Leader, stage: Stage) -> None:
        await saved(leader)
        before = leader.committer.transactions
        for number in range(3 * SLOTS):
            leader.memory.events.add(f"kind_{chr(97 + number % 20)}", f"number {number}")
        assert len(leader.memory.events.unsaved) == SLOTS
        await asyncio.sleep(10)
        assert leader.committer.transactions - before <= 20, "ten at once, then one a second"
        await saved(leader)
        ring = (await stage.store.read(keys.EVENTS)).entries
        assert len(ring) == SLOTS
        assert sum(len(entry.value) for entry in ring) < 1_000_000

    play(scene)


def test_neither_consoles_that_are_opened_nor_kinds_that_hosts_make_up_drown_the_rest() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        events = leader.memory.events
        events.add("breaker_opened", "too many are gone")
        for number in range(3 * SLOTS):
            leader.relay.console_opened(f"the console of spv-{number}", "h1", ME, "spv")
            events.add("vms_failing", f"made_up_{number}: 1 VM", fleet="spv", alike=f"{number}")
        await saved(leader)
        told = Counter(one.kind for one in leader.memory.state.events.by_slot.values())
        assert told["vms_failing"] == MOST_OF_KIND and told["breaker_opened"] == 1

    async def second(leader: Leader, stage: Stage) -> None:
        seen = kinds(leader)
        assert seen["breaker_opened"] == seen["fleet_scaled"] == 1
        assert seen["vms_failing"] == MOST_OF_KIND
        newest = [one for one in messages(leader) if one.startswith("made_up")][-1]
        assert newest == f"made_up_{3 * SLOTS - 1}: 1 VM"

    play(first, second)


def test_an_event_that_repeats_is_kept_once_with_its_count() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        for _ in range(200):
            leader.memory.events.add("host_refused", "another one claims to be h1", host="h1")
            await asyncio.sleep(1)
        await saved(leader)
        ring = leader.memory.state.events.by_slot.values()
        assert (
            len([one for one in ring if one.kind == "host_refused"])
            == kinds(leader)["host_refused"]
        )

    async def second(leader: Leader, stage: Stage) -> None:
        events, _ = leader.memory.events.after(0, 10_000, "", "h1")
        counts = [one.count for one in events if one.kind == "host_refused"]
        assert len(counts) == 3 and counts[-1] > 100

    play(first, second)


def test_a_broken_record_takes_out_its_event_alone_and_is_named() -> None:
    async def first(leader: Leader, stage: Stage) -> None:
        leader.memory.events.add("host_lost", "h1 is lost", host="h1")
        leader.memory.events.add("host_lost", "h2 is lost", host="h2")
        await saved(leader)
        ring = leader.memory.state.events.by_slot
        slot = next(at for at, one in ring.items() if one.message == "h1 is lost")
        await stage.store.txn(
            [],
            [
                Put(keys.event(f"{slot:04}"), b'{"cursor": -1}'),
                Put(keys.event("1999"), b'{"cursor": 1, "time": 1, "kind": "x\\n"}'),
                Put(keys.event("nowhere"), b"{}"),
            ],
        )

    async def second(leader: Leader, stage: Stage) -> None:
        broken = leader.memory.state.broken
        lost = [one for one in messages(leader) if one.endswith("is lost")]
        assert lost == ["h2 is lost"]
        assert "events/1999" in broken and "events/nowhere" in broken
        problems = {one.kind: one.example for one in answers.fleet_status(leader, "spv").problems}
        assert "events/" in problems["broken_record"]
        await saved(leader)
        assert len(broken) == 3, "they are left for somebody to look at"

    play(first, second)
