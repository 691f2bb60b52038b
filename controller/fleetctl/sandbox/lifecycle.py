"""Brings a sandbox up and down. Up is to be repeated: it starts what is missing, nothing else."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from msgspec.structs import replace

from fleetctl.output import number
from fleetctl.sandbox.errors import SandboxConflictError, SandboxError, SandboxLateError
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.planning.machine import Machine, find_etcd, raise_descriptor_limit
from fleetctl.sandbox.planning.plan import plan, with_free_ports
from fleetctl.sandbox.processes.libvirt_daemons import DAEMONS
from fleetctl.sandbox.processes.parts import AGENT, parts_of
from fleetctl.sandbox.processes.process import (
    Process,
    find,
    is_stopped,
    kill,
    stop,
    uninterrupted,
)
from fleetctl.sandbox.real import host
from fleetctl.sandbox.start_up import StartUp
from fleetctl.sandbox.state.context import current_context, select, withdraw
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.identities import Identities, issue
from fleetctl.sandbox.state.record import Record, Settings, difference


def up(folder: Folder, wanted: Settings, phases: Phases) -> Record:
    """Brings the sandbox up, its folder being held. Returns once every link is live.

    One that has crashed is continued from its state, unless other settings are wanted.
    Interrupted or failed, it stops what it has started; a sandbox that it made itself is then
    removed, but for its logs after a failure. Raises SandboxError.
    """
    raise_descriptor_limit()
    record = folder.load()
    if record is None:
        return _up_anew(folder, wanted, phases)
    running = {one.part: one for one in find(record.id)}
    _wake(running.values(), phases)
    other = difference(record, wanted)
    if other and (running or record.kept):
        raise SandboxConflictError(other)
    if other:
        host.take_away(record, folder, [], phases)
        return _up_anew(folder, wanted, phases)
    if record.real:
        host.make_files(record.real, phases)
    record = host.with_daemons(record, running, phases)
    if not running:
        record = with_free_ports(record)
        folder.save(record)
    _start(folder, record, running, phases)
    folder.save(replace(record, kept=False))
    return record


def _wake(processes: Iterable[Process], phases: Phases) -> None:
    """What a signal such as SIGSTOP holds would be waited for in vain."""
    for process in processes:
        if is_stopped(process.pid):
            process.send(signal.SIGCONT)
            phases.note(f"  {process.part} was stopped by a signal, and goes on")


def _up_anew(folder: Folder, wanted: Settings, phases: Phases) -> Record:
    """What is left of a crashed sandbox of other settings makes room for a new one."""
    folder.clear()
    try:
        if wanted.real is not None:
            host.install(phases)
        record = plan(folder.name, wanted, Machine.measured())
        if wanted.real is not None:
            record = host.prepare(folder, record, phases)
            folder.save(record)  # its files are found by it, whatever comes next
            record = host.with_daemons(record, {}, phases)
        record = replace(record, previous_context=current_context())
        for reason in record.reasons:
            phases.note(f"  {reason}")
        issue(record, Identities(folder.certificates))
        folder.save(record)
        _start(folder, record, {}, phases)
    except SandboxError:
        raise
    except BaseException:
        host.forget(folder)
        folder.clear()
        raise
    return record


def _start(folder: Folder, record: Record, running: dict[str, Process], phases: Phases) -> None:
    parts = parts_of(record, folder, find_etcd())
    start_up = StartUp(folder, record, parts, running, phases)
    before = {process.pid for process in running.values()}
    try:
        start_up.run()
        select(record, folder)
    except SandboxLateError:
        select(record, folder)
        raise
    except BaseException:
        with uninterrupted():
            _end([one for one in start_up.running.values() if one.pid not in before])
        raise


def _end(processes: Iterable[Process]) -> None:
    """For good. Nothing of theirs is wanted any more, and to ask thousands of hosts to end takes
    long: they are killed. But libvirt goes on with what a killed agent has asked of it, and might
    define a domain once all others are removed: the agent of a real host ends what it does."""
    found = list(processes)
    kill([one for one in found if one.part != AGENT])
    stop([one for one in found if one.part == AGENT])


def down(folder: Folder, phases: Phases, *, keep: bool) -> int:
    """Stops all processes of the sandbox, its folder being held; returns how many there were.

    Its state is removed, or with `keep` left for the next up; so are the VMs of a real host, which
    go on meanwhile, as do those daemons of libvirt that it started. Raises SandboxError.
    """
    record = folder.load()
    found = find(record.id) if record else []
    # libvirt is needed until the VMs are gone, and by VMs that go on.
    daemons = [process for process in found if process.part in DAEMONS]
    processes = [process for process in found if process.part not in DAEMONS]
    with phases.phase("processes stop") as phase:
        if keep:
            stop([process for process in processes if not process.part.startswith("etcd")])
            stop([process for process in processes if process.part.startswith("etcd")])
        else:
            _end(processes)
        phase.outcome = f"{number(len(processes))} processes stopped"
    if record is not None:
        withdraw(record, folder)
    if record is not None and not keep:
        host.take_away(record, folder, daemons, phases)
    if keep and record is not None:
        folder.save(replace(record, kept=True))
    else:
        folder.clear()
    return len(processes)


def end_vms(folder: Folder, phases: Phases) -> None:
    """Of a real sandbox that was stopped and kept: its VMs and its files go, what it has logged
    stays. Raises SandboxError."""
    record = folder.load()
    if record is not None and record.real is not None:
        daemons = [process for process in find(record.id) if process.part in DAEMONS]
        host.take_away(record, folder, daemons, phases)
