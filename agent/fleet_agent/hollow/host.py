"""One hollow host: a whole agent with its own server, certificate and address, drivers apart."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fleet.transport import Identity
from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.api.service import AgentApi
from fleet_agent.api.shared_samples import Sampling
from fleet_agent.controllers.announcer import Announcer, AnnounceSettings
from fleet_agent.core.holdings import images_held, with_holdings
from fleet_agent.daemon.host_identity import VERSION, state_certificates
from fleet_agent.daemon.server import AgentServer, CannotListen, SharedServices
from fleet_agent.dom0.doctor import HollowDoctor
from fleet_agent.drivers.hollow.behaviour import Behaviour
from fleet_agent.drivers.hollow.consoles import HollowConsoles
from fleet_agent.drivers.hollow.contents import HollowContents
from fleet_agent.drivers.hollow.guest_commands import HollowGuestCommands
from fleet_agent.drivers.hollow.guest_files import HollowGuestFiles
from fleet_agent.drivers.hollow.hypervisor import HollowHypervisor
from fleet_agent.drivers.hollow.images import HollowImages
from fleet_agent.drivers.hollow.profile import Profile
from fleet_agent.drivers.hollow.sampler import HollowSampler
from fleet_agent.drivers.hollow.storage import HollowStorage
from fleet_agent.drivers.hollow.upgrades import HollowUpgrades
from fleet_agent.drivers.images.watched import WatchedImages
from fleet_agent.hollow.joining import HollowRenewal, credentials_of
from fleet_agent.hollow.loopback import LOOPBACK, is_free
from fleet_agent.image_relay.grpc_peers import GrpcPeers
from fleet_agent.image_relay.relays import ImageRelays
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.ledger import MemoryLedger
from fleet_agent.reconcile.loop import LoopSettings
from fleet_agent.reconcile.step_measures import StepMeasures

# Machine ids of hollow hosts are UUIDs of this namespace: a host keeps its own for ever.
_NAMESPACE = uuid.UUID("7e1c0a3e-6d1b-4f0e-9a5c-3d8f7b0c2a11")

HOLLOW_KERNELS = "/var/lib/megafleet/kernels"


class Remembered(msgspec.Struct):
    """What a hollow host keeps over a restart of its process."""

    port: int
    incarnation: str


@dataclass(frozen=True, slots=True)
class HollowSettings:
    """What all hollow hosts of a process share."""

    certificates: Path
    endpoints: tuple[str, ...]
    per_host: int
    profile: Profile
    seed: int
    hosts_per_rack: int
    boot_id: str
    agent: LoopSettings
    announce: AnnounceSettings
    address: str = LOOPBACK  # on which they serve


@dataclass(frozen=True, slots=True)
class HollowEnvironment:
    """What the process lends to each of its hosts."""

    clock: Callable[[], float]
    jitter: Callable[[], float]
    gate: AbstractAsyncContextManager[object]
    services: SharedServices
    ports: Iterator[int]
    measures: StepMeasures | None = None


def host_id(number: int) -> str:
    """The name of hollow host `number`, counted from 1."""
    return f"hollow-{number:05d}"


class HollowHost:
    """`listen`, `start`, then `run`: until the process ends."""

    def __init__(
        self,
        number: int,
        settings: HollowSettings,
        around: HollowEnvironment,
        ca: bytes,
        remembered: Remembered,
    ) -> None:
        self.id = host_id(number)
        self._remembered = remembered
        self._ports = around.ports
        self._address = settings.address
        behaviour = Behaviour.of(settings.profile, settings.seed, self.id)
        storage = HollowStorage(behaviour)
        self.drivers = (storage, HollowHypervisor(behaviour, settings.per_host))
        found = credentials_of(settings.certificates, self.id, ca)
        self._certificates = found.now
        self._renewal = HollowRenewal(
            self.id, found, settings.endpoints, self._renewed, around.jitter
        )
        self._announcer = Announcer(
            self._renewal.client,
            settings.endpoints,
            "",
            lambda: self.agent.facts,
            jitter=around.jitter,
            gate=around.gate,
            settings=settings.announce,
        )
        self.agent = Agent(
            self.id,
            _facts(number, self.id, settings, found.now()),
            *self.drivers,
            MemoryLedger(),
            clock=around.clock,
            wall_clock=time.time,
            jitter=around.jitter,
            settings=settings.agent,
            incarnation=remembered.incarnation,
            on_watched=self._announcer.on_watched,
            measures=around.measures,
        )
        self._images = HollowImages(storage)
        contents = HollowContents(self._images)
        self._imported = Alarm()
        self._profile = settings.profile
        sampler = HollowSampler(self.drivers[1], behaviour, settings.per_host)
        api = AgentApi(
            self.agent,
            consoles=HollowConsoles(self.drivers[1]),
            sampling=Sampling(sampler, around.clock),
            doctor=HollowDoctor(self.id, settings.per_host),
            images=WatchedImages(self._images, contents, self._imported.ring),
            told=self._renewal.told,
            relays=ImageRelays(
                self._images,
                contents,
                GrpcPeers(found.credentials.for_channel),
                HOLLOW_KERNELS,
                self._imported.ring,
                self.agent.set_coming,
            ),
            upgrades=HollowUpgrades(VERSION, self._upgraded),
            guest_commands=HollowGuestCommands(self.drivers[1], behaviour),
            guest_files=HollowGuestFiles(self.drivers[1], behaviour),
        )
        self._server = AgentServer(api, around.services, found.credentials.for_server)

    def listen(self) -> Remembered:
        """On the remembered port, or on another one if that is taken. Raises CannotListen."""
        port = self._listen_somewhere()
        self._announcer.announce_anew(f"{self._address}:{port}")
        self._remembered = Remembered(port, self._remembered.incarnation)
        return self._remembered

    def _listen_somewhere(self) -> int:
        port = self._remembered.port
        if not port or not is_free(port, self._address):
            port = next(self._ports)
        while True:
            try:
                return self._server.listen(f"{self._address}:{port}")
            except CannotListen:
                if not port:
                    raise
            port = next(self._ports)

    async def start(self) -> None:
        await self.agent.open()
        await self._tell_holdings()
        await self._server.start()

    def run(self, group: asyncio.TaskGroup) -> None:
        group.create_task(self.agent.run())
        group.create_task(self._announcer.run())
        self._renewal.run(group)
        group.create_task(self._follow_imports())

    def _upgraded(self, version: str) -> None:
        facts = types.HostFacts()
        facts.CopyFrom(self.agent.facts)
        facts.agent_version = version
        self.agent.set_facts(facts)
        self._announcer.announce_anew()

    def _renewed(self, certificate: bytes) -> None:
        facts = types.HostFacts()
        facts.CopyFrom(self.agent.facts)
        state_certificates(facts, self._certificates())
        self.agent.set_facts(facts)

    async def _follow_imports(self) -> None:
        """Until cancelled."""
        while True:
            await self._imported.sleep(None)
            await self._tell_holdings()
            self._announcer.announce_anew()

    async def _tell_holdings(self) -> None:
        """One that has everything tells nothing of it, but for images that were brought to it."""
        everything = self._profile.has_everything
        held = await self._images.holdings()
        images = [(one.image, one.digest) for one in held.images if one.digest or not everything]
        if everything and not images:
            return
        told = types.HostFacts(
            images=images_held(images),
            bridges=None if everything else types.BridgesHeld(names=self._profile.bridges),
            fetches_images=True,
            gives_images=True,
        )
        told.images.more = told.images.more or everything
        self.agent.set_facts(with_holdings(self.agent.facts, told))


def _facts(number: int, host: str, settings: HollowSettings, identity: Identity) -> types.HostFacts:
    rack = (number - 1) // settings.hosts_per_rack + 1
    facts = types.HostFacts(
        machine_id=uuid.uuid5(_NAMESPACE, host).hex,
        boot_id=settings.boot_id,
        labels={"rack": f"r{rack:02d}"},
        capacity=types.Capacity(
            guests=settings.per_host, memory_bytes=settings.profile.memory_bytes
        ),
        agent_version=VERSION,
        upgrades=True,
        hypervisor="hollow",
        storage="hollow",
    )
    state_certificates(facts, identity)
    return facts
