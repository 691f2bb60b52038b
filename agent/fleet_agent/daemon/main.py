"""fleet-agent: the agent of one dom0. Stopping it stops no VM."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sdnotify
import structlog

from fleet.transport import Identity
from fleet.v1 import types_pb2 as types
from fleet_agent.alarm import Alarm
from fleet_agent.api.service import AgentApi
from fleet_agent.api.shared_samples import Sampling
from fleet_agent.controllers.announcer import Announcer, AnnounceSettings
from fleet_agent.controllers.grpc_client import GrpcControllerClient
from fleet_agent.core.assignment import BadAssignment
from fleet_agent.core.limits.dom0_facts import footprint_of
from fleet_agent.daemon import host_identity, logs, settings
from fleet_agent.daemon.server import AgentServer, CannotListen, SharedServices
from fleet_agent.daemon.settings import BadSettings, Settings
from fleet_agent.dom0.doctor import Doctor, Dom0Doctor
from fleet_agent.dom0.host_tree import HostTree
from fleet_agent.dom0.probe import Circumstances
from fleet_agent.dom0.tuning_record import RecordFile
from fleet_agent.drivers.ports.consoles import Consoles
from fleet_agent.drivers.ports.images import Images
from fleet_agent.drivers.ports.sampler import Sampler
from fleet_agent.drivers.ports.vms import DriverError, Hypervisor, Storage
from fleet_agent.reconcile.agent import Agent, AgentSettings
from fleet_agent.reconcile.ledger import LedgerError
from fleet_agent.reconcile.ledger_file import FileLedger
from fleet_agent.reconcile.runner import RunnerSettings
from fleet_agent.version import VERSION

log = structlog.get_logger()

# Calls in flight get so long to end when the agent stops.
STOP_SECONDS = 2.0
# Between two looks at what the drivers say of themselves, and when they do not.
FACTS_SECONDS = 300.0
FACTS_RETRY_SECONDS = 5.0
FACTS_DEADLINE = 30.0
# On a busy dom0 `xl info` alone takes seconds.
LIMITS_DEADLINE = 30.0


def main() -> None:
    try:
        asked = settings.load()
        logs.configure(asked.log.level, as_json=asked.log.json)
        asyncio.run(run(asked))
    except (BadSettings, host_identity.HostError, LedgerError, DriverError, CannotListen) as error:
        sys.exit(f"fleet-agent: {error}")
    except BadAssignment as error:
        sys.exit(f"fleet-agent: the ledger's assignment makes no sense to this version: {error}")
    except OSError as error:
        where = f" {error.filename}:" if error.filename else ""
        sys.exit(f"fleet-agent:{where} {error.strerror or error}")


@dataclass(frozen=True, slots=True)
class Drivers:
    storage: Storage
    hypervisor: Hypervisor
    images: Images
    consoles: Consoles
    sampler: Sampler
    # What runs beside the agent for the drivers' own sake, until it is cancelled.
    beside: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = ()

    async def close(self) -> None:
        await self.images.close()
        await self.consoles.close()
        await self.sampler.close()
        await self.hypervisor.close()
        await self.storage.close()


async def run(asked: Settings) -> None:
    """Until SIGTERM or SIGINT."""
    identity = Identity.load(Path(asked.identity))
    host_id = host_identity.host_id_of(identity.certificate)
    drivers = open_drivers(asked)
    with ThreadPoolExecutor(1, "ledger") as executor:
        facts = facts_of_settings(asked)
        watched: list[Announcer] = []
        agent = Agent(
            host_id,
            facts,
            drivers.storage,
            drivers.hypervisor,
            FileLedger(Path(asked.ledger), executor),
            clock=time.monotonic,
            jitter=random.random,
            settings=agent_settings(asked),
            incarnation=uuid.uuid4().hex,
            on_watched=lambda held: watched[0].on_watched(held),
        )
        await agent.open()
        stirred = Alarm()
        doctor = open_doctor(asked, drivers, agent, stirred.ring)
        services = SharedServices()
        sampling = Sampling(drivers.sampler, time.monotonic)
        api = AgentApi(
            agent,
            consoles=drivers.consoles,
            sampling=sampling,
            doctor=doctor,
            images=drivers.images,
        )
        server = AgentServer(api, services, identity.for_server())
        port = server.listen(asked.listen)
        announcer = Announcer(
            GrpcControllerClient(identity),
            asked.endpoints,
            asked.advertise or advertised(asked, port),
            lambda: agent.facts,
            jitter=random.random,
            gate=contextlib.nullcontext(),
            settings=AnnounceSettings(),
        )
        watched.append(announcer)
        try:
            facts_kept = keep_facts(asked, drivers, doctor, agent, announcer, stirred)
            beside = (facts_kept, *(job() for job in drivers.beside))

            async def bound() -> None:
                agent.set_facts(await bound_by_limits(agent.facts, doctor, agent.facts))

            await serve(agent, announcer, server, services, bound, beside)
        finally:
            doctor.close()
            await drivers.close()


async def serve(
    agent: Agent,
    announcer: Announcer,
    server: AgentServer,
    services: SharedServices,
    bound: Callable[[], Coroutine[Any, Any, None]],
    beside: Iterable[Coroutine[Any, Any, None]],
) -> None:
    """Until SIGTERM or SIGINT. `bound` ends when the host's limits are known."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    systemd = sdnotify.SystemdNotifier()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(agent.run())]
        # What runs is looked at meanwhile, but nothing is announced: nobody is to place what this
        # host would not bear.
        await bound()
        tasks += [group.create_task(job) for job in (announcer.run(), *beside)]
        await server.start()
        await services.serving()
        systemd.notify("READY=1")
        log.info("serving", host=agent.host_id, incarnation=agent.facts.incarnation)
        await stopping.wait()
        systemd.notify("STOPPING=1")
        log.info("stopping; VMs keep running", host=agent.host_id)
        await services.stopping()
        await server.stop(STOP_SECONDS)
        for task in tasks:
            task.cancel()


def open_drivers(asked: Settings) -> Drivers:
    """Imported late: a host needs only the libraries of the drivers it uses."""
    from fleet_agent.drivers.libvirt.console_sweep import ConsoleSweep
    from fleet_agent.drivers.libvirt.consoles import LibvirtConsoles
    from fleet_agent.drivers.libvirt.hypervisor import XEN_CONSOLE_LOG, LibvirtHypervisor
    from fleet_agent.drivers.libvirt.sampler import LibvirtSampler

    hypervisor = LibvirtHypervisor(
        asked.hypervisor.uri,
        max_guests=asked.guests,
        start_threads=asked.hypervisor.start_threads,
        console_log=asked.hypervisor.console_log or XEN_CONSOLE_LOG,
    )
    # Domains are listed while clones are: each takes seconds on a dense dom0.
    storage, images = open_storage(asked, hypervisor.begin_listing)
    link, paths, ours = hypervisor.link, hypervisor.host_paths, hypervisor.ours
    sweep = ConsoleSweep(link, paths, ours, asked.hypervisor.console_log_bytes)
    return Drivers(
        storage,
        hypervisor,
        images,
        LibvirtConsoles(link, paths),
        LibvirtSampler(link, ours),
        (sweep.run,),
    )


def open_storage(asked: Settings, on_listing: Callable[[], None]) -> tuple[Storage, Images]:
    parent, threads = asked.storage.parent, asked.storage.threads
    if asked.storage.kind == "zfs":
        from fleet_agent.drivers.zfs.images import ZfsImages
        from fleet_agent.drivers.zfs.storage import ZfsStorage
        from fleet_agent.drivers.zfs.udev_queue import UdevQueue

        udev = UdevQueue() if asked.storage.hold_udev else None
        storage = ZfsStorage(parent, threads=threads, udev=udev, on_listing=on_listing)
        return storage, ZfsImages(parent)
    from fleet_agent.drivers.reflink.images import ReflinkImages
    from fleet_agent.drivers.reflink.storage import ReflinkStorage

    return ReflinkStorage(parent, threads=threads), ReflinkImages(parent)


def facts_of_settings(asked: Settings) -> types.HostFacts:
    """What is known before any driver has answered: the agent starts without them."""
    return types.HostFacts(
        machine_id=host_identity.machine_id(),
        boot_id=host_identity.boot_id(),
        labels=asked.labels,
        capacity=types.Capacity(guests=asked.guests),
        agent_version=VERSION,
    )


async def facts_of(asked: Settings, drivers: Drivers) -> types.HostFacts:
    """Raises DriverError."""
    facts = facts_of_settings(asked)
    hypervisor = await drivers.hypervisor.facts()
    facts.hypervisor = hypervisor.description
    facts.capacity.memory_bytes = hypervisor.memory_bytes
    if hypervisor.max_guests < asked.guests:
        facts.capacity.guests = hypervisor.max_guests
        facts.capacity.binding_limit = "the hypervisor's own limit of guests"
    facts.storage = (await drivers.storage.facts()).description
    return facts


async def bound_by_limits(
    facts: types.HostFacts, doctor: Doctor, before: types.HostFacts
) -> types.HostFacts:
    """With no more guests than the dom0's limits admit. A host too busy to tell them keeps what
    it was bound to before."""
    bound = types.HostFacts()
    bound.CopyFrom(facts)
    capacity, known = bound.capacity, before.capacity
    try:
        async with asyncio.timeout(LIMITS_DEADLINE):
            examined = await doctor.examine(capacity.guests, logs=False)
    except TimeoutError:
        log.warning("the limits of this dom0 were not told in time")
        if known.guests < capacity.guests:
            capacity.guests, capacity.binding_limit = known.guests, known.binding_limit
        return bound
    if examined.binding is not None:
        capacity.guests = examined.admits
        capacity.binding_limit = examined.binding.limit.title
    return bound


def open_doctor(
    asked: Settings, drivers: Drivers, agent: Agent, tuned: Callable[[], None]
) -> Dom0Doctor:
    async def circumstances() -> Circumstances:
        around = Circumstances(
            qemu_disks=asked.storage.kind != "zfs" or not asked.hypervisor.uri.startswith("xen"),
            zvols=asked.storage.kind == "zfs",
            footprint=footprint_of(agent.assignment),
        )
        try:
            pool = await drivers.storage.facts()
        except DriverError as error:
            return replace(around, pool_trouble=str(error))
        return replace(around, pool_bytes=pool.total_bytes, pool_free_bytes=pool.free_bytes)

    record = RecordFile(Path(asked.ledger).with_name("tuning.json"))
    return Dom0Doctor(agent.host_id, asked.guests, circumstances, HostTree(), record, tuned=tuned)


async def keep_facts(
    asked: Settings,
    drivers: Drivers,
    doctor: Doctor,
    agent: Agent,
    announcer: Announcer,
    stirred: Alarm,
) -> None:
    """Ask the drivers until they answer, and again from time to time and when stirred. What runs
    is looked at before: asking for both at once made neither sooner."""
    await agent.begun.wait()
    while True:
        try:
            async with asyncio.timeout(FACTS_DEADLINE):
                facts = await facts_of(asked, drivers)
        except (DriverError, TimeoutError) as error:
            log.warning("a driver says nothing of itself", error=str(error))
            await asyncio.sleep(FACTS_RETRY_SECONDS)
            continue
        facts = await bound_by_limits(facts, doctor, agent.facts)
        facts.incarnation = agent.facts.incarnation
        if facts != agent.facts:
            tell_capacity(agent.facts.capacity, facts.capacity)
            agent.set_facts(facts)
            announcer.announce_anew()
        await stirred.sleep(FACTS_SECONDS)


def tell_capacity(before: types.Capacity, now: types.Capacity) -> None:
    if (before.guests, before.binding_limit) != (now.guests, now.binding_limit):
        limit = now.binding_limit or "the setting"
        log.info("capacity", guests=now.guests, limit=limit)


def advertised(asked: Settings, port: int) -> str:
    """The address of `listen`, unless that is every address: then the one towards the
    controllers."""
    listen = asked.listen.rpartition(":")[0]
    if listen.strip("[]") in ("0.0.0.0", "::", "*"):
        listen = host_identity.address_towards(asked.endpoints[0])
        listen = f"[{listen}]" if ":" in listen else listen
    return f"{listen}:{port}"


def agent_settings(asked: Settings) -> AgentSettings:
    timing = asked.timing
    return AgentSettings(
        runner=RunnerSettings(timing.batch_size, timing.call, timing.per_vm),
        audit_interval=timing.audit,
        reboot_grace=timing.reboot_grace,
    )


if __name__ == "__main__":
    main()
