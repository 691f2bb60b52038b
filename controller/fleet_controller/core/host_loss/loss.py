"""Which hosts are declared lost, and when too many are gone at once for that.

A host that was silent for `lost_after` is due. It is declared lost within a budget of hosts a
minute, the longest silent first, unless the breaker of its rack or of the whole fleet is open:
then it waits. A breaker opens when a host is due and more than a share of its scope is gone, and
closes when that is no longer so. The silence of hosts that are still away then counts from zero
again, because hosts return one after another. One host alone never opens a breaker, however small
the scope.

Before that, standbys are asked whether they reach the host. One that is reached is not lost, and
its silence counts from then: only the way between it and the leader is gone. Standbys are asked
again and again until the leader hears the host, or none of them has reached it for `lost_after`.

Gone are hosts that are suspect, for as long as they are, and those that were declared lost by
time within the window. What an operator has declared is accounted for, and does not count; what
only a standby reaches does: a network in trouble is what breakers are for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

FLEET = "fleet"  # the scope of all hosts


@dataclass(frozen=True, slots=True)
class LossSettings:
    """Seconds, hosts and shares. The defaults are ours: long enough for a dom0 to reboot, slow
    enough for a person to step in, and below what a rack or a switch takes away."""

    lost_after: float = 300.0  # 0: no host is lost by time
    budget: float = 10.0  # hosts declared lost a minute, that many at once; 0: no budget
    rack_label: str = "rack"
    rack_share: float = 0.5
    fleet_share: float = 0.1
    window: float = 600.0
    # How long an operator's release of the breaker lasts when nothing else was said.
    release: float = 600.0


@dataclass(frozen=True, slots=True)
class Absent:
    """A host that is suspect and not lost. `silent`: seconds, on the leader's clock, since the
    leader has heard it or a standby has reached it."""

    host: str
    rack: str  # the value of the rack label; empty where it has none
    silent: float
    # Standbys were asked of late, and none has said that it reaches the host.
    confirmed: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is to be done now about hosts that are gone."""

    lost: tuple[str, ...]  # hosts to declare lost
    scopes: tuple[str, ...]  # whose breaker is open
    reason: str
    waiting: int  # hosts that are due and wait for a breaker
    # Due, but a breaker has just closed: their silence counts from now.
    spared: tuple[str, ...] = ()
    # Would be declared lost, had standbys been asked about them.
    unconfirmed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Allowance:
    """A bucket of verdicts that fills with time. `at` is the leader's clock, in seconds."""

    left: float
    at: float

    def grown(self, now: float, settings: LossSettings) -> Allowance:
        more = (now - self.at) * settings.budget / 60.0
        return Allowance(min(bucket(settings), self.left + more), now)

    def spent(self, count: int) -> Allowance:
        return Allowance(max(0.0, self.left - count), self.at)


def bucket(settings: LossSettings) -> float:
    """The most verdicts that may be given at once."""
    return max(1.0, settings.budget)


def judge(
    absent: Sequence[Absent],
    racks: Mapping[str, int],
    recent: Iterable[str],
    open_scopes: frozenset[str],
    released: bool,
    allowance: float,
    settings: LossSettings,
) -> Judgement:
    """What is to be done now.

    `racks`: hosts in each rack, of those that are not lost or were lost within the window;
    `recent`: the racks of those that were lost by time within the window, one each;
    `open_scopes`: whose breaker is open now; `released`: an operator holds it closed;
    `allowance`: verdicts that the budget still admits.
    """
    due = [one for one in absent if settings.lost_after and one.silent >= settings.lost_after]
    over = {} if released else _over(absent, racks, recent, settings)
    # A breaker opens only where it stops something.
    concerned = open_scopes.union(*(_scopes(one, settings) for one in due))
    scopes = {scope: why for scope, why in over.items() if scope in concerned}
    held = [one for one in due if not scopes.keys().isdisjoint(_scopes(one, settings))]
    rest = [one for one in due if scopes.keys().isdisjoint(_scopes(one, settings))]
    free = [one for one in rest if open_scopes.isdisjoint(_scopes(one, settings))]
    free.sort(key=lambda one: (-one.silent, one.host))
    chosen = free[: int(allowance)] if settings.budget else free
    return Judgement(
        tuple(one.host for one in chosen if one.confirmed),
        tuple(sorted(scopes)),
        "; ".join(why for _, why in sorted(scopes.items())[:3]),
        len(held),
        tuple(one.host for one in rest if not open_scopes.isdisjoint(_scopes(one, settings))),
        tuple(one.host for one in chosen if not one.confirmed),
    )


def _over(
    absent: Sequence[Absent],
    racks: Mapping[str, int],
    recent: Iterable[str],
    settings: LossSettings,
) -> dict[str, str]:
    """The scopes of which too much is gone, and why it is too much."""
    gone = Counter(one.rack for one in absent)
    gone.update(recent)
    found = {}
    all_gone, hosts = gone.total(), sum(racks.values())
    if is_over(all_gone, hosts, settings.fleet_share):
        found[FLEET] = _sentence(all_gone, hosts, "hosts", settings.fleet_share)
    for rack, count in gone.items():
        if rack and is_over(count, racks.get(rack, 0), settings.rack_share):
            scope = f"{settings.rack_label}={rack}"
            found[scope] = _sentence(count, racks[rack], f"hosts of {scope}", settings.rack_share)
    return found


def is_over(gone: int, of: int, share: float) -> bool:
    """Whether more than the share is gone, and more than one host alone."""
    return gone > 1 and gone > share * of


def _scopes(one: Absent, settings: LossSettings) -> tuple[str, ...]:
    return (FLEET, f"{settings.rack_label}={one.rack}") if one.rack else (FLEET,)


def _sentence(gone: int, of: int, what: str, share: float) -> str:
    return f"{gone:,} of {of:,} {what} are gone, more than {share:.0%}"
