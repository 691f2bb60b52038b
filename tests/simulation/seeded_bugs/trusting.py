"""Mistakes that a leader could make with what a single host says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fleet.keys import Epoch
from fleet.ranges import IndexSet
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types
from fleet.wire_ranges import from_wire
from fleet_controller.agents.link import Link
from fleet_controller.agents.links import Links
from fleet_controller.core import hosts
from fleet_controller.core.recovery import freeze
from fleet_controller.core.recovery.freeze import EpochClaim, claim_of
from fleet_controller.core.recovery.seals import Seals
from fleet_controller.leader import store_doubts
from fleet_controller.leader.memory import LeaderMemory
from fleet_controller.observed import reports
from tests.simulation.seeded_bugs.replacing import SeededBug, wrong


def _what_makes_sense(ranges: Iterable[types.IndexRange]) -> IndexSet:
    """The rest is left out, and nobody hears of it."""
    return IndexSet((one.start, one.stop) for one in ranges if one.start < one.stop)


def _texts_of_any_length(facts: types.HostFacts) -> None:
    """Whoever has a certificate will not write novels."""


def _unguarded(self: Links, link: Link, report: wire.Report) -> None:
    """Reports are made by our own agents."""
    self._listener.reported(link.host_id, report)


def _never_silent(self: Links, link: Link, now: float) -> None:
    """A stream that stands is alive."""


def _any_other(
    epoch: Epoch, generation: int, known: int, given: bool, proves: Callable[[], bool]
) -> EpochClaim:
    """A host with an assignment that the store does not give it now has it from elsewhere."""
    odd = epoch.store_generation != generation and epoch.revision > 0
    return EpochClaim.AHEAD if odd else claim_of(epoch, generation, known, given, proves)


def _believed(
    epoch: Epoch, generation: int, known: int, given: bool, proves: Callable[[], bool]
) -> EpochClaim:
    """Who says so will know."""
    return claim_of(epoch, generation, known, given, lambda: True)


def _any_seal(self: Seals, seal: bytes, *sealed: Any) -> bool:
    """Whoever has a seal has it from a leader."""
    return bool(seal)


def _one_is_many(claiming: int, known: int) -> bool:
    return claiming >= 1


def _nobody(self: LeaderMemory, host_id: str) -> bool:
    """Whoever is denied was told so, and keeps away."""
    return False


TRUSTING: tuple[SeededBug, ...] = (
    SeededBug(
        "who is denied is not checked",
        (wrong(LeaderMemory.is_expelled, _nobody),),
        ("expel",),
    ),
    SeededBug(
        "ranges that make no sense are passed over",
        (wrong(from_wire, _what_makes_sense, seen_in=reports),),
        ("nonsense",),
    ),
    SeededBug(
        "announced texts have no bound",
        (wrong(hosts._check_texts, _texts_of_any_length),),
        ("large announcement",),
    ),
    SeededBug(
        "one report ends a leadership", (wrong(Links._hand_over, _unguarded),), ("nonsense",)
    ),
    SeededBug(
        "silence is not noticed", (wrong(Links._judge, _never_silent),), ("silent after the first",)
    ),
    SeededBug(
        "an odd epoch is believed",
        (wrong(claim_of, _any_other, seen_in=store_doubts),),
        ("epoch behind",),
    ),
    SeededBug(
        "a claim is believed unproven",
        (wrong(claim_of, _believed, seen_in=store_doubts),),
        ("epoch ahead",),
    ),
    SeededBug("any seal proves", (wrong(Seals._proves, _any_seal),), ("stale term",)),
    SeededBug(
        "one host is many",
        (wrong(freeze.are_many, _one_is_many, seen_in=store_doubts),),
        ("stale term on assign",),
    ),
)
