"""How a sandbox stands: its processes, its hosts, its store."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

import msgspec
from msgspec.structs import replace

from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.processes.parts import AGENT, listing_socket
from fleetctl.sandbox.processes.process import find, is_stopped
from fleetctl.sandbox.processes.readiness import host_counts, version
from fleetctl.sandbox.state.context import DEFAULT_NAME, context_name
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.identities import Identities
from fleetctl.sandbox.state.record import LOOPBACK, HollowProcess, Record
from fleetctl.tables.listing import table
from megafleet.connection.cluster import Cluster
from megafleet.contexts import ClusterContext

STATUS_SECONDS = 5.0


class ProcessReport(msgspec.Struct, frozen=True, omit_defaults=False):
    """`pid` and `leader` are null where there is no process, or none that could lead."""

    name: str
    kind: str
    address: str
    pid: int | None
    alive: bool
    hosts: int = 0
    leader: bool | None = None
    stopped: bool = False  # alive, and held by a signal such as SIGSTOP: it does nothing
    metrics: str | None = None  # where a controller serves them for Prometheus
    listing: str | None = None  # the socket on which hollow hosts list what their drivers hold


class HostReport(msgspec.Struct, frozen=True):
    """`wanted` is what the sandbox has; the others are counts of the leader, null without one."""

    wanted: int
    live: int | None = None
    unreachable: int | None = None
    suspect: int | None = None
    lost: int | None = None


class SandboxReport(msgspec.Struct, frozen=True):
    """The shape of `fleetctl sandbox status -o json`.

    `state` is up (all processes run), degraded (some do) or down. `reasons` say why it is
    less than it could be.
    """

    name: str
    state: str
    folder: str
    context: str
    endpoints: list[str]
    store: str
    durable: bool
    per_host: int
    profile: str
    seed: int
    hosts_per_rack: int
    hosts: HostReport
    processes: list[ProcessReport]
    reasons: list[str]
    # Of a real host alone: its libvirt, and the folder of its VMs' disks, kernel and consoles.
    libvirt: str | None = None
    files: str | None = None


def report_of(folder: Folder) -> SandboxReport:
    """Raises SandboxError if there is no such sandbox."""
    record = folder.load()
    if record is None:
        raise SandboxError(
            f"there is no sandbox '{folder.name}' in {folder.path.parent}: "
            f"'fleetctl sandbox up' starts one"
        )
    running = {process.part: process.pid for process in find(record.id)}
    stopped = frozenset(part for part, pid in running.items() if is_stopped(pid))
    leaders, hosts = _ask_controllers(record, folder, running.keys() - stopped)
    return report(record, folder, running, leaders, hosts, stopped)


def report(
    record: Record,
    folder: Folder,
    running: dict[str, int],
    leaders: frozenset[str],
    hosts: HostReport,
    stopped: frozenset[str] = frozenset(),
) -> SandboxReport:
    """From what was found: `running` are pids by part, `leaders` the replicas that lead, `stopped`
    the parts that a signal holds."""
    processes = [
        replace(process, stopped=process.name in stopped)
        for process in _processes(record, folder, running, leaders)
    ]
    whole = all(process.alive and not process.stopped for process in processes)
    alive = any(process.alive for process in processes)
    state = "up" if whole else "degraded" if alive else "down"
    asked = record.asked
    return SandboxReport(
        name=record.name,
        state=state,
        folder=str(folder.path),
        context=context_name(record.name),
        endpoints=record.endpoints,
        store=record.store_version,
        durable=record.durable,
        per_host=record.real.guests if record.real else asked.per_host or 0,
        profile=asked.profile or "",
        seed=asked.seed or 0,
        hosts_per_rack=asked.hosts_per_rack or 0,
        hosts=hosts,
        processes=processes,
        reasons=record.reasons,
        libvirt=record.real.uri if record.real else None,
        files=record.real.files if record.real else None,
    )


def _processes(
    record: Record, folder: Folder, running: dict[str, int], leaders: frozenset[str]
) -> list[ProcessReport]:
    def one(name: str, kind: str, address: str = "") -> ProcessReport:
        pid = running.get(name)
        return ProcessReport(name, kind, address, pid, alive=pid is not None)

    def hollow(process: HollowProcess) -> ProcessReport:
        socket = listing_socket(folder, process.name)
        hosts = process.last - process.first + 1
        return replace(
            one(process.name, "hollow"), hosts=hosts, listing=str(socket) if socket else None
        )

    etcd = (one(it.name, "etcd", f"{LOOPBACK}:{it.client_port}") for it in record.etcd)
    controllers = (
        replace(
            one(it.name, "controller", f"{LOOPBACK}:{it.port}"),
            leader=it.name in leaders,
            metrics=f"{LOOPBACK}:{it.metrics}" if it.metrics else None,
        )
        for it in record.controllers
    )
    real = record.real
    host = [one(name, "libvirt") for name in real.daemons] if real else []
    host += [replace(one(AGENT, "agent"), hosts=1)] if real else []
    return [*etcd, *controllers, *map(hollow, record.hollow), *host]


def _ask_controllers(
    record: Record, folder: Folder, running: AbstractSet[str]
) -> tuple[frozenset[str], HostReport]:
    """Which of the replicas that run leads, and what it counts."""
    leaders: set[str] = set()
    hosts = HostReport(record.hosts)
    operator = Identities(folder.certificates).operator
    for replica in record.controllers:
        if replica.name not in running:
            continue
        target = ClusterContext.with_identity([f"{LOOPBACK}:{replica.port}"], operator)
        link = Cluster(target, STATUS_SECONDS)
        answer = version(link)
        if answer is None or not answer.leader:
            continue
        leaders.add(replica.name)
        counts = host_counts(link)
        if counts is not None:
            hosts = HostReport(
                record.hosts, counts.live, counts.unreachable, counts.suspect, counts.lost
            )
    return frozenset(leaders), hosts


def as_text(seen: SandboxReport) -> str:
    """For people: what runs where, and how many hosts are live."""
    live = "" if seen.hosts.live is None else f"{seen.hosts.live:,} of "
    rows = [
        (one.name, str(one.pid or "-"), one.address or "-", one.hosts, _condition(one))
        for one in seen.processes
    ]
    lines = [
        f"sandbox {seen.name}: {seen.state}",
        f"hosts    {live}{seen.hosts.wanted:,} live, {seen.per_host} VMs each",
        f"store    {seen.store}",
        f"profile  {seen.profile}, seed {seen.seed}"
        if seen.libvirt is None
        else f"libvirt  {seen.libvirt}, files in {seen.files}",
        f"folder   {seen.folder}",
        *(f"note     {reason}" for reason in seen.reasons),
        *_advice(seen),
        "",
        table(("PROCESS", "PID", "ADDRESS", "HOSTS", "CONDITION"), rows),
    ]
    return "\n".join(lines)


def _advice(seen: SandboxReport) -> Iterable[str]:
    """What is wrong, and what mends it."""
    if seen.state != "up":
        up = f"'fleetctl sandbox up{_name_option(seen)}'"
        yield f"note     {up} starts what is dead and wakes what is stopped"
    if not any(process.leader for process in seen.processes):
        yield "note     no controller leads at the moment"


def _name_option(seen: SandboxReport) -> str:
    return "" if seen.name == DEFAULT_NAME else f" --name {seen.name}"


def _condition(process: ProcessReport) -> str:
    if not process.alive:
        return "dead"
    if process.stopped:
        return "stopped by a signal"
    if process.kind == "controller":
        return "leads" if process.leader else "stands by"
    return "runs"


def as_json(seen: SandboxReport) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(seen)
    return found
