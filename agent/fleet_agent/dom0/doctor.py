"""Says what of a host's limits stands in the way of a density, and lifts what can be lifted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Protocol, TypeVar

from fleet_agent.core.limits.dom0_facts import Dom0Facts, Process
from fleet_agent.core.limits.met import LimitMet
from fleet_agent.core.limits.remedies import by_hand
from fleet_agent.core.limits.table import LIMITS
from fleet_agent.core.limits.tuning import LimitChange, tuning
from fleet_agent.core.limits.verdicts import (
    Limit,
    NotApplicable,
    Verdict,
    admits,
    binding,
    judge,
    summary,
)
from fleet_agent.dom0.host_tree import HostTree
from fleet_agent.dom0.met import read_met
from fleet_agent.dom0.probe import ProbeInputs, read_facts
from fleet_agent.dom0.tuner import Outcome, Tuner
from fleet_agent.dom0.tuning_record import TuningError, TuningRecordFile

__all__ = ["Doctor", "Dom0Doctor", "Examination", "HollowDoctor", "TuneMode", "TuningError"]

T = TypeVar("T")

# A reading of files takes milliseconds; `xl` and the journal may take long on a busy dom0.
DEADLINE = 90.0


class TuneMode(Enum):
    """What tuning is to do."""

    PLAN = auto()
    APPLY = auto()
    UNDO = auto()


@dataclass(frozen=True, slots=True)
class Examination:
    """A host against one density."""

    host: str
    guests: int
    verdicts: tuple[Verdict, ...]
    met: tuple[LimitMet, ...] = ()

    @property
    def admits(self) -> int:
        return admits(self.verdicts)

    @property
    def binding(self) -> Verdict | None:
        return binding(self.verdicts)

    @property
    def summary(self) -> str:
        return summary(self.verdicts, self.guests, self.host)


class Doctor(Protocol):
    """Raise TimeoutError when the host does not answer; `tune` raises TuningError as well."""

    async def examine(
        self, guests: int = 0, *, logs: bool = True, clones: bool | None = None
    ) -> Examination:
        """For so many guests; 0: as many as the host is set to take. Without `logs` none are
        read. `clones`: as if all guests were copies of a template, or none of them; None: as those
        are that it is assigned. Changes nothing."""

    async def tune(self, guests: int, mode: TuneMode) -> tuple[Outcome, ...]: ...


class Dom0Doctor:
    """Of the machine it runs on. Reads and writes in one thread, so that no two overlap."""

    def __init__(
        self,
        host: str,
        guests: int,
        circumstances: Callable[[], Awaitable[ProbeInputs]],
        tree: HostTree,
        record: TuningRecordFile,
        *,
        tuned: Callable[[], None],
    ) -> None:
        """`tuned` is told whenever limits may have changed."""
        self._on_tuned = tuned
        self._host = host
        self._guests = guests
        self._circumstances = circumstances
        self._tree = tree
        self._tuner = Tuner(tree, record)
        self._executor = ThreadPoolExecutor(1, "dom0")

    async def examine(
        self, guests: int = 0, *, logs: bool = True, clones: bool | None = None
    ) -> Examination:
        asked = guests or self._guests
        async with asyncio.timeout(DEADLINE):
            facts = await self._facts()
            if clones is not None:
                facts = replace(facts, footprint=replace(facts.footprint, clones=clones))
            met = await self._in_thread(lambda: read_met(self._tree)) if logs else ()
        return Examination(self._host, asked, judge(LIMITS, facts, asked), met)

    async def tune(self, guests: int, mode: TuneMode) -> tuple[Outcome, ...]:
        async with asyncio.timeout(DEADLINE):
            if mode is TuneMode.PLAN:
                return await self._change(guests, self._tuner.preview)
            try:
                if mode is TuneMode.UNDO:
                    return await self._in_thread(self._tuner.undo)
                return await self._change(guests, self._tuner.apply)
            finally:
                self._on_tuned()

    async def _change(
        self,
        guests: int,
        act: Callable[[Iterable[LimitChange], Mapping[str, Process]], tuple[Outcome, ...]],
    ) -> tuple[Outcome, ...]:
        facts = await self._facts()
        verdicts = judge(LIMITS, facts, guests or self._guests)
        changes = tuning(verdicts, facts.own_files)
        return await self._in_thread(lambda: act(changes, facts.processes))

    def close(self) -> None:
        self._executor.shutdown(wait=False)

    async def _facts(self) -> Dom0Facts:
        around = await self._circumstances()
        return await self._in_thread(lambda: read_facts(self._tree, around))

    async def _in_thread(self, act: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, act)


def _bound_by_setting(guests: int) -> Limit:
    return Limit(
        name="hollow",
        title="what its process was told",
        source="fleet-hollow --per-host",
        found=lambda facts: guests,
        needed=lambda asked, facts: asked,
        remedy=lambda asked, facts: by_hand(f"start the hollow hosts with --per-host {asked}"),
    )


_NONE = Limit(
    name="dom0",
    title="limits of a dom0",
    source="a hollow host is simulated",
    found=lambda facts: NotApplicable("a hollow host has no dom0"),
    needed=lambda asked, facts: 0,
    remedy=lambda asked, facts: by_hand(""),
)


class HollowDoctor:
    """Of a simulated host: it takes what it was told to take, and has nothing to tune."""

    def __init__(self, host: str, guests: int) -> None:
        self._host = host
        self._guests = guests

    async def examine(
        self, guests: int = 0, *, logs: bool = True, clones: bool | None = None
    ) -> Examination:
        asked = guests or self._guests
        limits = (_bound_by_setting(self._guests), _NONE)
        return Examination(self._host, asked, judge(limits, Dom0Facts(), asked))

    async def tune(self, guests: int, mode: TuneMode) -> tuple[Outcome, ...]:
        return ()
