"""The Standbys port over the simulated network: the others are asked by message, and each that runs
looks at hosts by the product's own probe, over its own ways to them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial

from fleet_controller.replica.host_probe import HostProbe
from fleet_controller.standbys import Place
from tests.simulation.doubles.announcing import Directory
from tests.simulation.engine.clockwork import Process
from tests.simulation.engine.network import Network


class SimStandbys:
    """One controller's way to the others."""

    def __init__(self, network: Network, directory: Directory, name: str) -> None:
        self._network = network
        self._directory = directory
        self._name = name

    async def reach(self, places: Collection[Place], seconds: float) -> dict[str, str]:
        """A standby is known for as long as its process lives. See Standbys."""
        reached: dict[str, str] = {}
        left = [one for one in self._directory.replicas.values() if one[0].name != self._name]
        awaited = {replica.name for replica, _ in left}
        heard = asyncio.Event()

        def answer(name: str, hosts: list[str]) -> None:
            awaited.discard(name)
            for host in hosts:
                reached.setdefault(host, name)
            heard.set()

        for replica, process in left:
            probe = HostProbe(replica.dialer)
            asked = _Asked(self._network, self._name, replica.name, process, probe, answer)
            self._network.send(self._name, replica.name, partial(asked.arrive, places))
        try:
            async with asyncio.timeout(seconds):
                while awaited and len(reached) < len(places):
                    heard.clear()
                    await heard.wait()
        except TimeoutError:
            pass
        return dict(reached)


class _Asked:
    """One question to one standby."""

    def __init__(
        self,
        network: Network,
        source: str,
        target: str,
        process: Process,
        probe: HostProbe,
        answer: Callable[[str, list[str]], None],
    ) -> None:
        self._network = network
        self._source = source
        self._target = target
        self._process = process
        self._probe = probe
        self._answer = answer

    def arrive(self, places: Collection[Place]) -> None:
        if not self._process.dead:
            self._network.loop.spawn(self._process, self._look(places))

    async def _look(self, places: Collection[Place]) -> None:
        hosts = await self._probe.reached(places)
        self._network.send(self._target, self._source, partial(self._answer, self._target, hosts))
