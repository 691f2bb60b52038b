"""What keeps a draining host from becoming empty, in words: what, where, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fleet_controller.core.model import HostView
from fleet_controller.core.rollouts_and_drains.drain_progress import DrainProgress

_NAMED = 3  # hosts in one sentence
_STAY = "fit on no other host and stay where they are"


class Taker(msgspec.Struct, frozen=True):
    """A host that is to prepare VMs of the draining one. `trouble`: why it does not, as the end of
    a sentence about the host; empty while it does."""

    host: str
    vms: int
    trouble: str


class DrainFacts(msgspec.Struct, frozen=True):
    """What is known of a drain besides the host's own assignment.

    `silent_seconds`: since the host was last heard; negative when it never was. `paused`: why no
    VMs are moved at all, as a sentence. `trouble`: as of a taker. `prepared`: how many VMs are
    staged for all drained hosts together, of `most` at once.
    """

    silent_seconds: float
    why_unplaced: str = ""
    paused: str = ""
    trouble: str = ""
    takers: Sequence[Taker] = ()
    prepared: int = 0
    most: int = 0
    budget: str = ""  # why disruption budgets keep VMs of it from moving


def drain_blockers(host_id: str, host: HostView, now: DrainProgress, seen: DrainFacts) -> str:
    """As sentences; empty where nothing is wrong, and the drain only takes its time."""
    if not now.left or not host.record.draining:
        return ""
    if host.record.lost:
        return (
            f"{host_id} is declared lost, and {now.left:,} VMs of fleets that wait for it stay: "
            "they move when it is back; --force gives them up"
        )
    if not host.reachable:
        return (
            f"{host_id} cannot be reached (silent for {seen.silent_seconds:.0f} s): what it has "
            "moves when it is back, or is replaced when it is declared lost"
        )
    return "; ".join(part for part in (seen.paused, *_obstacles(host_id, now, seen)) if part)


def _obstacles(host_id: str, now: DrainProgress, seen: DrainFacts) -> Iterable[str]:
    if now.unplaced:
        why = seen.why_unplaced or "add hosts, or scale down"
        one = now.unplaced == 1
        stay = "fits on no other host and stays where it is" if one else _STAY
        yield f"{_vms(now.unplaced)} {stay}: {why}"
    if now.releasing and seen.trouble:
        whom = "it" if now.releasing == 1 else "them"
        yield f"{_waiting(now.releasing)} for {host_id} to let {whom} go, which {seen.trouble}"
    stuck = [taker for taker in seen.takers if taker.trouble]
    for taker in stuck[:_NAMED]:
        yield f"{_waiting(taker.vms)} for {taker.host}, which {taker.trouble}"
    if rest := stuck[_NAMED:]:
        hosts = f"{len(rest):,} more such host" + ("" if len(rest) == 1 else "s")
        yield f"{_waiting(sum(taker.vms for taker in rest))} for {hosts}"
    if seen.budget:
        yield seen.budget
    if not (now.moving or now.unplaced) and seen.prepared >= seen.most > 0:
        yield (
            f"its VMs wait for those of other draining hosts: {seen.most:,} are prepared at once "
            "(--moves-at-once)"
        )


def _vms(count: int) -> str:
    return f"{count:,} VM" + ("" if count == 1 else "s")


def _waiting(count: int) -> str:
    return f"{_vms(count)} {'waits' if count == 1 else 'wait'}"
