"""Processes of a sandbox: started detached, found by their mark, stopped for certain.

A process belongs to a sandbox if its environment says so: `MEGAFLEET_SANDBOX=<id>/<part>`. There
are no pid files to go stale, and a signal goes through a descriptor of the process whose mark
was read, so it never reaches another that has come to the same number.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetctl.sandbox.errors import SandboxError

MARK = "MEGAFLEET_SANDBOX"
# How long a part may take to end by itself before it is killed. Seconds.
GRACE = 15.0
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOPBACK_NAMES = "127.0.0.1,localhost"


@dataclass(frozen=True, slots=True)
class Process:
    """A running process: its part's name, its number, and a descriptor that stays its own."""

    part: str
    pid: int
    descriptor: int

    def ends_within(self, seconds: float) -> bool:
        """Waits at most so long. Whether it has ended."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, seconds) * 1000))

    def send(self, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            return  # It has ended, which is all a signal is for here.


def find(sandbox: str) -> list[Process]:
    """The running processes of a sandbox."""
    numbers = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    marked = [pid for pid in numbers if _part_of(pid, sandbox) is not None]
    return [process for pid in marked if (process := _held(pid, sandbox)) is not None]


def is_stopped(pid: int) -> bool:
    """Whether a signal such as SIGSTOP holds it; its state in /proc/PID/stat, after the name."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(") ")[2][:1] in ("T", "t")


def start(
    part: str,
    argv: Sequence[str],
    sandbox: str,
    log: Path,
    environment: Mapping[str, str],
) -> Process:
    """Starts a process in a session of its own, its output in the log. Raises SandboxError.

    `environment` is all it gets beside the mark. The log of its previous run is kept beside it,
    as `<name>.log.1`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_suffix(".log.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        pid = os.posix_spawn(
            argv[0],
            list(argv),
            {**environment, MARK: f"{sandbox}/{part}"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE, signal.SIGINT],
        )
    except OSError as error:
        raise SandboxError(f"{part} cannot be started: {argv[0]}: {error.strerror}") from error
    return Process(part, pid, os.pidfd_open(pid))


def stop(processes: Sequence[Process], grace: float = GRACE) -> None:
    """Asks all to end, waits together, kills those that have not. None is left afterwards."""
    for process in processes:
        process.send(signal.SIGTERM)
    deadline = time.monotonic() + grace
    kill([one for one in processes if not one.ends_within(deadline - time.monotonic())])
    for process in processes:
        _reap(process)


def kill(processes: Sequence[Process]) -> None:
    """Ends all at once, without their doing. None is left afterwards."""
    for process in processes:
        process.send(signal.SIGKILL)
    for process in processes:
        process.ends_within(GRACE)
        _reap(process)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for the end of what must not be left half done, and is short."""
    numbers = [one for one in INTERRUPTS if callable(signal.getsignal(one))]
    came: list[int] = []
    before = {one: signal.signal(one, lambda number, _: came.append(number)) for one in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def daemon_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would set etcd or a daemon up otherwise, or send loopback through a proxy."""
    kept = {
        name: value
        for name, value in environment.items()
        # fleetctl silences gRPC for itself; what it says of a daemon belongs in the daemon's log.
        if not name.startswith(("ETCD_", "MEGAFLEET_")) and name != "GRPC_VERBOSITY"
    }
    for name in ("no_proxy", "NO_PROXY"):
        kept[name] = ",".join(filter(None, (kept.get(name), LOOPBACK_NAMES)))
    return kept


def _held(pid: int, sandbox: str) -> Process | None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    # Read again: only now is the number certain to be this process's.
    part = _part_of(pid, sandbox)
    if part is None:
        os.close(descriptor)
        return None
    return Process(part, pid, descriptor)


def _part_of(pid: int, sandbox: str) -> str | None:
    """The part that a process is, if it is of this sandbox. One that has ended has no mark."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None  # Ended, or another user's: none of this user's sandboxes either way.
    wanted = f"{MARK}={sandbox}/".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(wanted):
            return entry.removeprefix(wanted).decode()
    return None


def _reap(process: Process) -> None:
    """Takes the exit of a child; one that another fleetctl started is reaped by init."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
