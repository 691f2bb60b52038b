"""What of a report counts: no more than its host can have, and what concerns that host."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet_controller.core.host_claims import ORDINARY_GUESTS
from fleet_controller.core.model import NOTHING, Assignment, Shard, Tombstone
from fleet_controller.core.vm_states import RUNNING
from fleet_controller.observed.report_bounds import (
    MOST_FALLBACKS,
    MOST_KINDS,
    MOST_PROBLEMS,
    MOST_REPORT_BYTES,
    MOST_TEXT,
    MOST_WIDE,
    Allowance,
    Misbehaves,
    allowance_of,
    bounded,
)

MINE, OTHER = "uid-1", "uid-2"
ASSIGNMENT = Assignment(
    (Shard(MINE, IndexSet.span(0, 250), 1, 10),),
    (Tombstone(7, MINE, IndexSet.span(250, 300), 10),),
)


def allowance(guests: int = 250, any_fleet: bool = False) -> Allowance:
    return allowance_of(ASSIGNMENT, guests, any_fleet=any_fleet)


def shard(count: int, uid: str = MINE, apart: bool = False) -> wire.ShardReport:
    """So many VMs; `apart`: each in a run of its own."""
    runs = [(0, count)] if not apart else [(2 * index, 1) for index in range(count)]
    return wire.ShardReport(
        fleet_uid=uid, generation=1, birth=10,
        runs=[wire.StateRun(start=start, states=bytes([RUNNING]) * n) for start, n in runs],
    )  # fmt: skip


def orphans(*spans: tuple[int, int], uid: str = MINE) -> wire.Orphans:
    ranges = [types.IndexRange(start=start, stop=stop) for start, stop in spans]
    return wire.Orphans(fleet_uid=uid, birth=1, ranges=ranges)


def problem(kind: str = "no_space", uid: str = MINE, text: str = "pool full") -> wire.Problem:
    return wire.Problem(kind=kind, fleet_uid=uid, count=3, example_index=1, example_message=text)


def failed(*spans: tuple[int, int], since: int = 1_800_000_000) -> wire.Problem:
    told = problem()
    for start, stop in spans:
        told.failed.add(start=start, stop=stop, since_unix=since)
    return told


def test_vms_that_failed_are_taken_as_they_are_told() -> None:
    report = wire.Report(problems_set=True, problems=[failed((0, 3), (3, 5), (249, 250))])
    assert bounded(report, allowance()) is report


@pytest.mark.parametrize(
    "lie",
    [
        failed((3, 0)),
        failed((5, 5)),
        failed((0, 3), (2, 5)),
        failed((7, 9), (0, 3)),
        failed((0, 2**32 - 1)),
        failed((2**24, 2**24 + 1)),
        failed((0, 3), since=0),
        failed((0, 3), since=-1),
        failed((0, 3), since=2**62),
    ],
    ids=str,
)
def test_vms_that_cannot_have_failed_so_are_left_out_with_their_times(lie: wire.Problem) -> None:
    kept = bounded(wire.Report(problems_set=True, problems=[lie]), allowance())
    (one,) = kept.problems
    assert not one.failed and one.example_message == "pool full"


def test_more_ranges_of_failed_vms_than_a_host_may_have_are_misbehaviour() -> None:
    lie = wire.Report(problems_set=True, problems=[failed(*apart(allowance().vms + 1))])
    with pytest.raises(Misbehaves, match="ranges of VMs that failed"):
        bounded(lie, allowance())


def apart(count: int) -> Iterable[tuple[int, int]]:
    return ((2 * index, 2 * index + 1) for index in range(count))


def fallback(why: str, uid: str = MINE, count: int = 1) -> wire.Fallback:
    ranges = [types.IndexRange(start=start, stop=stop) for start, stop in apart(count)]
    return wire.Fallback(fleet_uid=uid, ranges=ranges, why=why)


def test_why_vms_were_begun_otherwise_is_taken_in_words_of_fleets_that_concern_the_host() -> None:
    honest = wire.Report(fallbacks_set=True, fallbacks=[fallback("no room", count=250)])
    assert bounded(honest, allowance()) is honest
    lies = [fallback(""), fallback("no room", OTHER), fallback("x" * 301), fallback("two\nlines")]
    kept = bounded(
        wire.Report(fallbacks_set=True, fallbacks=[*lies, *honest.fallbacks]), allowance()
    )
    assert list(kept.fallbacks) == list(honest.fallbacks)
    many = [fallback(f"{number} MiB left") for number in range(MOST_FALLBACKS + 1)]
    kept = bounded(wire.Report(fallbacks_set=True, fallbacks=many), allowance())
    assert len(kept.fallbacks) == MOST_FALLBACKS
    with pytest.raises(Misbehaves, match="ranges of VMs begun otherwise"):
        bounded(wire.Report(fallbacks=[fallback("x", count=allowance().vms + 1)]), allowance())


def test_what_an_honest_host_says_is_taken_as_it_stands() -> None:
    report = wire.Report(
        full=True,
        shards=[shard(250), shard(50)],
        problems=[problem(), problem("driver", "", "libvirtd is gone")],
        released=[7],
        orphans=[orphans((1000, 1200), uid="of another cluster")],
        facts=types.HostFacts(boot_id="b"),
    )
    assert bounded(report, allowance()) is report


def test_the_worst_honest_report_of_the_largest_host_fits_its_channel() -> None:
    """Each VM a kin of its own."""
    shards = [
        wire.ShardReport(
            fleet_uid="0" * 36, generation=2**31, birth=2**62,
            runs=[wire.StateRun(start=2**31 + index, states=b"1")],
        )
        for index in range(10_000)
    ]  # fmt: skip
    report = wire.Report(full=True, shards=shards)
    assert report.ByteSize() <= MOST_REPORT_BYTES
    many = allowance_of(NOTHING, 10_000, any_fleet=True)
    assert bounded(report, many) is report


@pytest.mark.parametrize(
    "report",
    [
        wire.Report(shards=[shard(2000)]),
        wire.Report(shards=[shard(2000, apart=True)]),
        wire.Report(shards=[wire.ShardReport(fleet_uid=MINE)] * 2000),
        wire.Report(shards=[shard(1)] * 2000),
        wire.Report(gone=[wire.Gone(fleet_uid=MINE)] * 2000),
        wire.Report(gone=[wire.Gone(ranges=orphans(*apart(2000)).ranges)]),
        wire.Report(released=range(2000)),
        wire.Report(orphans=[orphans((0, 2**32 - 1))], orphans_set=True),
        wire.Report(orphans=[orphans(*apart(2000))], orphans_set=True),
        wire.Report(orphans=[wire.Orphans(fleet_uid=OTHER)] * 2000, orphans_set=True),
        wire.Report(problems=[problem()] * 2000),
        wire.Report(specs=[types.GenerationSpec(fleet_uid=MINE)] * 2000),
        wire.Report(facts=types.HostFacts(labels={"x": "y" * 500_000})),
    ],
    ids=lambda report: report.ListFields()[0][0].name,
)
def test_a_report_of_more_than_the_host_can_have_is_void(report: wire.Report) -> None:
    with pytest.raises(Misbehaves, match="it can have"):
        bounded(report, allowance())


def test_as_many_orphans_are_believed_as_the_host_has_room_for() -> None:
    fits = wire.Report(orphans=[orphans((0, 300))], orphans_set=True)
    assert bounded(fits, allowance()) is fits, "as many as it was assigned"
    with pytest.raises(Misbehaves, match="reports 301 orphans; it can have 300"):
        bounded(wire.Report(orphans=[orphans((0, 301))]), allowance())
    shrunk = wire.Report(orphans=[orphans((0, ORDINARY_GUESTS))])
    assert bounded(shrunk, allowance_of(NOTHING, 0)) is shrunk, "its capacity may have shrunk"


def test_what_names_nothing_known_is_left_out() -> None:
    gone = wire.ShardReport(fleet_uid=MINE, generation=1, birth=9)
    report = wire.Report(
        shards=[shard(3), shard(3, OTHER), gone],
        problems=[problem(), problem(uid=OTHER), problem("driver", ""), problem("X\x1b[2J", "")],
        released=[6, 7, 8],
    )
    kept = bounded(report, allowance())
    assert [(one.fleet_uid, one.birth) for one in kept.shards] == [(MINE, 10)]
    assert [(one.kind, one.fleet_uid) for one in kept.problems] == [
        ("no_space", MINE),
        ("driver", ""),
    ]
    assert list(kept.released) == [7]


def test_while_the_store_is_in_doubt_hosts_may_speak_of_fleets_that_it_does_not_know() -> None:
    report = wire.Report(full=True, shards=[shard(3, OTHER)], problems=[problem(uid=OTHER)])
    assert bounded(report, allowance(any_fleet=True)) is report


def test_texts_are_cut_and_fit_one_line() -> None:
    forged = "full\nhost-2  live\x1b[2J\x07" + "x" * 5000
    report = wire.Report(problems=[problem(text=forged)])
    (kept,) = bounded(report, allowance()).problems
    assert kept.example_message.startswith("full host-2 live [2J xxx")
    assert len(kept.example_message) == MOST_TEXT and kept.example_message.isprintable()


def test_problems_are_so_many_and_count_what_the_host_can_have() -> None:
    uids = [f"uid-{number}" for number in range(300)]
    shards = tuple(Shard(uid, IndexSet.span(0, 1), 1, 10) for uid in uids)
    of_many_fleets = [problem(uid=uid) for uid in uids]
    of_many_fleets[0].count = 2**32 - 1
    allowed = allowance_of(Assignment(shards), 300)
    kept = bounded(wire.Report(problems=of_many_fleets), allowed).problems
    assert (len(kept), kept[0].count) == (MOST_PROBLEMS, allowed.vms)


@pytest.mark.parametrize(("uid", "most"), [("", MOST_WIDE), (MINE, MOST_KINDS)])
def test_kinds_that_an_agent_makes_up_are_few(uid: str, most: int) -> None:
    made_up = [problem(f"kind_{number}", uid) for number in range(300)]
    assert len(bounded(wire.Report(problems=made_up), allowance()).problems) == most


def test_problems_of_one_kind_and_fleet_are_counted_as_one() -> None:
    report = wire.Report(problems=[problem("conflict"), problem("died"), problem("conflict")])
    kept = bounded(report, allowance()).problems
    assert [(one.kind, one.count) for one in kept] == [("conflict", 6), ("died", 3)]
