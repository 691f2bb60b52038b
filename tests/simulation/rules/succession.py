"""Somebody leads soon where nothing stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fleet_controller.store.keys import LEADER
from tests.simulation.doubles.controllers import Controller
from tests.simulation.doubles.etcd import Etcd
from tests.simulation.engine.trace import Fail
from tests.simulation.rules.troubles import Troubles

# Without a leader though somebody could lead: longer than the life of a lease, the wait for a
# store that answered nobody, and a start.
LEADERLESS_SECONDS = 15.0


class Succession:
    """Looks every second."""

    def __init__(
        self,
        clock: Callable[[], float],
        etcd: Etcd,
        controllers: Sequence[Controller],
        troubles: Troubles,
        fail: Fail,
    ) -> None:
        self._clock = clock
        self._etcd = etcd
        self._controllers = controllers
        self._troubles = troubles
        self._fail = fail
        self._since: dict[str, float] = {}  # controllers that could lead, and since when
        self._vacant = 0.0  # since when nobody leads

    def look(self) -> None:
        now = self._clock()
        if self._etcd.created(LEADER):
            self._vacant = now
        self._since = {
            one.life: self._since.get(one.life, now)
            for one in self._controllers
            if self._troubles.could_lead(one)
        }
        since = min(self._since.values(), default=now)
        if now - max(since, self._vacant) > LEADERLESS_SECONDS:
            self._fail("succession", f"nobody leads for {LEADERLESS_SECONDS:.0f} s")
