"""How agents announce themselves to controllers over the simulated network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fleet.v1 import types_pb2 as types
from fleet_agent.controllers.announcer import (
    AnnounceRefused,
    ControllerUnreachable,
    NotLeader,
)
from fleet_controller.core.refusals import Refused
from fleet_controller.election.election import LeadershipLost
from fleet_controller.mirror.committer import Outdated
from fleet_controller.replica.replica import NotLeading, Replica
from fleet_controller.store.port import StoreError
from tests.simulation.doubles.tongue import Saying, Tongue
from tests.simulation.engine.clockwork import Process
from tests.simulation.engine.network import Network

ANNOUNCE_DEADLINE = 10.0
Back = Callable[[Exception | None], None]


class Directory:
    """Which controller serves at which address."""

    def __init__(self) -> None:
        self.replicas: dict[str, tuple[Replica, Process]] = {}


class SimClient:
    """The ControllerClient port of one agent."""

    def __init__(
        self, network: Network, directory: Directory, host_id: str, tongue: Tongue
    ) -> None:
        self._network = network
        self._directory = directory
        self._host_id = host_id
        self._tongue = tongue

    async def announce(self, endpoint: str, address: str, facts: types.HostFacts) -> float:
        """The last of what the host says in place of it is answered."""
        told = types.HostFacts()
        told.CopyFrom(facts)
        *others, last = self._tongue.announces(address, told)
        for saying in others:
            self._send(endpoint, saying, lambda _: None)
        network = self._network
        answer: asyncio.Future[Exception | None] = network.loop.create_future()

        def told_back(outcome: Exception | None) -> None:
            if not answer.done():
                answer.set_result(outcome)

        self._send(endpoint, last, told_back)
        try:
            async with asyncio.timeout(ANNOUNCE_DEADLINE):
                outcome = await answer
        except TimeoutError as error:
            raise ControllerUnreachable(f"{endpoint}: no answer") from error
        if outcome is not None:
            raise outcome
        return 60.0

    def _send(self, endpoint: str, saying: Saying, answer: Back) -> None:
        network, name = self._network, endpoint.partition(":")[0]

        def arrive() -> None:
            found = self._directory.replicas.get(endpoint)
            if found is None:
                back(ControllerUnreachable(f"{endpoint}: connection refused"))
            else:
                serving = self._serve(found[0], saying.address, saying.facts, back)
                network.loop.spawn(found[1], serving)

        def back(outcome: Exception | None) -> None:
            network.send(name, self._host_id, lambda: answer(outcome))

        network.send(self._host_id, name, arrive)

    async def _serve(
        self, replica: Replica, address: str, facts: types.HostFacts, back: Back
    ) -> None:
        """At the controller, as its API does."""
        try:
            async with asyncio.timeout(ANNOUNCE_DEADLINE):
                await replica.leader().announcements.announce(self._host_id, address, facts)
        except NotLeading as error:
            back(NotLeader(error.address))
        except Refused as error:
            back(AnnounceRefused(str(error)))
        except (StoreError, Outdated, LeadershipLost, TimeoutError) as error:
            back(ControllerUnreachable(str(error)))
        except asyncio.CancelledError:
            back(ControllerUnreachable("the controller ended its leadership"))
            raise
        else:
            back(None)
