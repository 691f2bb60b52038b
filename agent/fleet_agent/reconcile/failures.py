"""VMs whose last step failed: why, how often, and when to try again.

Only these VMs have an object of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from fleet.keys import Kin
from fleet.ranges import EMPTY, IndexSet
from fleet_agent.core.model import DIED, PAUSED, StepFailure


@dataclass(frozen=True, slots=True)
class BackOff:
    """Seconds. The n-th wait is first * 2^(n-1), at most `longest`, less up to half by jitter.

    Failures that trying again cannot mend wait the longest at once: what mends them (an image
    brought here, a foreign domain removed) is not always something the agent hears of.
    A VM that died or was halted is forgiven once it has stayed up for `forgiven_after`.
    """

    first: float = 1.0
    longest: float = 300.0
    forgiven_after: float = 120.0

    def wait(self, attempts: int, retry: bool, jitter: float) -> float:
        """`jitter` is a number in [0, 1)."""
        longest = self.longest
        whole = min(longest, self.first * 2.0 ** min(attempts - 1, 32)) if retry else longest
        return whole * (1.0 - jitter / 2)


@dataclass(slots=True)
class VmFailure:
    """Why the last step of one VM failed, how often, and when to try again."""

    attempts: int
    next_try: float
    kind: str
    message: str
    lasting: bool  # somebody has to change something
    asked: int = 0  # the retry that its attempts are counted from, as in fleet.v1.Shard


@dataclass(frozen=True, slots=True)
class Amiss:
    """VMs of one kin that are not as wanted, for reasons of one kind."""

    kind: str
    kin: Kin
    indices: IndexSet
    message: str  # of the lowest index
    lasting: bool  # somebody has to change something


class VmFailures:
    """All VMs of this host whose last step failed. Times are of the agent's clock, in seconds."""

    def __init__(self, back_off: BackOff, jitter: Callable[[], float]) -> None:
        self._back_off = back_off
        self._jitter = jitter
        self._by_vm: dict[tuple[Kin, int], VmFailure] = {}

    def __len__(self) -> int:
        return len(self._by_vm)

    def record(self, kin: Kin, failures: Iterable[StepFailure], now: float) -> None:
        """Those that failed together are tried again together: one plan, not one for each."""
        jitter = self._jitter()
        for failure in failures:
            before = self._by_vm.get((kin, failure.index))
            attempts = before.attempts + 1 if before else 1
            wait = self._back_off.wait(attempts, failure.retry, jitter)
            self._by_vm[kin, failure.index] = VmFailure(
                attempts,
                now + wait,
                failure.kind,
                failure.message,
                failure.lasting,
                before.asked if before else 0,
            )

    def get(self, kin: Kin, index: int) -> VmFailure | None:
        return self._by_vm.get((kin, index))

    def prune(self, unmet: Mapping[Kin, IndexSet], now: float) -> None:
        """Forget those that are as wanted, and have stayed so where they had died or halted."""
        if not self._by_vm:
            return
        patience = self._back_off.forgiven_after
        self._by_vm = {
            (kin, index): failure
            for (kin, index), failure in self._by_vm.items()
            if index in unmet.get(kin, EMPTY)
            or (failure.kind in (DIED, PAUSED) and now < failure.next_try + patience)
        }

    def reconsider(self, now: float) -> None:
        """Let every VM be tried at once: somebody has changed something."""
        for failure in self._by_vm.values():
            failure.next_try = min(failure.next_try, now)

    def begin_anew(self, kin: Kin, indices: IndexSet, asked: int) -> None:
        """Let these wait as after a first failure, once for each such word of an operator."""
        for (other, index), failure in self._by_vm.items():
            if other == kin and index in indices and failure.asked < asked:
                failure.attempts, failure.asked = 0, asked

    def resting(self, now: float) -> dict[Kin, IndexSet]:
        """Which VMs must not be tried yet."""
        return self._by_kin(lambda failure: failure.next_try > now)

    def failing(self) -> dict[Kin, IndexSet]:
        return self._by_kin(lambda failure: True)

    def next_try(self, now: float) -> float | None:
        """When the next of them may be tried; None when none waits."""
        return min(
            (one.next_try for one in self._by_vm.values() if one.next_try > now), default=None
        )

    def amiss(self, unmet: Mapping[Kin, IndexSet]) -> Iterator[Amiss]:
        """VMs still amiss, by kin and kind of failure; the message is that of the lowest index."""
        found: dict[tuple[Kin, str], list[int]] = {}
        for (kin, index), failure in self._by_vm.items():
            if index in unmet.get(kin, EMPTY):
                found.setdefault((kin, failure.kind), []).append(index)
        for (kin, kind), indices in found.items():
            first = self._by_vm[kin, min(indices)]
            lasting = all(self._by_vm[kin, index].lasting for index in indices)
            yield Amiss(kind, kin, IndexSet.of(indices), first.message, lasting)

    def _by_kin(self, chosen: Callable[[VmFailure], bool]) -> dict[Kin, IndexSet]:
        if not self._by_vm:
            return {}
        found: dict[Kin, list[int]] = {}
        for (kin, index), failure in self._by_vm.items():
            if chosen(failure):
                found.setdefault(kin, []).append(index)
        return {kin: IndexSet.of(indices) for kin, indices in found.items()}
