"""Which tokens may be made, and who may join by one."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fleet_controller.core.joining.admission import check_clock, check_new, check_use
from fleet_controller.core.joining.records import TokenRecord
from fleet_controller.core.refusals import Reason, Refused

HASH = "ab" * 32
DAY = 86_400.0
TOKEN = TokenRecord("abcd2345", HASH, 1000.0, 1000.0 + DAY, 2)


@pytest.mark.parametrize(
    ("changed", "ttl", "said"),
    [
        ({"id": "no"}, DAY, "its id"),
        ({}, 5.0, "a minute at least"),
        ({}, 100 * DAY, "90 days at most"),
        ({"max_uses": 0}, DAY, "from 1 to 100,000 times, not 0"),
        ({"names": ("Dom0",)}, DAY, "'Dom0' is no pattern"),
        ({"names": ("a",) * 33}, DAY, "at most 32 names"),
        ({"networks": ("10.0.0.1/8",)}, DAY, "'10.0.0.1/8' is no network"),
        ({"labels": {"rack": "a b"}}, DAY, "rack"),
    ],
)
def test_a_token_that_makes_no_sense_is_refused(
    changed: dict[str, object], ttl: float, said: str
) -> None:
    with pytest.raises(Refused) as refused:
        check_new(replace(TOKEN, **changed), ttl, bytes(32), known=0)
    assert said in str(refused.value)


def test_a_good_token_may_be_made_until_there_are_too_many() -> None:
    token = replace(TOKEN, names=("dom0-*",), networks=("10.0.0.0/8", "2001:db8::/32"))
    check_new(token, DAY, bytes(32), known=999)
    with pytest.raises(Refused, match="there are 1,000 tokens already"):
        check_new(token, DAY, bytes(32), known=1000)


@pytest.mark.parametrize(
    ("changed", "host", "address", "now", "said"),
    [
        ({}, "h1", "10.0.0.1", 1000.0 + DAY, "expired on 1970-01-02 00:16:40 UTC"),
        ({"names": ("dom0-*",)}, "h1", "10.0.0.1", 1001.0, "is for hosts called dom0-*, not h1"),
        ({"names": ("dom0-?",)}, "dom0-12", "10.0.0.1", 1001.0, "not dom0-12"),
        ({"networks": ("10.0.0.0/8",)}, "h1", "192.0.2.1", 1001.0, "not at 192.0.2.1"),
        ({"networks": ("10.0.0.0/8",)}, "h1", "", 1001.0, "not at ?"),
        ({"uses": 2}, "h1", "10.0.0.1", 1001.0, "was used 2 times, as often as it may be"),
        ({"uses": 1, "max_uses": 1}, "h1", "10.0.0.1", 1001.0, "was used once"),
    ],
)
def test_nobody_joins_by_a_token_that_is_not_for_it(
    changed: dict[str, object], host: str, address: str, now: float, said: str
) -> None:
    with pytest.raises(Refused) as refused:
        check_use(replace(TOKEN, **changed), host, address, now, more=True)
    assert refused.value.reason is Reason.BAD_TOKEN and said in str(refused.value)


@pytest.mark.parametrize(
    ("changed", "host", "address"),
    [
        ({}, "h1", "192.0.2.1"),
        ({"names": ("a", "dom0-*")}, "dom0-1", "192.0.2.1"),
        ({"networks": ("10.0.0.0/8",)}, "h1", "::ffff:10.1.2.3"),
        ({"networks": ("2001:db8::/32",)}, "h1", "2001:db8::7"),
    ],
)
def test_who_meets_all_limits_joins(changed: dict[str, object], host: str, address: str) -> None:
    check_use(replace(TOKEN, **changed), host, address, 1001.0, more=True)


def test_a_use_that_was_counted_already_is_no_further_one() -> None:
    check_use(replace(TOKEN, uses=2), "h1", "10.0.0.1", 1001.0, more=False)


@pytest.mark.parametrize("clock", [0.0, -1e300, 1e300, 1000.0 + 365 * DAY])
def test_a_clock_that_is_far_off_is_told(clock: float) -> None:
    with pytest.raises(Refused, match=r"the clock of h1 says .* and that of the controller"):
        check_clock("h1", clock, 1000.0)


def test_a_clock_that_is_nearly_right_is_good() -> None:
    check_clock("h1", 1200.0, 1000.0)


def test_no_number_is_no_clock() -> None:
    with pytest.raises(Refused, match="a time beyond all calendars"):
        check_clock("h1", float("nan"), 1000.0)
