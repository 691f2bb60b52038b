"""Hosts that are lost or removed: by time no more of a rack or of all than the breaker lets, and
whoever is back gives up within a minute what others run by now."""

from __future__ import annotations

from collections.abc import Callable

from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.model import HostRecord
from tests.simulation.doubles.operator import Operator
from tests.simulation.doubles.witness import Witness
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.one_copy import RETURN_SECONDS
from tests.simulation.rules.store_view import StoreView

# Of the window: leaders' clocks are not the world's, and judge once a second.
EXACT = 0.97


class Breaker(Witness):
    """Hears of verdicts."""

    def __init__(
        self,
        clock: Callable[[], float],
        store: StoreView,
        operator: Operator,
        settings: LossSettings,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._store = store
        self._operator = operator
        self._settings = settings
        self._fail = fail
        self._back: dict[str, float] = {}  # hosts whose verdict was taken back, and when
        self._by_time: dict[str, float] = {}  # hosts lost without a word of an operator, and when

    def verdict_written(self, record: HostRecord, lost: bool) -> None:
        declared = self._operator.declared
        if not lost:
            self._back[record.id] = self._clock()
        if not lost or record.id in declared:
            self._by_time.pop(record.id, None)
            return
        now = self._clock()
        self._by_time[record.id] = now
        # By a clock that is behind, what an operator has released is so for longer.
        behind = max(0.0, *(-one.wall_ahead for one in self._operator.controllers))
        if self._operator.breaker_held_until > now - behind:
            return
        recent = {
            host
            for host, at in self._by_time.items()
            if at > now - EXACT * self._settings.window
            and self._store.hosts[host].lost
            and host not in declared
        }
        rack = record.labels.get(self._settings.rack_label, "")
        self._check(recent, rack, self._settings.rack_share)
        self._check(recent, None, self._settings.fleet_share)

    def store_set_back(self) -> None:
        """Who is lost by the restored store is nobody's verdict of late."""
        self._by_time.clear()

    def host_removed(self, host: str) -> None:
        """The host is known no more, and no verdict stands."""
        self._by_time.pop(host, None)

    def host_returned(self, host: str) -> None:
        self._back[host] = self._clock()

    def has_just_returned(self, host: str) -> bool:
        """Whether what it had begun before it was told may still take effect."""
        return self._clock() - self._back.get(host, -RETURN_SECONDS) < RETURN_SECONDS

    def _check(self, recent: set[str], rack: str | None, share: float) -> None:
        """`rack` None: all hosts."""
        hosts = [
            one
            for one in self._store.hosts.values()
            if (rack is None or one.labels.get(self._settings.rack_label, "") == rack)
            and (not one.lost or one.id in recent)
        ]
        gone = [one.id for one in hosts if one.id in recent]
        if len(gone) > 1 and len(gone) > share * len(hosts):
            where = "all hosts" if rack is None else f"rack {rack}"
            self._fail(
                "breaker", f"{len(gone)} of {len(hosts)} of {where} are lost by time: {gone}"
            )
