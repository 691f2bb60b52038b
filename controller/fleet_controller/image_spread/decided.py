"""Who fetches from whom, as it was decided last, and what each host is told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet.v1 import agent_pb2 as wire
from fleet_controller.core.image_spread.patience import patience_seconds
from fleet_controller.core.image_spread.sources import STRIPES, Reading
from fleet_controller.core.model import HostRecord
from fleet_controller.image_spread.part import Part

# Reports on progress a second, of all hosts together.
_REPORTS_A_SECOND = 400
_LEAST_REPORT_MS = 500


class Decided:
    """`readers`: by source, all who were ever told to fetch there."""

    def __init__(self) -> None:
        self.sources: Mapping[Reading, str] = {}
        self.readers: dict[str, set[str]] = {}
        self._attempts: dict[Reading, int] = {}
        self._hops: dict[Reading, int] = {}

    def remember(
        self,
        decided: Mapping[Reading, str],
        hops: Mapping[Reading, int],
        parts: Mapping[str, Part],
    ) -> None:
        """`hops`: as of core.image_spread.patience."""
        for reading, source in decided.items():
            passed = hops[reading]
            if self.sources.get(reading) != source:
                part = parts[reading.host]
                self.readers.setdefault(source, set()).add(reading.host)
                part.attempts += 1
                self._attempts[reading] = part.attempts
            elif passed:
                # That one has come nearer to the image is not worth telling all below it.
                passed = max(passed, self._hops[reading])
            self._hops[reading] = passed
        self.sources = decided

    def readers_now(self) -> dict[str, list[str]]:
        """By source."""
        found: dict[str, list[str]] = {}
        for reading, source in self.sources.items():
            found.setdefault(source, []).append(reading.host)
        return found

    def add_to(
        self,
        order: wire.RelayOrder,
        readers: Iterable[str],
        hosts: Mapping[str, HostRecord],
        many: int,
    ) -> wire.RelayOrder:
        """What the order's host is to do. `many`: hosts that take part."""
        order.readers.extend(sorted(set(readers)))
        order.report_every_ms = max(_LEAST_REPORT_MS, many * 1000 // _REPORTS_A_SECOND)
        for stripe in range(STRIPES):
            reading = Reading(order.host_id, stripe)
            source = self.sources.get(reading)
            record = hosts.get(source) if source else None
            if source and record:
                order.sources.add(
                    host=source,
                    address=record.address,
                    stripe=stripe,
                    attempt=self._attempts[reading],
                    patience_seconds=patience_seconds(self._hops[reading], order.bytes_per_second),
                )
        return order
