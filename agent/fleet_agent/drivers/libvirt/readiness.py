"""Waits for a batch of guests to show their pattern on their consoles.

A console log is another program's file, so looking again is the only way to learn of its
growth; poll() is one look at all consoles of the batch, and the caller paces it. Blocking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from fleet.texts.guest_patterns import GuestPattern
from fleet_agent.core.model import PAUSED, SUSPENDED, Batch, Phase, StepFailure
from fleet_agent.drivers.console_pattern import console_pattern
from fleet_agent.drivers.consoles.tail import ConsoleTail, last_lines
from fleet_agent.drivers.lanes import ActFailed
from fleet_agent.drivers.libvirt.domains.domains import Domains
from fleet_agent.drivers.libvirt.domains.lives import DomainLife
from fleet_agent.drivers.libvirt.stalled import Stalled

# Seconds between two looks at which domains are active: one call to libvirt for the batch.
ACTIVE_INTERVAL = 1.0


@dataclass(slots=True)
class Verdicts:
    """What one look decided; indices in neither are still awaited."""

    ready: list[int] = field(default_factory=list)
    failures: list[StepFailure] = field(default_factory=list)


class ReadinessDeadlines:
    """Since when each life of a domain is awaited, over calls that were cut short: a caller
    that plans anew from time to time must not make a VM's timeout begin anew."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, float]] = {}

    def since(self, name: str, domain_id: int, now: float) -> float:
        known = self._since.get(name)
        if known is None or known[0] != domain_id:
            known = self._since[name] = (domain_id, now)
        return known[1]

    def end(self, name: str) -> None:
        """There is a verdict on this life; whoever waits again has patience anew."""
        self._since.pop(name, None)


class ReadyWatch:
    """The consoles of one batch, from the moment it was made until each VM has a verdict."""

    def __init__(self, domains: Domains, batch: Batch, patience: ReadinessDeadlines) -> None:
        self._domains = domains
        self._batch = batch
        self._patience = patience
        self._deadlines: dict[int, float] = {}
        self._waiting = list(batch.indices)
        self._active: frozenset[str] = frozenset()
        self._stalled: Mapping[str, Stalled] = {}
        self._active_at = float("-inf")
        self.tails: dict[int, ConsoleTail] = {}

    @property
    def done(self) -> bool:
        return not self._waiting

    def poll(self, now: float) -> Verdicts:
        """Look at each console once. `now`: seconds of a monotonic clock. Raises DriverError."""
        if now - self._active_at >= ACTIVE_INTERVAL:
            self._active, self._stalled = self._domains.active()
            self._active_at = now
        verdicts = Verdicts()
        for index in self._waiting:
            try:
                if self._is_ready(index, now):
                    verdicts.ready.append(index)
            except ActFailed as refusal:
                verdicts.failures.append(refusal.failure(index))
        for failure in verdicts.failures:
            self._patience.end(self._batch.fleet.domain_name(failure.index))
        decided = {*verdicts.ready, *(failure.index for failure in verdicts.failures)}
        self._waiting = [index for index in self._waiting if index not in decided]
        return verdicts

    def _is_ready(self, index: int, now: float) -> bool:
        name = self._batch.fleet.domain_name(index)
        tail = self.tails.get(index)
        if tail is None:
            life = self._domains.lives.life(self._batch, index)
            if life.ready:
                return True
            tail = self.tails[index] = self._tail(index, life)
            timeout = self._batch.spec.readiness.timeout_seconds
            since = self._patience.since(name, life.domain_id, now)
            self._deadlines[index] = since + timeout
        try:
            if tail.shows(self._pattern):
                return True
        except OSError as error:
            raise ActFailed("not_ready", f"cannot read {name}'s console: {error}") from error
        if name not in self._active:
            raise ActFailed("died", f"{name} is not running any more; {last_lines(tail.path)}")
        if stalled := self._stalled.get(name):
            kind = PAUSED if stalled.phase is Phase.HALTED else SUSPENDED
            raise ActFailed(kind, stalled.why)
        if now >= self._deadlines[index]:
            timeout = self._batch.spec.readiness.timeout_seconds
            raise ActFailed(
                "not_ready",
                f"{name} was not ready within {timeout:g} s: no line of its console matched "
                f"{self._batch.spec.readiness.console_pattern!r}; {last_lines(tail.path)}",
            )
        return False

    def _tail(self, index: int, life: DomainLife) -> ConsoleTail:
        log, last = self._domains.console(self._batch, index), life.last_ready
        return ConsoleTail(log, last.log_inode, last.log_read) if last else ConsoleTail(log)

    @cached_property
    def _pattern(self) -> GuestPattern:
        """Raises ActFailed."""
        return console_pattern(self._batch.spec.readiness.console_pattern)
