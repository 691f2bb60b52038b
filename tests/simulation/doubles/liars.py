"""Which hosts lie, and since when: what rules excuse, and what they look at more closely."""

from __future__ import annotations

from collections.abc import Callable, Collection

from tests.simulation.doubles.witness import Witness


class Liars(Witness):
    """A host lies from `begin` to `end`. What it once said may be believed for longer: a release
    that never was has freed an index elsewhere, and stays so."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.ever: set[str] = set()
        self.since: dict[str, float] = {}  # those that lie now
        self.lies: dict[str, frozenset[str]] = {}  # their lies, by name
        self.recovering = False  # the store was set back: hosts are asked what they have

    def begin(self, host: str, lies: Collection[str]) -> None:
        self.ever.add(host)
        self.since[host] = self._clock()
        self.lies[host] = frozenset(lies)

    def end(self, host: str) -> None:
        self.since.pop(host, None)
        self.lies.pop(host, None)

    def store_set_back(self) -> None:
        self.recovering = True

    def changes_thawed(self) -> None:
        self.recovering = False
