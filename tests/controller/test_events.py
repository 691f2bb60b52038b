"""What happened, for people: bounded, filtered, and followed by a cursor."""

from __future__ import annotations

import asyncio
from itertools import count

from fleet_controller.agents.health_events import HealthEvents
from fleet_controller.core.model import Health
from fleet_controller.events import KEPT, EventLog
from fleet_controller.pulse import Pulse
from tests.virtual_loop import virtual


def log(began: float = 100.0) -> EventLog:
    wall = count(began)
    return EventLog(lambda: float(next(wall)))


def test_a_reader_follows_by_its_cursor() -> None:
    events = log()
    for number in range(5):
        events.add("kind", f"message {number}", fleet="spv", actor="operator/me")
    first, dropped = events.after(0, 2, "", "")
    assert [e.message for e in first] == ["message 3", "message 4"], "the newest, without a cursor"
    everything, _ = events.after(0, 100, "", "")
    rest, dropped = events.after(everything[1].cursor, 2, "", "")
    assert ([e.message for e in rest], dropped) == (["message 2", "message 3"], False)
    assert events.after(everything[-1].cursor, 10, "", "") == ([], False)


def test_events_are_filtered_by_fleet_and_host() -> None:
    events = log()
    events.add("a", "1", fleet="red")
    events.add("b", "2", host="h1")
    events.add("c", "3", fleet="red", host="h1")
    assert [e.message for e in events.after(0, 9, "red", "")[0]] == ["1", "3"]
    assert [e.message for e in events.after(0, 9, "", "h1")[0]] == ["2", "3"]
    assert [e.message for e in events.after(0, 9, "red", "h1")[0]] == ["3"]


def test_a_reader_that_was_away_too_long_is_told() -> None:
    events = log()
    events.add("first", "first")
    cursor = events.after(0, 1, "", "")[0][0].cursor
    for number in range(KEPT):
        events.add("more", f"more {number}")
    assert not events.after(cursor, 1, "", "")[1], "none is missing yet"
    events.add("more", "more")
    assert events.after(cursor, 1, "", "")[1]


def led(term: int, *, events: EventLog | None = None) -> EventLog:
    """A log in which a leader of this term has told of two things."""
    events = events or log()
    events.begin(term)
    events.add("leader_elected", f"term {term}")
    events.add("more", f"more of {term}")
    return events


def test_a_cursor_outlives_its_leader_and_what_that_one_told_last_is_said_to_be_missing() -> None:
    first, second = led(40), led(51)
    cursor = first.page(0, 100, "", "").events[0].cursor
    page = second.page(cursor, 100, "", "")
    assert [e.message for e in page.events] == ["term 51", "more of 51"]
    assert (page.former, page.dropped) == (True, False)
    page = second.page(page.following, 100, "", "")
    assert (page.events, page.former) == ([], False)


def test_a_reader_that_finds_nothing_of_its_fleet_is_told_once_of_a_former_leader() -> None:
    page = led(51).page(led(40).page(0, 1, "", "").following, 100, "spv", "")
    assert (page.events, page.former) == ([], True)
    assert not led(51).page(page.following, 100, "spv", "").former


def test_a_leader_that_led_before_tells_no_reader_the_same_twice() -> None:
    again = led(60, events=led(40))
    between = led(51).page(0, 100, "", "").following
    assert [e.message for e in again.page(between, 100, "", "").events] == ["term 60", "more of 60"]


def test_a_cursor_from_before_the_store_was_set_back_begins_anew() -> None:
    page = led(7).page(led(9000).page(0, 1, "", "").following, 100, "", "")
    assert ([e.message for e in page.events], page.former) == (["term 7", "more of 7"], True)


def test_cursors_are_numbers_that_json_keeps() -> None:
    assert led(8_000_000_000).page(0, 1, "", "").following < 2**53


def test_a_page_that_is_full_goes_on_where_it_ends() -> None:
    events = led(5)
    start = events.page(0, 1, "", "").following
    for number in range(4):
        events.add("x", str(number))
    page = events.page(start, 3, "", "")
    assert [e.message for e in page.events] == ["0", "1", "2"]
    assert [e.message for e in events.page(page.following, 3, "", "").events] == ["3"]


def test_few_hosts_are_named_and_many_are_counted() -> None:
    events = log()
    changes = HealthEvents(events)
    for number in range(5):
        changes.note(f"h{number}", Health.UNREACHABLE, "connection refused")
    for number in range(1_200):
        changes.note(f"x{number}", Health.LIVE, "")
    changes.summarise()
    said = [(e.kind, e.host, e.message) for e in events.after(0, 100, "", "")[0]]
    assert said[0] == ("host_unreachable", "h0", "h0 is unreachable: connection refused")
    assert said[5:] == [("host_live", "", "1,200 hosts are live, x0 among them")]
    changes.summarise()
    assert len(events.after(0, 100, "", "")[0]) == 6


@virtual
async def test_changes_of_health_are_gathered_for_a_moment() -> None:
    events = log()
    changes = HealthEvents(events)
    speaking = asyncio.create_task(changes.summarise_for_ever())
    for round_ in (1, 2):
        for number in range(10):
            changes.note(f"h{number}", Health.LIVE, "")
        await events.pulse.after(round_ - 1)
        assert len(events.after(0, 100, "", "")[0]) == round_
    speaking.cancel()


@virtual
async def test_a_pulse_wakes_all_who_wait_and_misses_no_beat() -> None:
    pulse = Pulse()
    waiters = [asyncio.create_task(pulse.after(0)) for _ in range(3)]
    await asyncio.sleep(1)
    pulse.beat()
    pulse.beat()
    assert await asyncio.gather(*waiters) == [2, 2, 2]
    assert await pulse.after(1) == 2, "a beat before the question counts"
    late = asyncio.create_task(pulse.after(2))
    await asyncio.sleep(1)
    assert not late.done()
    pulse.beat()
    assert await late == 3


def said(events: EventLog) -> list[tuple[str, int]]:
    return [(e.message, e.count) for e in events.page(0, 100, "", "").events]


def test_what_repeats_is_counted_in_one_event_and_told_anew_ever_more_seldom() -> None:
    now = [0.0]
    events = EventLog(lambda: now[0])
    follower, told = events.page(0, 1, "", "").following, []
    for turn in range(10_000):
        now[0] = turn / 10
        events.add("host_refused", f"bad address {turn}", host="evil", alike="BAD", free=1)
        page = events.page(follower, 100, "", "")
        follower = page.following
        told += [(round(e.time_unix), e.count) for e in page.events]
    assert said(events) == [("bad address 9999", 10_000)]
    (kept,) = events.page(0, 100, "", "").events
    assert kept.last_unix == 999.9
    # After 10 s, and then after twice as long each time.
    assert [at for at, _ in told] == [0, 10, 30, 70, 150, 310, 630]


def test_what_happens_now_and_then_is_told_each_time() -> None:
    now = [0.0]
    events = EventLog(lambda: now[0])
    for _ in range(3):
        events.add("host_live", "a is live", host="a")
    for _ in range(5):
        now[0] += 1000
        events.add("host_live", "a is live", host="a")
    assert said(events) == [("a is live", 0)] * 8


def test_what_people_do_is_told_each_time() -> None:
    events = log()
    for _ in range(20):
        events.add("host_cordoned", "a is cordoned", host="a", actor="operator/me")
    assert len(said(events)) == 20


def test_events_of_other_hosts_and_kinds_are_counted_by_themselves() -> None:
    events = EventLog(lambda: 5.0)
    for number in range(40):
        events.add(f"kind-{number % 2}", "the same", host=f"h{number % 4}", alike="x", free=1)
    assert [(e.kind, e.host, e.count) for e in events.page(0, 100, "", "").events] == [
        ("kind-0", "h0", 10),
        ("kind-1", "h1", 10),
        ("kind-0", "h2", 10),
        ("kind-1", "h3", 10),
    ]


def test_an_event_that_was_dropped_is_told_anew_as_the_newest() -> None:
    now = [0.0]
    events = EventLog(lambda: now[0])
    events.add("host_refused", "again", host="evil", alike="x", free=1)
    for number in range(KEPT):
        events.add("more", f"more {number}")
    now[0] = 60
    events.add("host_refused", "again", host="evil", alike="x", free=1)
    newest = events.page(0, 1, "", "").events[0]
    assert (newest.message, newest.count) == ("again", 2)


def test_a_host_that_comes_and_goes_with_ever_other_reasons_fills_no_log() -> None:
    now = [0.0]
    events = EventLog(lambda: now[0])
    changes = HealthEvents(events)
    for turn in range(500):
        now[0] += 1
        changes.note("evil", Health.LIVE, "")
        changes.note("evil", Health.UNREACHABLE, f"reason {turn}")
        changes.summarise()
    assert len(events.page(0, 100, "", "").events) == 6


def test_what_was_not_saved_when_its_leadership_ended_is_saved_as_it_was_told_last() -> None:
    time = [1000.0]
    events = EventLog(lambda: time[0])
    events.begin(1)
    for _ in range(3):
        events.add("flapping", "again")
    events.end()
    for _ in range(3):
        time[0] += 20.0  # due to be told anew
        events.add("flapping", "again")
    events.begin(2)
    told = {event.cursor for event in events.after(0, KEPT, "", "")[0]}
    waiting = events.unsaved.first(KEPT)
    assert {one.record.cursor for one in waiting} <= told
    assert waiting
    events.unsaved.saved(waiting)
    assert not events.unsaved
