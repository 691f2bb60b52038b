"""Who is declared lost, who waits for the breaker, and when it opens and closes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fleet_controller.core.host_loss.loss import (
    Absent,
    Allowance,
    Judgement,
    LossSettings,
    bucket,
    judge,
)

RACKS = {f"r{n}": 10 for n in range(10)}
SETTINGS = LossSettings(lost_after=300, budget=0, rack_share=0.5, fleet_share=0.1, window=600)


def absent(*silences: float, rack: str = "r0") -> list[Absent]:
    return [Absent(f"{rack}-{n}", rack, silent) for n, silent in enumerate(silences)]


def judged(
    gone: Sequence[Absent],
    *,
    recent: Sequence[str] = (),
    scopes: Sequence[str] = (),
    released: bool = False,
    allowance: float = 99,
    settings: LossSettings = SETTINGS,
) -> Judgement:
    return judge(gone, RACKS, recent, frozenset(scopes), released, allowance, settings)


def test_a_host_is_lost_once_it_was_silent_for_the_time_set_and_not_before() -> None:
    assert judged(absent(299.9)).lost == ()
    assert judged(absent(300.0)).lost == ("r0-0",)


def test_without_a_time_no_host_is_lost_by_time() -> None:
    never = LossSettings(lost_after=0, budget=0)
    assert judged(absent(1e9), settings=never) == Judgement((), (), "", 0)


def test_the_longest_silent_go_first_and_no_more_than_the_budget_admits() -> None:
    few = LossSettings(lost_after=300, budget=2, fleet_share=1, rack_share=1)
    gone = absent(301, 303, 302)
    assert judged(gone, settings=few, allowance=2.9).lost == ("r0-1", "r0-2")
    assert judged(gone, settings=few, allowance=0.9).lost == ()


def test_a_budget_of_zero_is_none() -> None:
    free = LossSettings(lost_after=300, budget=0, fleet_share=1, rack_share=1)
    assert len(judged(absent(*[301] * 10), settings=free, allowance=0).lost) == 10


def test_the_allowance_fills_with_time_up_to_a_minutes_worth() -> None:
    settings = LossSettings(budget=6)
    empty = Allowance(6, 100).spent(6)
    assert empty.grown(110, settings).left == pytest.approx(1)
    assert empty.grown(9_999, settings).left == bucket(settings) == 6


# The breaker, off by one in both directions


@pytest.mark.parametrize(("gone", "opens"), [(5, False), (6, True)])
def test_more_than_half_of_a_rack_opens_its_breaker_and_half_does_not(
    gone: int, opens: bool
) -> None:
    settings = LossSettings(lost_after=300, budget=0, rack_share=0.5, fleet_share=1)
    found = judged(absent(*[301] * gone), settings=settings)
    assert found.scopes == (("rack=r0",) if opens else ())
    assert len(found.lost) == (0 if opens else gone)
    assert found.waiting == (gone if opens else 0)


@pytest.mark.parametrize(("gone", "opens"), [(10, False), (11, True)])
def test_more_than_a_tenth_of_all_hosts_opens_the_breaker_and_a_tenth_does_not(
    gone: int, opens: bool
) -> None:
    scattered = [one for n in range(gone) for one in absent(301, rack=f"r{n % 10}")]
    found = judged(scattered)
    assert (found.scopes == ("fleet",)) is opens
    assert len(found.lost) == (0 if opens else gone)


def test_the_first_of_a_rack_to_be_due_waits_for_those_that_are_only_suspect_yet() -> None:
    found = judged(absent(300.2, *[65.0] * 5))
    assert (found.lost, found.scopes, found.waiting) == ((), ("rack=r0",), 1)
    assert found.reason == "6 of 10 hosts of rack=r0 are gone, more than 50%"


def test_nothing_opens_before_there_is_something_to_stop() -> None:
    assert judged(absent(*[65.0] * 10)).scopes == ()


def test_an_open_breaker_stays_open_for_as_long_as_too_much_is_gone() -> None:
    assert judged(absent(*[65.0] * 6), scopes=["rack=r0"]).scopes == ("rack=r0",)
    assert judged(absent(*[65.0] * 5), scopes=["rack=r0"]).scopes == ()


def test_whoever_is_still_away_when_a_breaker_closes_is_given_the_time_anew() -> None:
    found = judged(absent(*[9_999.0] * 5), scopes=["rack=r0"])
    assert (found.scopes, found.lost, found.waiting) == ((), (), 0)
    assert found.spared == ("r0-0", "r0-1", "r0-2", "r0-3", "r0-4")


def test_a_racks_breaker_holds_up_no_other_rack() -> None:
    gone = absent(*[301] * 6) + absent(301, rack="r7")
    found = judged(gone)
    assert (found.lost, found.waiting) == (("r7-0",), 6)


@pytest.mark.parametrize(("before", "lost"), [(4, 1), (5, 0)])
def test_those_lost_within_the_window_count_as_gone(before: int, lost: int) -> None:
    found = judged(absent(301), recent=["r0"] * before)
    assert len(found.lost) == lost


def test_one_host_alone_opens_no_breaker_however_small_the_cluster() -> None:
    alone = judge(absent(301), {"r0": 1}, [], frozenset(), False, 9, SETTINGS)
    assert alone.lost == ("r0-0",)
    two = judge(absent(301, 301), {"r0": 2}, [], frozenset(), False, 9, SETTINGS)
    assert (two.lost, two.scopes) == ((), ("fleet", "rack=r0"))


def test_a_released_breaker_lets_all_go() -> None:
    found = judged(absent(*[301] * 10), released=True)
    assert (len(found.lost), found.scopes) == (10, ())


def test_hosts_without_a_rack_count_for_the_fleet_alone() -> None:
    gone = absent(*[301] * 6, rack="")
    assert judge(gone, {"": 100}, [], frozenset(), False, 9, SETTINGS).scopes == ()
    assert judge(gone, {"": 50}, [], frozenset(), False, 9, SETTINGS).scopes == ("fleet",)


# Standbys are asked first


def unconfirmed(*silences: float) -> list[Absent]:
    return [Absent(f"r0-{n}", "r0", silent, confirmed=False) for n, silent in enumerate(silences)]


def test_a_host_is_lost_only_once_standbys_were_asked_about_it() -> None:
    found = judged(unconfirmed(300.0))
    assert (found.lost, found.unconfirmed) == ((), ("r0-0",))
    assert judged(absent(300.0)).unconfirmed == ()


def test_standbys_are_asked_about_no_more_hosts_than_the_budget_admits() -> None:
    few = LossSettings(lost_after=300, budget=2, fleet_share=1, rack_share=1)
    found = judged([*unconfirmed(301, 303, 302, 10)], settings=few, allowance=2)
    assert (found.lost, found.unconfirmed) == ((), ("r0-1", "r0-2"))


def test_what_is_confirmed_goes_while_others_are_asked_about() -> None:
    free = LossSettings(lost_after=300, budget=0, fleet_share=1, rack_share=1)
    found = judged([*unconfirmed(301), Absent("r0-9", "r0", 300)], settings=free)
    assert (found.lost, found.unconfirmed) == (("r0-9",), ("r0-0",))


def test_nobody_is_asked_about_hosts_that_the_breaker_holds() -> None:
    found = judged(unconfirmed(*[301] * 11))
    assert found.scopes and found.waiting == 11
    assert (found.lost, found.unconfirmed) == ((), ())


def test_hosts_that_only_a_standby_reaches_count_as_gone() -> None:
    """Their silence has begun anew, and nothing is due of them."""
    found = judged([*unconfirmed(*[5] * 10), Absent("r1-0", "r1", 301)])
    assert found.lost == () and "fleet" in found.scopes and found.waiting == 1
