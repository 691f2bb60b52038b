"""The network between simulated processes: ways that delay, cut, and break what goes over them.

Within one connection messages keep their order and none is missing; a message that is lost takes
its connection with it, as TCP does. Between connections there is no order. A way that is cut
holds what is sent over it until it is mended, or until somebody gives up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.simulation.engine.clockwork import Clockwork

# As in fleet.transport: a peer that has vanished is noticed after so many seconds.
KEEPALIVE_SECONDS = 80.0
REPEAT_SECONDS = 15.0  # a request that somebody sends again comes so late at most
CALM_SECONDS = 0.0005


@dataclass(slots=True)
class Weather:
    """What the network does to each message. `delay`: mean seconds, exponentially distributed;
    the rest are shares of messages."""

    delay: float = 0.0
    lose: float = 0.0
    repeat: float = 0.0

    @property
    def calm(self) -> bool:
        return not (self.delay or self.lose or self.repeat)


class Network:
    """All ways between named ends. One way leads from one end to another; it is open unless cut."""

    def __init__(self, loop: Clockwork, random: Random) -> None:
        self.loop = loop
        self.random = random
        self.weather = Weather()
        self._cuts: dict[tuple[str, str], int] = {}  # how many faults cut it
        self.last_cut: dict[tuple[str, str], float] = {}  # when, also where it is open again
        self._held: dict[tuple[str, str], list[Callable[[], None]]] = {}

    def seconds(self) -> float:
        """How long the next message takes."""
        weather = self.weather
        if not weather.delay:
            return CALM_SECONDS
        return CALM_SECONDS + min(self.random.expovariate(1.0 / weather.delay), 20.0)

    def loses(self) -> bool:
        return bool(self.weather.lose) and self.random.random() < self.weather.lose

    def repeats(self) -> bool:
        return bool(self.weather.repeat) and self.random.random() < self.weather.repeat

    def is_open(self, source: str, target: str) -> bool:
        return (source, target) not in self._cuts

    def cut(self, source: str, target: str) -> None:
        self._cuts[source, target] = self._cuts.get((source, target), 0) + 1
        self.last_cut[source, target] = self.loop.now

    def mend(self, source: str, target: str) -> None:
        """Undo one cut. What was held by the last one arrives now, in the order it was sent."""
        left = self._cuts.get((source, target), 0) - 1
        if left > 0:
            self._cuts[source, target] = left
            return
        self._cuts.pop((source, target), None)
        # At once: what is sent over the same connection from now on must come after it.
        for arrive in self._held.pop((source, target), ()):
            self.loop.at(self.loop.now, arrive)

    def send(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        """One message that belongs to no connection: no order, never lost while the way is open."""
        self.loop.after(self.seconds(), self._arrive, source, target, arrive)

    def send_again(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        """What was sent before, some time later."""
        self.loop.after(
            self.random.uniform(0.0, REPEAT_SECONDS), self._arrive, source, target, arrive
        )

    def hold(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        self._held.setdefault((source, target), []).append(arrive)

    def _arrive(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        if (source, target) in self._cuts:
            self.hold(source, target, arrive)
        else:
            arrive()


class Pipe:
    """One direction of one connection: in order, and broken as a whole."""

    __slots__ = ("_last", "_network", "broken", "on_break", "source", "target")

    def __init__(
        self, network: Network, source: str, target: str, on_break: Callable[[], None]
    ) -> None:
        self._network = network
        self.source = source
        self.target = target
        self.on_break = on_break
        self.broken = False
        self._last = 0.0

    def send(self, arrive: Callable[..., None], *args: object) -> None:
        """Nothing comes of it when the pipe breaks before it has arrived."""
        network = self._network
        if self.broken:
            return
        if network.loses():
            self.broken = True
            network.loop.after(network.seconds() + 1.0, self.on_break)
            return
        self._last = max(self._last, network.loop.now + network.seconds())
        network.loop.at(self._last, self._arrive, arrive, args)

    def _arrive(self, arrive: Callable[..., None], args: tuple[object, ...]) -> None:
        if self.broken:
            return
        network = self._network
        if network.is_open(self.source, self.target):
            arrive(*args)
        else:
            network.hold(self.source, self.target, lambda: self._arrive(arrive, args))
            network.loop.after(KEEPALIVE_SECONDS, self._give_up)

    def _give_up(self) -> None:
        """The other end has not been heard for long, if it still has not."""
        if not self.broken and not self._network.is_open(self.source, self.target):
            self.broken = True
            self.on_break()
