"""Brings a sandbox up and down. Up is to be repeated: it starts what is missing, nothing else."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from fleetctl.client.cluster import Cluster
from fleetctl.output import counted, number
from fleetctl.sandbox.errors import SandboxConflictError, SandboxError, SandboxLateError
from fleetctl.sandbox.phases import Progress
from fleetctl.sandbox.planning.machine import Machine, find_etcd, raise_descriptor_limit
from fleetctl.sandbox.planning.plan import plan, with_free_ports
from fleetctl.sandbox.processes.parts import Part, parts_of
from fleetctl.sandbox.processes.process import (
    Process,
    daemon_environment,
    find,
    is_stopped,
    kill,
    start,
    stop,
    uninterrupted,
)
from fleetctl.sandbox.processes.readiness import (
    LOOK_SECONDS,
    controller_serves,
    etcd_is_healthy,
    host_counts,
    until,
)
from fleetctl.sandbox.state.context import context_of, current_context, select, withdraw
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.identities import Identities, agents_issued, issue, issue_agents
from fleetctl.sandbox.state.record import Record, Settings, difference

ETCD_SECONDS = 60.0
CONTROLLER_SECONDS = 60.0
# For all links: a floor, and what a slow machine may take for each host.
LINKS_SECONDS = 60.0
STATUS_SECONDS = 5.0
LINK_SECONDS = 0.05


@dataclass(slots=True)
class Ascent:
    """One `up` under way. `running` are its processes by part, and grow."""

    folder: Folder
    record: Record
    parts: list[Part]
    running: dict[str, Process]
    progress: Progress

    @property
    def identities(self) -> Identities:
        return Identities(self.folder.certificates)


def up(folder: Folder, wanted: Settings, progress: Progress) -> Record:
    """Brings the sandbox up, its folder being held. Returns once every link is live.

    One that has crashed is continued from its state, unless other settings are wanted.
    Interrupted or failed, it stops what it has started; a sandbox that it made itself is then
    removed, but for its logs after a failure. Raises SandboxError.
    """
    raise_descriptor_limit()
    record = folder.load()
    if record is None:
        return _up_anew(folder, wanted, progress)
    running = {one.part: one for one in find(record.id)}
    _wake(running.values(), progress)
    other = difference(record, wanted)
    if other and (running or record.kept):
        raise SandboxConflictError(other)
    if other:
        return _up_anew(folder, wanted, progress)
    if not running:
        record = with_free_ports(record)
        folder.save(record)
    _ascend(folder, record, running, progress)
    folder.save(replace(record, kept=False))
    return record


def _wake(processes: Iterable[Process], progress: Progress) -> None:
    """What a signal such as SIGSTOP holds would be waited for in vain."""
    for process in processes:
        if is_stopped(process.pid):
            process.send(signal.SIGCONT)
            progress.note(f"  {process.part} was stopped by a signal, and goes on")


def _up_anew(folder: Folder, wanted: Settings, progress: Progress) -> Record:
    """What is left of a crashed sandbox of other settings makes room for a new one."""
    folder.clear()
    try:
        record = plan(folder.name, wanted, Machine.look())
        record = replace(record, previous_context=current_context())
        for reason in record.reasons:
            progress.note(f"  {reason}")
        issue(record, Identities(folder.certificates))
        folder.save(record)
        _ascend(folder, record, {}, progress)
    except SandboxError:
        raise
    except BaseException:
        folder.clear()
        raise
    return record


def _ascend(
    folder: Folder, record: Record, running: dict[str, Process], progress: Progress
) -> None:
    parts = parts_of(record, folder, find_etcd())
    ascent = Ascent(folder, record, parts, running, progress)
    before = {process.pid for process in running.values()}
    try:
        _forget_with_the_store(ascent)
        _start_missing(ascent)
        await_links(ascent)
        select(record, folder)
    except SandboxLateError:
        select(record, folder)
        raise
    except BaseException:
        with uninterrupted():
            kill([one for one in ascent.running.values() if one.pid not in before])
        raise


def down(folder: Folder, progress: Progress, *, keep: bool) -> int:
    """Stops all processes of the sandbox, its folder being held; returns how many there were.

    Its state is removed, or with `keep` left for the next up. Raises SandboxError.
    """
    record = folder.load()
    processes = find(record.id) if record else []
    with progress.phase("processes stop") as phase:
        if keep:
            stop([process for process in processes if not process.part.startswith("etcd")])
            stop([process for process in processes if process.part.startswith("etcd")])
        else:
            # Nothing of theirs is wanted any more: to ask thousands of hosts to end takes longer.
            kill(processes)
        phase.outcome = f"{number(len(processes))} processes stopped"
    if record is not None:
        withdraw(record, folder)
    if keep and record is not None:
        folder.save(replace(record, kept=True))
    else:
        folder.clear()
    return len(processes)


def _forget_with_the_store(ascent: Ascent) -> None:
    """A store in memory ends with its controller: hosts that obey it would be ahead of the next,
    so they start afresh with it."""
    alive = any(replica.name in ascent.running for replica in ascent.record.controllers)
    if ascent.record.durable or alive or not ascent.running:
        return
    ascent.progress.note("  the store in memory ended with its controller: hosts start afresh")
    stop(list(ascent.running.values()))
    ascent.running.clear()


def _start_missing(ascent: Ascent) -> None:
    """What waits for nobody's answer goes on meanwhile: certificates are made while etcd starts,
    and hosts begin to listen while the controller starts."""
    etcd, controllers, hollow = (
        [part for part in ascent.parts if part.kind == kind and part.name not in ascent.running]
        for kind in ("etcd", "controller", "hollow")
    )
    for part in etcd:
        _start(ascent, part)
    _issue_agents(ascent)
    for part in etcd:
        _await_etcd(ascent, part)
    for part in (*controllers, *hollow):
        _start(ascent, part)
    for part in controllers:
        _await_controller(ascent, part)


def _start(ascent: Ascent, part: Part) -> None:
    ascent.folder.state_of(part.name).mkdir(exist_ok=True, mode=0o700)
    ascent.folder.ready_file(part.name).unlink(missing_ok=True)
    environment = {**daemon_environment(os.environ), **part.environment}
    log = ascent.folder.log_of(part.name)
    # A process that has started is one that is known, and so stopped if this goes wrong.
    with uninterrupted():
        ascent.running[part.name] = start(part.name, part.argv, ascent.record.id, log, environment)


def _issue_agents(ascent: Ascent) -> None:
    if agents_issued(ascent.identities):
        return
    with ascent.progress.phase("certificates") as phase:
        issue_agents(ascent.record.hosts, ascent.identities)
        phase.outcome = f"certificates for {counted(ascent.record.hosts, 'host')}"


def _await_etcd(ascent: Ascent, part: Part) -> None:
    client = ascent.identities.etcd_client
    with ascent.progress.phase(f"{part.name} starts") as phase:
        until(
            lambda: etcd_is_healthy(part.address, client),
            ascent.running[part.name],
            ETCD_SECONDS,
            ascent.folder.log_of(part.name),
            "served",
        )
        phase.outcome = f"{part.name} serves on {part.address}"


def _await_controller(ascent: Ascent, part: Part) -> None:
    process = ascent.running[part.name]
    ready = ascent.folder.ready_file(part.name)
    with ascent.progress.phase(f"{part.name} starts") as phase:
        until(
            lambda: controller_serves(ready, process.pid),
            process,
            CONTROLLER_SECONDS,
            ascent.folder.log_of(part.name),
            "served",
        )
        phase.outcome = f"{part.name} serves on {part.address}"


def await_links(ascent: Ascent) -> None:
    """Until the controller counts every host live. Raises SandboxLateError at the deadline, and
    SandboxError if a process ends meanwhile."""
    wanted = ascent.record.hosts
    deadline = time.monotonic() + LINKS_SECONDS + LINK_SECONDS * wanted
    controller = ascent.running[ascent.record.controllers[0].name]
    link = Cluster(context_of(ascent.record, ascent.folder), STATUS_SECONDS)
    with ascent.progress.phase("hosts connect") as phase:
        live = 0
        while live < wanted:
            counts = host_counts(link)
            live = counts.live if counts else live
            phase.show(f"{live:,} of {wanted:,} hosts are live")
            if live < wanted:
                _check_time(deadline, live, ascent)
                controller.ends_within(LOOK_SECONDS)
                _check_alive(ascent)
        phase.outcome = f"{counted(live, 'host')} live"


def _check_time(deadline: float, live: int, ascent: Ascent) -> None:
    if time.monotonic() > deadline:
        raise SandboxLateError(
            f"{live:,} of {ascent.record.hosts:,} hosts are live, the others still connect; "
            f"the logs are in {_logs(ascent.folder)}"
        )


def _check_alive(ascent: Ascent) -> None:
    for process in ascent.running.values():
        if process.ends_within(0):
            log = ascent.folder.log_of(process.part)
            until(lambda: False, process, 0, log, "was connected")


def _logs(folder: Folder) -> Path:
    return folder.log_of("").parent
