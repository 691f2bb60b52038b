"""Holdings of hosts, each kept once: thousands of hosts have the same images, kernels and bridges,
and placement looks up once what hosts with one and the same holdings have."""

from __future__ import annotations

from weakref import WeakValueDictionary

from msgspec import structs

from fleet_controller.core.holdings import UNTOLD, HostHoldings
from fleet_controller.core.model import HostRecord


class SharedHoldings:
    """Those that some record has; what no record has any more is forgotten."""

    def __init__(self) -> None:
        self._kept: WeakValueDictionary[int, HostHoldings] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    def share(self, record: HostRecord) -> HostRecord:
        """The record with the holdings that are kept already, where there are equal ones."""
        told = record.holdings
        if told == UNTOLD:
            return structs.replace(record, holdings=UNTOLD)
        kept = self._kept.setdefault(hash(told), told)
        return structs.replace(record, holdings=kept) if kept == told else record
