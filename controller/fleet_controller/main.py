"""fleet-controller: wires the parts to the real world and runs them until told to stop."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

import grpc
import sdnotify
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleet.certificates.certificate import read_certificate
from fleet.certificates.certificate_dates import (
    CertificateFile,
    certificate_files,
    faults,
    with_faults,
)
from fleet.peers import NoRole, holder_of
from fleet.serving.call_counts import CallBounds, CallCounts
from fleet.serving.gate import Gate, longest_request, rules_of
from fleet.serving.process_memory import bound_arenas, collect_young, give_back_now_and_then
from fleet.serving.server_options import server_options
from fleet.serving.watchdog import beat, watchdog_seconds
from fleet.transport import Identity, Peer, Role
from fleet.v1.cluster_pb2_grpc import add_ClusterServiceServicer_to_server
from fleet_controller.agents.grpc_agents import GrpcDialer
from fleet_controller.api.authorization import admitting
from fleet_controller.api.deadline_interceptor import ChangeDeadlineInterceptor
from fleet_controller.api.service import SERVICE, ClusterApi
from fleet_controller.election.election import Election, NameTaken
from fleet_controller.election.process_identity import is_gone, this_process
from fleet_controller.events import EventLog
from fleet_controller.files import Files, FilesTooFew, files_of_process
from fleet_controller.leader.environment import LeaderEnvironment, LeaderSettings
from fleet_controller.metrics.endpoint import MetricsEndpoint
from fleet_controller.replica.forwarding import Forwarding, LeaderChannel
from fleet_controller.replica.host_probe import HostProbe
from fleet_controller.replica.leader import OwnDenial
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
# Calls at once of one connection: a standby passes on those of many callers over one.
_STREAMS = 4_096
# Calls at once. A fleet that announces itself together has one for each host; a person may follow
# many consoles; a controller may pass on what others ask.
_BOUNDS = CallBounds(
    in_all=16_384,
    by_role={Role.OPERATOR: 512, Role.VIEWER: 512, Role.CONTROLLER: 128, Role.AGENT: 16},
)


class CannotRun(Exception):
    """One sentence for whoever started it."""


def main() -> None:
    """Exit status 0 after SIGTERM or SIGINT, 1 when it cannot run."""
    settings = parse()
    bound_arenas()
    _set_up_logs(settings)
    # Links and messages are long-lived and acyclic; collecting them over and over is the
    # controller's largest single cost at thousands of hosts.
    gc.set_threshold(50_000, 20, 100)
    # While a thread decides for thousands of hosts, the loop waits for its turn several times in
    # each answer: a fifth of a millisecond, not five.
    sys.setswitchinterval(0.0002)
    try:
        asyncio.run(_serve(settings, files_of_process()))
    except (CannotRun, FilesTooFew) as error:
        print(f"fleet-controller: {error}", file=sys.stderr)
        raise SystemExit(1) from error


async def _serve(settings: Settings, files: Files) -> None:
    identity = _identity(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _note_hang_up)
    own = _own_certificates(settings)
    if wrong := faults(own):
        _log.warning("nobody will be reached", certificate=wrong)
    store = await _store(settings, own, stop)
    if store is None:
        return
    at_hand = AtHand()
    with ThreadPoolExecutor(1, thread_name_prefix="decide") as executor:
        environment = LeaderEnvironment(
            store=store,
            dialer=GrpcDialer(identity, files.links),
            standbys=at_hand,
            clock=time.monotonic,
            random=Random(),
            executor=executor,
            events=EventLog(time.time),
            settings=LeaderSettings(
                moves_at_once=settings.moves_at_once,
                image_rate=settings.image_rate,
                image_fleet_rate=settings.image_fleet_rate,
                loss=settings.loss,
                quarantine=settings.quarantine,
                approve_hosts=settings.approve_hosts,
            ),
            holder=_holder(identity),
            own_certificates=own,
        )
        election = Election(
            store,
            settings.replica,
            settings.advertise,
            _uptime,
            settings.lease_seconds,
            this_process(),
            is_gone,
        )
        replica = Replica(settings.replica, election, environment, lambda: str(uuid.uuid4()))
        leader = LeaderChannel(identity)
        standby_session = StandbySession(replica, leader, HostProbe(environment.dialer))
        api = ClusterApi(replica, at_hand)
        server, address = await _server(settings, identity, api, leader, files)
        try:
            _ready(settings, address)
            beside: list[Callable[[], Coroutine[None, None, None]]] = [
                LeaderFailureDetector(replica, leader).run,
                standby_session.run,
                replica.store_health.run,
                give_back_now_and_then,
                collect_young,
                partial(_beat, executor),
            ]
            if settings.metrics.listen:
                ends = _certificate_ends(own, settings.identity)
                rack_label = settings.loss.rack_label
                beside.append(MetricsEndpoint(settings.metrics, replica, ends, rack_label).run)
            await _until_stopped(replica, beside, stop)
        finally:
            at_hand.close()
            await server.stop(_GRACE_SECONDS)
            await leader.close()
            await store.close()


async def _until_stopped(
    replica: Replica,
    jobs: Sequence[Callable[[], Coroutine[None, None, None]]],
    stop: asyncio.Event,
) -> None:
    """Raises CannotRun when the store has become another one."""
    try:
        async with asyncio.TaskGroup() as group:
            leading = group.create_task(replica.run())
            beside = [group.create_task(run()) for run in jobs]
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
    except* (NameTaken, OwnDenial) as ended:
        raise CannotRun(str(_first(ended))) from None


def _first(errors: BaseExceptionGroup[Exception]) -> BaseException:
    """One of the errors in a group of groups."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _server(
    settings: Settings, identity: Identity, api: ClusterApi, leader: LeaderChannel, files: Files
) -> tuple[grpc.aio.Server, str]:
    name = SERVICE.full_name
    rules = rules_of(api, SERVICE)
    forwarding = Forwarding(api.replica, leader, name, own=("Version",))
    gate = Gate(rules, admitting(api.replica), CallCounts(_BOUNDS))
    interceptors = (gate, forwarding, ChangeDeadlineInterceptor(api.replica))
    options = server_options(longest_request(rules), _STREAMS, files.callers)
    server = grpc.aio.server(interceptors=interceptors, options=options)
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


async def _store(
    settings: Settings, own: Sequence[CertificateFile], stop: asyncio.Event
) -> Store | None:
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
            _log.warning("waiting for the store", reason=with_faults(str(error), own))
        except (StoreError, ValueError) as error:
            raise CannotRun(f"--store {settings.store}: {error}") from error
        await within(_STORE_RETRY_SECONDS, stop.wait())
    return None


def _identity(settings: Settings) -> Identity:
    try:
        return Identity.load(settings.identity)
    except OSError as error:
        raise CannotRun(f"--identity: {error}") from error


def _own_certificates(settings: Settings) -> tuple[CertificateFile, ...]:
    own = certificate_files(
        settings.identity, f"the certificate of {settings.replica}", "the authority of all"
    )
    if settings.store_identity is None:
        return own
    mine = f"the certificate of {settings.replica} for etcd"
    return own + certificate_files(settings.store_identity, mine, "the authority of etcd")


def _certificate_ends(own: Sequence[CertificateFile], identity: Path) -> dict[str, int]:
    """When each of them ends, in seconds since 1970, by a word for what it is."""
    words = {"cert.pem": "controller", "ca.pem": "authority"}
    etcd = {"cert.pem": "etcd_client", "ca.pem": "etcd_authority"}
    return {
        (words if one.file.parent == identity else etcd)[one.file.name]: one.expires for one in own
    }


def _holder(identity: Identity) -> Peer:
    """Whom this controller's certificate names."""
    try:
        holder = holder_of(read_certificate(identity.certificate))
    except (ValueError, NoRole) as error:
        raise CannotRun(f"--identity: cert.pem: {error}") from error
    if holder.role is not Role.CONTROLLER:
        raise CannotRun(f"--identity: the certificate is that of {holder}, not of a controller")
    return holder


async def _beat(decides: Executor) -> None:
    """Tells systemd that the loop goes on, and the thread in which leaders decide."""

    async def goes_on() -> None:
        await asyncio.get_running_loop().run_in_executor(decides, int)

    notify = sdnotify.SystemdNotifier().notify
    await beat(watchdog_seconds(os.environ, os.getpid()), notify, goes_on)


def _ready(settings: Settings, address: str) -> None:
    if settings.ready_file:
        draft = settings.ready_file.with_suffix(".new")
        draft.write_text(json.dumps({"address": address, "pid": os.getpid()}))
        draft.replace(settings.ready_file)
    sdnotify.SystemdNotifier().notify("READY=1")
    _log.info("serving", address=address, replica=settings.replica)


def _note_hang_up() -> None:
    _log.info("SIGHUP changes nothing: settings and certificates are read at start")


def _uptime() -> float:
    """Seconds that also count while the machine is suspended: leases in etcd do."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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
