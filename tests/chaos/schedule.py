"""Which faults befall which parts, and when: decided by a seed. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

# Seconds: between the beginnings of two faults, and how long each lasts.
PAUSE = (0.3, 3.0)
LASTS = (0.5, 9.0)
# Parts that are cut off together, at most.
MOST_CUT = 4


class Kind(StrEnum):
    KILL = "kill"  # SIGKILL, and started again at the end
    STOP = "stop"  # SIGSTOP, and SIGCONT at the end
    CUT = "cut"  # off from all others, and back on the wire at the end


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` and `until`: seconds from the beginning."""

    at: float
    until: float
    kind: Kind
    parts: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(self.parts)
        return f"{self.kind} {names} for {self.until - self.at:.1f} s"


def schedule(random: Random, parts: Sequence[str], seconds: float, cuts: bool) -> list[Fault]:
    """Faults in the order in which they begin, all of them over after `seconds`. No part suffers
    two at once, but several parts may: also so many that nothing works for a while."""
    faults: list[Fault] = []
    free_at = dict.fromkeys(parts, 0.0)
    mended_at = 0.0
    now = random.uniform(*PAUSE)
    while now < seconds:
        until = min(seconds, now + random.uniform(*LASTS))
        kinds = [Kind.KILL, Kind.STOP]
        if cuts and mended_at < now:
            kinds.append(Kind.CUT)
        kind = random.choice(kinds)
        free = [part for part in parts if free_at[part] < now]
        count = random.randint(1, MOST_CUT) if kind is Kind.CUT else 1
        if len(free) >= count:
            chosen = tuple(random.sample(free, count))
            faults.append(Fault(round(now, 3), round(until, 3), kind, chosen))
            free_at |= dict.fromkeys(chosen, until)
            mended_at = until if kind is Kind.CUT else mended_at
        now += random.uniform(*PAUSE)
    return faults
