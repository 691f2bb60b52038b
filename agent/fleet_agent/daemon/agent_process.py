"""One dom0's agent as a process: its parts made and joined, run, and stopped."""

from __future__ import annotations

import contextlib
import os
import random
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import sdnotify
import structlog

from fleet.certificates.certificate_dates import CertificateFile, certificate_files, faults
from fleet.certificates.live_identity import LiveIdentity
from fleet.serving.process_memory import give_back_now_and_then
from fleet.transport import Identity
from fleet.v1 import joining_pb2 as joining
from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.api.service import AgentApi
from fleet_agent.api.shared_samples import Sampling
from fleet_agent.controllers.announcer import (
    Announcer,
    AnnounceSettings,
    OwnAddress,
)
from fleet_agent.controllers.grpc_client import GrpcControllerClient, Told
from fleet_agent.controllers.known_controllers import KnownControllers
from fleet_agent.core.fetched_images import Keeping
from fleet_agent.core.limits.dom0_facts import footprint_of
from fleet_agent.daemon import host_identity
from fleet_agent.daemon.facts_keeper import FactsKeeper, facts_at_start
from fleet_agent.daemon.fetched_images import FetchedImages
from fleet_agent.daemon.holdings_keeper import HoldingsKeeper
from fleet_agent.daemon.join_command import join_at_start
from fleet_agent.daemon.kernel_folders import KernelFolders
from fleet_agent.daemon.ledger_file import FileLedger
from fleet_agent.daemon.open_drivers import Drivers, kernel_folder, open_drivers
from fleet_agent.daemon.running.own_address import advertised
from fleet_agent.daemon.running.serve import serve
from fleet_agent.daemon.server import AgentServer, CannotListen, SharedServices
from fleet_agent.daemon.settings import (
    NO_CONTROLLERS,
    BadSettings,
    Settings,
    controllers_file,
    upgrade_command,
)
from fleet_agent.daemon.sole_agent import NotAlone, alone
from fleet_agent.daemon.storage_choice import StorageChoice, settled_choice
from fleet_agent.dom0.cpu_pressure import read_pressure
from fleet_agent.dom0.doctor import Doctor, Dom0Doctor
from fleet_agent.dom0.host_tree import HostTree
from fleet_agent.dom0.probe import ProbeInputs
from fleet_agent.dom0.tuning_record import TuningRecordFile
from fleet_agent.drivers.images.watched import WatchedImages
from fleet_agent.drivers.ports.errors import DriverError, as_driver_errors
from fleet_agent.image_relay.grpc_peers import GrpcPeers
from fleet_agent.image_relay.relays import ImageRelays
from fleet_agent.joining.identity_folder import IdentityFolder
from fleet_agent.joining.renewal import Renewal
from fleet_agent.metrics.endpoint import MetricsEndpoint
from fleet_agent.metrics.host_metrics import Room
from fleet_agent.reconcile.agent import Agent
from fleet_agent.reconcile.bridge_keeper import BridgeKeeper
from fleet_agent.reconcile.host_slots import StartPace
from fleet_agent.reconcile.ledger import Ledger, LedgerError
from fleet_agent.reconcile.loop import LoopSettings
from fleet_agent.reconcile.runner import RunnerSettings
from fleet_agent.reconcile.step_measures import StepMeasures
from fleet_agent.upgrading.command import CommandUpgrades
from fleet_agent.upgrading.port import Upgrades

log = structlog.get_logger()

# What is no bug of ours, each with one sentence.
MISTAKES = (
    BadSettings,
    NotAlone,
    host_identity.HostError,
    LedgerError,
    DriverError,
    CannotListen,
)
# What an upgrade's command said last, beside the ledger.
UPGRADE_SAID = "upgrade.log"


async def run(asked: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    with alone(Path(asked.ledger).parent):
        choice = settled_choice(asked)
        with contextlib.nullcontext() if choice.is_zfs else alone(Path(choice.parent)):
            await _run(asked, choice)


async def _run(asked: Settings, choice: StorageChoice) -> None:
    systemd = sdnotify.SystemdNotifier()
    await join_at_start(asked, systemd.notify)
    live = LiveIdentity(Path(asked.identity), _note_certificate)
    identity = live.current
    host_id = host_identity.host_id_of(identity.certificate)  # before anything is opened
    drivers = open_drivers(asked, choice)
    if wrong := faults(_own_certificates(asked)):
        log.warning("no controller will be reached", certificate=wrong)
    log.info("storage", kind=choice.kind, parent=choice.parent, why=choice.why)

    async def own_address(endpoint: str) -> str:
        return await advertised(asked, port, endpoint)

    known = KnownControllers(controllers_file(asked), asked.endpoints, time.time)
    if not known.endpoints:
        raise BadSettings(NO_CONTROLLERS)

    def told(controllers: Sequence[str], trust: joining.Trust | None) -> None:
        if known.told(controllers):
            announcer.use(known.endpoints)
        if trust is not None:
            renewal.told(trust)

    def renewed(certificate: bytes) -> None:
        facts = types.HostFacts()
        facts.CopyFrom(agent.facts)
        host_identity.state_certificates(facts, live.current)
        agent.set_facts(facts)

    client = GrpcControllerClient(live, own=lambda: _own_certificates(asked), told=told)
    renewal = Renewal(
        host_id, IdentityFolder(live.folder), client, lambda: known.endpoints, renewed,
        time.time, random.random,
    )  # fmt: skip
    announcer = made_announcer(asked, client, known.endpoints, lambda: agent.facts, own_address)
    with ThreadPoolExecutor(1, "ledger") as executor:
        ledger = FileLedger(Path(asked.ledger), executor)
        metrics = MetricsEndpoint(asked.metrics.listen) if asked.metrics.listen else None
        counters = metrics.counters if metrics else None
        agent = made_agent(asked, identity, drivers, ledger, announcer.on_watched, counters)
        await agent.open()
        tuned = Alarm()
        doctor = open_doctor(asked, drivers, agent, tuned.ring)
        services = SharedServices()
        imported = Alarm()
        relays = ImageRelays(
            drivers.images,
            drivers.contents,
            GrpcPeers(live.for_channel),
            kernel_folder(asked),
            imported.ring,
            agent.set_coming,
        )
        said = Path(asked.ledger).with_name(UPGRADE_SAID)
        upgrades = CommandUpgrades(upgrade_command(asked), host_identity.VERSION, said)
        api = made_api(agent, drivers, doctor, imported.ring, told, relays, upgrades)
        server = AgentServer(api, services, live.for_server)
        port = server.listen(asked.listen)
        keeper = FactsKeeper(
            asked, drivers, doctor, agent, announcer, tuned,
            lambda: live.current,
        )  # fmt: skip
        holdings = HoldingsKeeper(
            KernelFolders(asked.kernel_folders).look,
            drivers.images,
            drivers.bridges,
            agent,
            announcer,
            imported,
            gives_images=not drivers.zvols,
        )

        kept = Keeping(asked.images.kept_days, asked.images.free_share)
        folder = Path(asked.ledger).parent
        watched = WatchedImages(drivers.images, drivers.contents, imported.ring)
        fetched = FetchedImages(agent, watched, relays, folder, time.time, kept)

        async def look_first() -> None:
            await keeper.bind_by_limits()
            await holdings.look_first()

        try:

            async def serve_metrics() -> None:
                if metrics:
                    await metrics.run([agent], partial(pool_room, drivers))

            beside = (
                serve_metrics,
                announcer.run,
                keeper.run,
                holdings.run,
                renewal.run,
                fetched.run,
                give_back_now_and_then,
                *drivers.beside,
            )
            await serve(agent, look_first, server, services, beside)
        finally:
            doctor.close()
            await drivers.close()


async def pool_room(drivers: Drivers) -> Room:
    """Raises DriverError."""
    with as_driver_errors("facts"):
        pool = await drivers.storage.facts()
    return Room(pool.total_bytes, pool.free_bytes)


def made_announcer(
    asked: Settings,
    client: GrpcControllerClient,
    endpoints: Sequence[str],
    facts: Callable[[], types.HostFacts],
    own_address: OwnAddress,
) -> Announcer:
    return Announcer(
        client,
        endpoints,
        asked.advertise,
        facts,
        jitter=random.random,
        gate=contextlib.nullcontext(),
        settings=AnnounceSettings(),
        own_address=own_address,
    )


def made_agent(
    asked: Settings,
    identity: Identity,
    drivers: Drivers,
    ledger: Ledger,
    on_watched: Callable[[bool], None],
    measures: StepMeasures | None = None,
) -> Agent:
    facts = facts_at_start(
        asked, drivers.labels, identity.certificate, clones=drivers.clones is not None
    )
    host_identity.state_certificates(facts, identity)
    return Agent(
        host_identity.host_id_of(identity.certificate),
        facts,
        drivers.storage,
        drivers.hypervisor,
        ledger,
        clock=time.monotonic,
        wall_clock=time.time,
        jitter=random.random,
        settings=loop_settings(asked),
        incarnation=uuid.uuid4().hex,
        on_watched=on_watched,
        bridges=BridgeKeeper(drivers.bridges, drivers.interfaces),
        measures=measures,
        pace=StartPace(read_pressure, os.cpu_count() or 1, time.monotonic),
    )


def made_api(
    agent: Agent,
    drivers: Drivers,
    doctor: Doctor,
    images_changed: Callable[[], None],
    told: Told,
    relays: ImageRelays,
    upgrades: Upgrades,
) -> AgentApi:
    return AgentApi(
        agent,
        consoles=drivers.consoles,
        guest_agents=drivers.guest_agents,
        guest_files=drivers.guest_files,
        sampling=Sampling(drivers.sampler, time.monotonic),
        doctor=doctor,
        images=WatchedImages(drivers.images, drivers.contents, images_changed),
        told=told,
        relays=relays,
        upgrades=upgrades,
    )


def _note_certificate(news: str) -> None:
    log.info("the certificate of this host was replaced", outcome=news)


def _own_certificates(asked: Settings) -> tuple[CertificateFile, ...]:
    """As they are now."""
    return certificate_files(Path(asked.identity), "its certificate", "its authority")


def open_doctor(
    asked: Settings, drivers: Drivers, agent: Agent, tuned: Callable[[], None]
) -> Dom0Doctor:
    async def circumstances() -> ProbeInputs:
        around = ProbeInputs(
            accelerator=drivers.labels.get("accel", ""),
            qemu_disks=not drivers.zvols or not asked.hypervisor.uri.startswith("xen"),
            zvols=drivers.zvols,
            footprint=footprint_of(agent.assignment),
            clone_bytes=drivers.clone_bytes(),
        )
        try:
            with as_driver_errors("facts"):
                pool = await drivers.storage.facts()
        except DriverError as error:
            return replace(around, pool_trouble=str(error))
        return replace(
            around,
            pool_bytes=pool.total_bytes,
            pool_free_bytes=pool.free_bytes,
            clone_way=pool.way,
        )

    record = TuningRecordFile(Path(asked.ledger).with_name("tuning.json"))
    return Dom0Doctor(agent.host_id, asked.guests, circumstances, HostTree(), record, tuned=tuned)


def loop_settings(asked: Settings) -> LoopSettings:
    timing = asked.timing
    return LoopSettings(
        runner=RunnerSettings(timing.batch_size, timing.call, timing.per_vm),
        audit_interval=timing.audit,
        reboot_grace=timing.reboot_grace,
    )
