"""fleet-controller: wires the parts to the real world and runs them until told to stop."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import signal
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random

import grpc
import sdnotify
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleet.transport import SERVER_OPTIONS, Identity
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import add_ClusterServiceServicer_to_server
from fleet_controller.agents.grpc_agents import GrpcDialer
from fleet_controller.api.deadline_interceptor import ChangeDeadlineInterceptor
from fleet_controller.api.service import ClusterApi
from fleet_controller.election.election import Election
from fleet_controller.events import EventLog
from fleet_controller.leader.environment import LeaderEnvironment, LeaderSettings
from fleet_controller.replica.forwarding import Forwarding, LeaderChannel
from fleet_controller.replica.host_probe import HostProbe
from fleet_controller.replica.leader_failure_detector import LeaderFailureDetector
from fleet_controller.replica.replica import Replica
from fleet_controller.replica.standby_session import StandbySession
from fleet_controller.settings import Settings, parse
from fleet_controller.standbys import AtHand
from fleet_controller.store.etcd.store import EtcdStore
from fleet_controller.store.memory import MemoryStore
from fleet_controller.store.port import Store, StoreError, StoreReplaced, Unavailable
from fleet_controller.waiting import within

_log = structlog.get_logger("fleet_controller")
_STORE_RETRY_SECONDS = 1.0
_GRACE_SECONDS = 2.0
# For callers of the API, agents that announce themselves (a few dozen at once), etcd, logs.
_FILES_BESIDE_LINKS = 256


class CannotRun(Exception):
    """One sentence for whoever started it."""


def main() -> None:
    """Exit status 0 after SIGTERM or SIGINT, 1 when it cannot run."""
    settings = parse()
    _set_up_logs(settings)
    # Links and messages are long-lived and acyclic; collecting them over and over is the
    # controller's largest single cost at thousands of hosts.
    gc.set_threshold(50_000, 20, 100)
    try:
        asyncio.run(_serve(settings, _raise_descriptor_limit()))
    except CannotRun as error:
        print(f"fleet-controller: {error}", file=sys.stderr)
        raise SystemExit(1) from error


async def _serve(settings: Settings, links: int) -> None:
    identity = _identity(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    store = await _store(settings, stop)
    if store is None:
        return
    at_hand = AtHand()
    with ThreadPoolExecutor(1, thread_name_prefix="decide") as executor:
        environment = LeaderEnvironment(
            store=store,
            dialer=GrpcDialer(identity, links),
            standbys=at_hand,
            clock=time.monotonic,
            random=Random(),
            executor=executor,
            events=EventLog(time.time),
            settings=LeaderSettings(
                moves_at_once=settings.moves_at_once,
                loss=settings.loss,
                quarantine=settings.quarantine,
            ),
        )
        election = Election(
            store, settings.replica, settings.advertise, _uptime, settings.lease_seconds
        )
        replica = Replica(settings.replica, election, environment, lambda: str(uuid.uuid4()))
        leader = LeaderChannel(identity)
        standby_session = StandbySession(replica, leader, HostProbe(environment.dialer))
        api = ClusterApi(replica, at_hand)
        server, address = await _server(settings, identity, api, leader)
        try:
            _ready(settings, address)
            await _until_stopped(
                replica,
                [
                    LeaderFailureDetector(replica, leader).run,
                    standby_session.run,
                    replica.store_health.run,
                ],
                stop,
            )
        finally:
            at_hand.close()
            await server.stop(_GRACE_SECONDS)
            await leader.close()
            await store.close()


async def _until_stopped(
    replica: Replica,
    beside_it: Sequence[Callable[[], Coroutine[None, None, None]]],
    stop: asyncio.Event,
) -> None:
    """Raises CannotRun when the store has become another one."""
    try:
        async with asyncio.TaskGroup() as group:
            leading = group.create_task(replica.run())
            beside = [group.create_task(run()) for run in beside_it]
            await stop.wait()
            sdnotify.SystemdNotifier().notify("STOPPING=1")
            for task in beside:
                task.cancel()
            leading.cancel()
    except* StoreReplaced as replaced:
        raise CannotRun(
            f"{_first(replaced)}; start again to go on with the store as it is: what hosts have "
            "seen decides whether changes are frozen then"
        ) from None


def _first(errors: BaseExceptionGroup[Exception]) -> BaseException:
    """One of the errors in a group of groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _server(
    settings: Settings, identity: Identity, api: ClusterApi, leader: LeaderChannel
) -> tuple[grpc.aio.Server, str]:
    name = cluster.DESCRIPTOR.services_by_name["ClusterService"].full_name
    forwarding = Forwarding(api.replica, leader, name, own=("Version",))
    interceptors = (forwarding, ChangeDeadlineInterceptor(api.replica))
    server = grpc.aio.server(interceptors=interceptors, options=SERVER_OPTIONS)
    add_ClusterServiceServicer_to_server(api, server)
    alive = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    await alive.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection(
        (name, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    try:
        port = server.add_secure_port(settings.listen, identity.for_server())
    except RuntimeError as error:
        raise CannotRun(
            f"cannot listen on {settings.listen}: is the address taken, or the certificate broken?"
        ) from error
    await server.start()
    return server, f"{settings.listen.rpartition(':')[0]}:{port}"


async def _store(settings: Settings, stop: asyncio.Event) -> Store | None:
    """The store, waited for as long as nobody stops the controller."""
    if settings.store == "memory:":
        return MemoryStore(time.monotonic)
    try:
        identity = Identity.load(settings.store_identity) if settings.store_identity else None
    except OSError as error:
        raise CannotRun(f"--store-identity: {error}") from error
    while not stop.is_set():
        try:
            return await EtcdStore.connect(
                settings.etcd_endpoints, prefix=settings.etcd_prefix, identity=identity
            )
        except Unavailable as error:
            _log.warning("waiting for the store", reason=str(error))
        except (StoreError, ValueError) as error:
            raise CannotRun(f"--store {settings.store}: {error}") from error
        await within(_STORE_RETRY_SECONDS, stop.wait())
    return None


def _identity(settings: Settings) -> Identity:
    try:
        return Identity.load(settings.identity)
    except OSError as error:
        raise CannotRun(f"--identity: {error}") from error


def _ready(settings: Settings, address: str) -> None:
    if settings.ready_file:
        draft = settings.ready_file.with_suffix(".new")
        draft.write_text(json.dumps({"address": address, "pid": os.getpid()}))
        draft.replace(settings.ready_file)
    sdnotify.SystemdNotifier().notify("READY=1")
    _log.info("serving", address=address, replica=settings.replica)


def _uptime() -> float:
    """Seconds that also count while the machine is suspended: leases in etcd do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _raise_descriptor_limit() -> int:
    """How many links may be open: each takes a descriptor, and the soft limit is often 1,024.
    Raises CannotRun where next to none is left beside what else is needed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return sys.maxsize
    if hard <= _FILES_BESIDE_LINKS:
        raise CannotRun(
            f"it may open {hard} files, and needs {_FILES_BESIDE_LINKS} and one for each host: "
            "raise its limit (LimitNOFILE, ulimit -Hn)"
        )
    return hard - _FILES_BESIDE_LINKS


def _set_up_logs(settings: Settings) -> None:
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.log_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


if __name__ == "__main__":
    main()
