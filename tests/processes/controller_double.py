"""A controller for tests of fleetctl: real gRPC with mTLS, answers from a script."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc

from fleet.changes.change_deadline import CHANGE_DEADLINE_METADATA
from fleet.peers import peer_of
from fleet.transport import READ_ONLY_METADATA, TAKEN_METADATA, Identity, Refusal, Role
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer, add_ClusterServiceServicer_to_server
from tests.certificates import identity

SERVICE = cluster.DESCRIPTOR.services_by_name["ClusterService"]
METHODS = tuple(method.name for method in SERVICE.methods)
STREAMS = ("Backup", "Drain")

# The fleet spv of the answers below.
UID = "6a0c9d5e-0f3b-4c55-9f7e-52c2d5a5b1a0"
IDENTITY = types.FleetIdentity(uid=UID, name="spv", number=3)

Script = Callable[[Any], Any] | Refusal


class ControllerDouble:
    """Serves on a free port, or on a given one, while the block lasts.

    `on(method, answer)` says what a method answers: a message, a function of the request that
    gives one, or a Refusal. `statuses` is what WatchStatus yields before it stays silent.
    """

    def __init__(self, own: Identity | None = None, port: int = 0, name: str = "c1") -> None:
        self.requests: list[tuple[str, Any]] = []
        self.peers: set[str] = set()
        self.statuses: list[cluster.StatusResponse | Refusal] = []
        self.watched = threading.Event()
        # What Console yields, given what comes in.
        self.console: Callable[[Iterator[Any]], Iterator[Any]] | Refusal | None = None
        # The leader's clock, where it knows of bounds; and the bounds that changes came with.
        self.instant: cluster.InstantResponse | None = None
        self.bounds: list[str] = []
        # What Top yields before the call ends.
        self.samples: list[cluster.ClusterTopSample | Refusal] = []
        # What other methods with a stream of answers yield before the call ends.
        self.streams: dict[str, list[Any]] = {}
        self._answers: dict[str, Script] = {}
        self._refusals: dict[str, list[Refusal]] = {}
        # Methods whose answers are of the past: why, and by how many seconds.
        self._recalled: dict[str, bytes] = {}
        self._ending = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        add_ClusterServiceServicer_to_server(self._servicer(), self._server)
        own = own or identity(Role.CONTROLLER, name)
        self.port = self._server.add_secure_port(f"127.0.0.1:{port}", own.for_server())

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def on(self, method: str, answer: Any) -> None:
        is_script = callable(answer) or isinstance(answer, Refusal)
        self._answers[method] = answer if is_script else lambda _: answer

    def refusing(self, method: str, refusal: Refusal, times: int) -> None:
        """The method is refused that many times before it answers."""
        self._refusals[method] = [refusal] * times

    def recalling(self, method: str, reason: str, seconds: float) -> None:
        """The method is answered from what was known so long ago, as no controller leads."""
        self._recalled[method] = f"{seconds} {reason}".encode()

    def asked(self, method: str) -> list[Any]:
        return [request for named, request in self.requests if named == method]

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ending.set()
        self._server.stop(grace=None).wait()

    def _servicer(self) -> ClusterServiceServicer:
        double = self

        def method(name: str) -> Callable[[Any, Any, Any], Any]:
            return lambda _, request, context: double._answer(name, request, context)

        def watch(_: Any, request: Any, context: Any) -> Iterator[cluster.StatusResponse]:
            return double._watch(request, context)

        def console(_: Any, requests: Iterator[Any], context: Any) -> Iterator[Any]:
            return double._console(requests, context)

        def top(_: Any, request: Any, context: Any) -> Iterator[Any]:
            return double._top(request, context)

        def run(_: Any, requests: Iterator[Any], context: Any) -> Iterator[Any]:
            return double._stream("RunInFleet", next(requests), context)

        def copy(_: Any, requests: Iterator[Any], context: Any) -> Iterator[Any]:
            first = next(requests)
            context.send_initial_metadata(((TAKEN_METADATA, "1"),))
            parts = list(requests)
            first.data = b"".join(one.data for one in parts)
            return double._stream("CopyIntoFleet", first, context)

        def copy_out(_: Any, requests: Iterator[Any], context: Any) -> Iterator[Any]:
            return double._stream("CopyFromFleet", next(requests), context)

        def stream(name: str) -> Callable[[Any, Any, Any], Any]:
            return lambda _, request, context: double._stream(name, request, context)

        methods: dict[str, Any] = {name: method(name) for name in METHODS}
        methods |= {name: stream(name) for name in STREAMS}
        methods["Instant"] = lambda _, request, context: double._instant(context)
        methods |= {"WatchStatus": watch, "Console": console, "Top": top, "RunInFleet": run}
        methods["CopyIntoFleet"] = copy
        methods["CopyFromFleet"] = copy_out
        kind = type("Servicer", (ClusterServiceServicer,), methods)
        servicer: ClusterServiceServicer = kind()
        return servicer

    def _answer(self, name: str, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append((name, request))
        told: Any = context.invocation_metadata()
        self.bounds += [str(value) for key, value in told if key == CHANGE_DEADLINE_METADATA]
        names: Any = context.auth_context()
        self.peers.add(str(peer_of(names)))
        refusals = self._refusals.get(name)
        if not refusals and name not in self._answers:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        script = refusals.pop() if refusals else self._answers[name]
        if isinstance(script, Refusal):
            self._refuse(script, context)
        if name in self._recalled:
            context.set_trailing_metadata(((READ_ONLY_METADATA, self._recalled[name]),))
        return script(request) if callable(script) else None

    def _instant(self, context: grpc.ServicerContext) -> cluster.InstantResponse:
        """As an older controller, unless `instant` is set."""
        if self.instant is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
            raise AssertionError("abort returned")
        return self.instant

    def _watch(
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[cluster.StatusResponse]:
        self.requests.append(("WatchStatus", request))
        for status in self.statuses:
            if isinstance(status, Refusal):
                self._refuse(status, context)
            else:
                yield status
        self.watched.set()
        while context.is_active() and not self._ending.wait(0.01):
            pass

    def _console(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        if isinstance(self.console, Refusal):
            self._refuse(self.console, context)
        assert callable(self.console)
        yield from self.console(self._recorded(requests))

    def _top(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.requests.append(("Top", request))
        for sample in self.samples:
            if isinstance(sample, Refusal):
                self._refuse(sample, context)
            yield sample

    def _stream(self, name: str, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        self.requests.append((name, request))
        for answer in self.streams.get(name, []):
            if isinstance(answer, Refusal):
                self._refuse(answer, context)
            yield answer

    def _recorded(self, requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            self.requests.append(("Console", request))
            yield request

    @staticmethod
    def _refuse(refusal: Refusal, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(refusal.trailing())
        context.abort(refusal.code, refusal.message)


def status(
    total: int = 1000,
    running: int = 1000,
    *,
    change: int = 7,
    releasing: int = 0,
    unplaced: int = 0,
    failed: int = 0,
    for_good: int = 0,
    deleting: bool = False,
    changed_by: str = "operator/alice",
) -> cluster.StatusResponse:
    """A status of the fleet spv on four live hosts; what does not run boots."""
    placed = total - unplaced
    running = min(running, placed)
    states = [0] * 9
    states[5], states[7], states[4] = running, failed, placed - running - failed
    fleet = cluster.FleetStatus(
        fleet="spv",
        uid=UID,
        total=total,
        placed=placed,
        unplaced=unplaced,
        states=states,
        generation=1,
        generations=[cluster.GenerationCount(generation=1, assigned=placed, running=running)],
        releasing=releasing,
        deleting=deleting,
        change=change,
        changed_by=changed_by,
        hosts_used=4,
        failed_for_good=for_good,
        as_wanted=running,
        converged=running == total and not releasing and not deleting,
    )
    hosts = cluster.HostCounts(live=4, converged=4, total=4)
    return cluster.StatusResponse(
        fleets=[fleet], hosts=hosts, oldest_report_seconds=1.5, server_seconds=0.0004, durable=True
    )


def accepted(
    total: int = 1000, before: int = 0, *, change: int = 7, adds: int = 1000, removes: int = 0
) -> cluster.ScaleResponse:
    """The controller's answer to a scale of the fleet spv."""
    plan = cluster.Plan(token="t0ken", adds=adds, removes=removes, hosts_changed=4)
    return cluster.ScaleResponse(
        fleet="spv", from_total=before, total=total, plan=plan, change=change
    )


def vm_rows(*indices: int, cursor: str = "", matching: int = 2) -> cluster.ListVmsResponse:
    """Running VMs of the fleet spv: those of an odd index on h1, the others on no host."""
    state = types.VM_STATE_RUNNING
    vms = [cluster.VmRow(index=one, state=state, host=one % 2, generation=1) for one in indices]
    return cluster.ListVmsResponse(
        fleet=IDENTITY, vms=vms, hosts=["", "h1"], next_cursor=cursor, matching=matching
    )


def silent(
    release: threading.Event, asked: threading.Event | None = None
) -> Callable[[object], cluster.StatusResponse]:
    """Of a controller that does not answer before `release`. `asked`: set when it is asked."""

    def answer(_: object) -> cluster.StatusResponse:
        if asked:
            asked.set()
        release.wait(60)
        return status()

    return answer
