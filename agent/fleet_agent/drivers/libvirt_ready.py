"""Waits for a batch of guests to show their pattern on their consoles.

A console log is another program's file, so looking again is the only way to learn of its
growth; poll() is one look at all consoles of the batch, and the caller paces it. Blocking.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fleet_agent.core.model import Batch, StepFailure
from fleet_agent.drivers.lanes import Refused
from fleet_agent.drivers.libvirt_console import ConsoleTail, last_lines
from fleet_agent.drivers.libvirt_domains import Domains

# Seconds between two looks at which domains are active: one call to libvirt for the batch.
ACTIVE_INTERVAL = 1.0


@dataclass(slots=True)
class Verdicts:
    """What one look decided; indices in neither are still awaited."""

    ready: list[int] = field(default_factory=list)
    failures: list[StepFailure] = field(default_factory=list)


class ReadyWatch:
    """The consoles of one batch, from the moment it was made until each VM has a verdict."""

    def __init__(self, domains: Domains, batch: Batch, now: float) -> None:
        """`now` and all later times: seconds of the caller's monotonic clock."""
        self._domains = domains
        self._batch = batch
        self._deadline = now + batch.spec.readiness.timeout_seconds
        self._pattern: re.Pattern[str] | None = None
        self._waiting = list(batch.indices)
        self._active: frozenset[str] = frozenset()
        self._active_at = float("-inf")
        self.tails: dict[int, ConsoleTail] = {}

    @property
    def done(self) -> bool:
        return not self._waiting

    def poll(self, now: float) -> Verdicts:
        """Look at each console once. Raises DriverError."""
        if now - self._active_at >= ACTIVE_INTERVAL:
            self._active, self._active_at = self._domains.active_names(), now
        verdicts = Verdicts()
        for index in self._waiting:
            try:
                if self._is_ready(index, now):
                    verdicts.ready.append(index)
            except Refused as refusal:
                verdicts.failures.append(refusal.failure(index))
        decided = {*verdicts.ready, *(failure.index for failure in verdicts.failures)}
        self._waiting = [index for index in self._waiting if index not in decided]
        return verdicts

    def _is_ready(self, index: int, now: float) -> bool:
        tail = self.tails.get(index)
        if tail is None:
            seen, last = self._domains.ready_seen(self._batch, index)
            if seen:
                return True
            log = self._domains.console(self._batch, index)
            tail = ConsoleTail(log, last.log_inode, last.log_read) if last else ConsoleTail(log)
            self.tails[index] = tail
        name = self._batch.fleet.domain_name(index)
        try:
            if tail.shows(self._compiled()):
                return True
        except OSError as error:
            raise Refused("not_ready", f"cannot read {name}'s console: {error}") from error
        if name not in self._active:
            raise Refused("died", f"{name} is not running any more; {last_lines(tail.path)}")
        if now >= self._deadline:
            timeout = self._batch.spec.readiness.timeout_seconds
            raise Refused(
                "not_ready", f"{name} was not ready within {timeout:g} s; {last_lines(tail.path)}"
            )
        return False

    def _compiled(self) -> re.Pattern[str]:
        if self._pattern is None:
            try:
                self._pattern = re.compile(self._batch.spec.readiness.console_pattern)
            except re.error as error:
                raise Refused(
                    "bad_spec",
                    f"the console pattern is no regular expression: {error}",
                    retry=False,
                ) from error
        return self._pattern
