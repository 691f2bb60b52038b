"""How many VMs may be on their way from start to ready at once, by how much the host's CPUs are
wanted. Theory of operation:

While starts use all that is allowed and few wait for a CPU, half as many again are allowed at the
next look; where most of the time somebody waits, a quarter less. Between the two it stays. What is
allowed begins at two a core and never falls below that, nor rises above what operators allow. It
falls no further while more are starting than are allowed: what was taken back shows only then.
"""

from __future__ import annotations

from dataclasses import dataclass

# Shares of time in which something that could run waited for a CPU, as the kernel tells (PSI,
# Documentation/accounting/psi: "some", the mean over CPUs that are not idle). Ours: below LOW cores
# have time to give; above HIGH whoever is added makes all others wait.
LOW, HIGH = 0.60, 0.90
# Seconds between two looks: a change shows after about as long.
LOOK_SECONDS = 1.0
# Who is not ready so many seconds after its start no longer counts. If it works, pressure says so;
# if it waits for something else, nobody is to wait for it.
COUNTED_SECONDS = 15.0
# After a pause so long, what was allowed and what was read before it say nothing.
STALE_SECONDS = 10.0
# To begin with and at least, by core: a start takes a core, but for the time that it waits for its
# disk or for an answer. With fewer, VMs are slower where others take the CPUs: 60 clones on two
# cores beside twelve busy programs took 34 s by one, 18 s by two, 13 s by four.
LEAST_A_CORE = 2


@dataclass(frozen=True, slots=True)
class Pressure:
    """One reading: microseconds waited since the host booted, and `lately` that of the last ten
    seconds."""

    waited_us: int
    lately: float


@dataclass(frozen=True, slots=True)
class Look:
    """A reading, and when by a monotonic clock; `allowed` followed from it, and from the share of
    time that was waited before it."""

    at: float
    pressure: Pressure
    allowed: int
    share: float = 0.0


def look_again(
    before: Look | None, pressure: Pressure, now: float, *, starting: int, cores: int, most: int
) -> Look:
    """What is allowed from now on; `starting` VMs count as on their way, `most` is the operators'
    bound."""
    if before is None or not 0 <= now - before.at <= STALE_SECONDS:
        first = starts_allowed(LEAST_A_CORE * cores, pressure.lately, starting, cores, most)
        return Look(now, pressure, first, pressure.lately)
    share = waited_share(before, pressure, now)
    allowed = starts_allowed(before.allowed, share, starting, cores, most)
    return Look(now, pressure, allowed, share)


def waited_share(before: Look, pressure: Pressure, now: float) -> float:
    """Of the time between two looks. A counter that went back is another's: then what the kernel
    says of the last ten seconds."""
    waited, seconds = pressure.waited_us - before.pressure.waited_us, now - before.at
    if waited < 0 or seconds <= 0:
        return pressure.lately
    return min(1.0, waited / 1e6 / seconds)


def starts_allowed(allowed: int, share: float, starting: int, cores: int, most: int) -> int:
    """At least one."""
    if share > HIGH and starting <= allowed:
        allowed = allowed * 3 // 4
    elif share < LOW and starting >= allowed:
        allowed += max(1, allowed // 2)
    return max(1, min(most, max(LEAST_A_CORE * cores, allowed)))
