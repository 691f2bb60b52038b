"""Limits of a dom0 against a density: verdicts, and how many guests the host admits.

A limit is data: one formula, what is needed for so many guests, and how it is lifted. That
formula never falls as guests grow, so how many a host admits is searched for with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum

from fleet_agent.core.limits.dom0_facts import Dom0Facts
from fleet_agent.core.limits.remedies import Remedy

# Answers of `admits` for a limit that sets no bound, as on the wire.
NO_BOUND = 2**32 - 1
# No host is judged for more: it is the most that the setting `guests` allows.
MOST_GUESTS = 65_536


class Standing(IntEnum):
    """Values are those of fleet.v1.LimitVerdict.Verdict."""

    PASS = 1
    FIXABLE = 2
    NEEDS_REBOOT = 3
    NOT_APPLICABLE = 4
    UNKNOWN = 5


@dataclass(frozen=True, slots=True)
class NotApplicable:
    why: str


@dataclass(frozen=True, slots=True)
class Unread:
    why: str


Found = int | NotApplicable | Unread


def plain(value: int) -> str:
    return f"{value:,}"


@dataclass(frozen=True, slots=True)
class Limit:
    """One row. `name` is stable, `title` for people, `source` where the formula comes from.

    `found` reads the host, `needed` says what so many guests want of it: at least, or with
    `most` at most. An advisory limit slows down rather than breaks, and never binds. `shown`
    puts a value in words.
    """

    name: str
    title: str
    source: str
    found: Callable[[Dom0Facts], Found]
    needed: Callable[[int, Dom0Facts], int]
    remedy: Callable[[int, Dom0Facts], Remedy]
    advisory: bool = False
    most: bool = False
    shown: Callable[[int], str] = plain

    def holds(self, value: int, guests: int, facts: Dom0Facts) -> bool:
        needed = self.needed(guests, facts)
        return value <= needed if self.most else value >= needed

    def admits(self, value: int, facts: Dom0Facts) -> int:
        """The largest number of guests for which the value does; NO_BOUND past MOST_GUESTS."""
        if self.holds(value, MOST_GUESTS, facts):
            return NO_BOUND
        low, high = 0, MOST_GUESTS
        while high - low > 1:
            middle = (low + high) // 2
            if self.holds(value, middle, facts):
                low = middle
            else:
                high = middle
        return low

    def needed_in_words(self, guests: int, facts: Dom0Facts) -> str:
        words = self.shown(self.needed(guests, facts))
        return f"at most {words}" if self.most else words


@dataclass(frozen=True, slots=True)
class Verdict:
    """One limit of one host against one density. `remedy` is None unless it fails."""

    limit: Limit
    standing: Standing
    value: str
    needed: str = ""
    admits: int = NO_BOUND
    remedy: Remedy | None = None

    @property
    def fails(self) -> bool:
        return self.standing in (Standing.FIXABLE, Standing.NEEDS_REBOOT)

    @property
    def binds(self) -> bool:
        """Whether guests past `admits` would break something."""
        return not self.limit.advisory


def judge(limits: Iterable[Limit], facts: Dom0Facts, guests: int) -> tuple[Verdict, ...]:
    """All limits, in their order, for so many guests."""
    return tuple(_judge(limit, facts, guests) for limit in limits)


def _judge(limit: Limit, facts: Dom0Facts, guests: int) -> Verdict:
    found = limit.found(facts)
    if isinstance(found, NotApplicable):
        return Verdict(limit, Standing.NOT_APPLICABLE, found.why)
    needed = limit.needed_in_words(guests, facts)
    if isinstance(found, Unread):
        return Verdict(limit, Standing.UNKNOWN, found.why, needed)
    value, admitted = limit.shown(found), limit.admits(found, facts)
    if limit.holds(found, guests, facts):
        return Verdict(limit, Standing.PASS, value, needed, admitted)
    remedy = limit.remedy(guests, facts)
    standing = Standing.NEEDS_REBOOT if remedy.reboot else Standing.FIXABLE
    return Verdict(limit, standing, value, needed, admitted, remedy)


def admits(verdicts: Iterable[Verdict]) -> int:
    """How many guests the host takes as it stands; what is not known does not bind."""
    return min((one.admits for one in verdicts if one.binds), default=NO_BOUND)


def binding(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Of the limits that stand in the way of the density asked for, the tightest."""
    failing = (one for one in verdicts if one.binds and one.fails)
    return min(failing, key=lambda one: one.admits, default=None)


def tightest(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The limit that is met first, whether or not in the way of the density asked for."""
    bounds = (one for one in verdicts if one.binds and one.admits != NO_BOUND)
    return min(bounds, key=lambda one: one.admits, default=None)


def summary(verdicts: tuple[Verdict, ...], guests: int, host: str) -> str:
    """One sentence: how many, which limit, and what to do about it."""
    bound = binding(verdicts)
    if bound is None or bound.remedy is None:
        return _fits(verdicts, guests)
    sentence = f"this host admits {bound.admits:,} guests: {bound.limit.title}; "
    sentence += instruction(bound.remedy, host)
    others = sum(one.binds and one.fails for one in verdicts) - 1
    if not others:
        return f"{sentence} for {guests:,}"
    more = "1 more limit is" if others == 1 else f"{others} more limits are"
    return f"{sentence}; {more} in the way of {guests:,}"


def _fits(verdicts: tuple[Verdict, ...], guests: int) -> str:
    first = tightest(verdicts)
    if first is None:
        return f"no limit that is known here stands in the way of {guests:,} guests"
    return f"{guests:,} guests fit; this host admits {first.admits:,}: {first.limit.title}"


def instruction(remedy: Remedy, host: str) -> str:
    """What to do, in words that follow a semicolon."""
    if remedy.by_tune and not remedy.reboot:
        return f"run 'fleetctl tune {host} --apply'"
    what = f"add {remedy.line} to {remedy.file}" if remedy.file else remedy.line
    return f"{what}, {remedy.then}" if remedy.then else what
