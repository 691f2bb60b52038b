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
from random import Random

import grpc
import sdnotify
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleet.certificates.certificate_dates import (
    CertificateFile,
    faults,
    with_faults,
)
from fleet.certificates.live_identity import LiveIdentity
from fleet.serving.call_counts import CallBounds, CallCounts
from fleet.serving.gate import Gate, longest_request, rules_of
from fleet.serving.process_memory import bound_arenas, collect_young, give_back_now_and_then
from fleet.serving.server_options import server_options
from fleet.serving.watchdog import beat, watchdog_seconds
from fleet.transport import Identity, Role
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import add_ClusterServiceServicer_to_server
from fleet_controller.agents.grpc_agents import GrpcDialer
from fleet_controller.api.authorization import admitting
from fleet_controller.api.interceptors.change_id_interceptor import ChangeIdInterceptor
from fleet_controller.api.interceptors.deadline_interceptor import ChangeDeadlineInterceptor
from fleet_controller.api.join_server import JoinApi, join_server
from fleet_controller.api.service import SERVICE, ClusterApi
from fleet_controller.certificates import (
    Unusable,
    certificate_ends,
    holder_named,
    joining_environment,
    own_certificates,
    own_identity,
)
from fleet_controller.election.election import Election, NameTaken
from fleet_controller.election.process_identity import is_gone, this_process
from fleet_controller.events import EventLog
from fleet_controller.files import Files, FilesTooFew, files_of_process
from fleet_controller.leader.environment import (
    LeaderEnvironment,
    LeaderSettings,
)
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
# Of each event, besides its kind.
_LOGGED = ("message", "fleet", "host", "actor", "change_id")
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
    except (CannotRun, Unusable, FilesTooFew) as error:
        print(f"fleet-controller: {error}", file=sys.stderr)
        raise SystemExit(1) from error


async def _serve(settings: Settings, files: Files) -> None:
    live = own_identity(settings)
    identity = live.current
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _note_hang_up)
    own = own_certificates(settings)
    if wrong := faults(own):
        _log.warning("nobody will be reached", certificate=wrong)
    store = await _store(settings, own, stop)
    if store is None:
        return
    at_hand = AtHand()
    joining = joining_environment(settings, live, at_hand)
    with ThreadPoolExecutor(1, thread_name_prefix="decide") as executor:
        environment = LeaderEnvironment(
            store=store,
            dialer=GrpcDialer(live, files.links),
            standbys=at_hand,
            clock=time.monotonic,
            random=Random(),
            executor=executor,
            events=EventLog(time.time, _log_event),
            settings=LeaderSettings(
                recover_after=settings.recover_after,
                moves_at_once=settings.moves_at_once,
                image_rate=settings.image_rate,
                image_fleet_rate=settings.image_fleet_rate,
                loss=settings.loss,
                quarantine=settings.quarantine,
                approve_hosts=settings.approve_hosts,
            ),
            holder=holder_named(identity),
            own_certificates=lambda: own_certificates(settings),
            joining=joining,
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
        leader = LeaderChannel(live)
        standby_session = StandbySession(
            replica, leader, HostProbe(environment.dialer), settings.advertise,
            settings.joining.advertise,
        )  # fmt: skip
        api = ClusterApi(replica, at_hand)
        server, address = await _server(settings, live, api, leader, files)
        joins = await _join_server(settings, replica, leader, live, files)
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
                ends = partial(certificate_ends, settings)
                rack_label = settings.loss.rack_label
                beside.append(MetricsEndpoint(settings.metrics, replica, ends, rack_label).run)
            await _until_stopped(replica, beside, stop)
        finally:
            at_hand.close()
            await asyncio.gather(*(one.stop(_GRACE_SECONDS) for one in (server, *joins)))
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
    settings: Settings, identity: LiveIdentity, api: ClusterApi, leader: LeaderChannel, files: Files
) -> tuple[grpc.aio.Server, str]:
    name = SERVICE.full_name
    rules = rules_of(api, SERVICE)
    forwarding = Forwarding(api.replica, leader, name, own=("Version",))
    gate = Gate(rules, admitting(api.replica), CallCounts(_BOUNDS))
    interceptors = (gate, forwarding, ChangeIdInterceptor(), ChangeDeadlineInterceptor(api.replica))
    callers = files.callers - (files.joining if settings.joining.listen else 0)
    options = server_options(longest_request(rules), _STREAMS, callers)
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


async def _join_server(
    settings: Settings,
    replica: Replica,
    leader: LeaderChannel,
    identity: LiveIdentity,
    files: Files,
) -> list[grpc.aio.Server]:
    """Started; none where nobody may join here."""
    listen = settings.joining.listen
    if not listen:
        return []
    try:
        server, port = join_server(listen, JoinApi(replica, leader), identity, files.joining)
    except RuntimeError as error:
        raise CannotRun(f"cannot listen on {listen} (--join-listen): is it taken?") from error
    await server.start()
    _log.info("machines may join", address=f"{listen.rpartition(':')[0]}:{port}")
    return [server]


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


def _log_event(event: cluster.Event) -> None:
    """As it is told to people, on one line: hosts speak in it. What says nothing is left out."""
    said = {name: getattr(event, name) for name in _LOGGED}
    one_line = {
        name: text if text.isprintable() else ascii(text)[1:-1] for name, text in said.items()
    }
    _log.info(event.kind, **{name: text for name, text in one_line.items() if text})


def _note_hang_up() -> None:
    _log.info("SIGHUP changes nothing: settings are read at start, certificates when they change")


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
