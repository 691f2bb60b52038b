"""Processes of QEMU: started so that they outlive the agent, found again by the folder that they
run in, waited for and ended by a descriptor, which no other process can come to have. Blocking, but
short."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet_agent.core.qemu.machine import Sockets

QEMU_LOG = "qemu.log"
SOCKETS = ("monitor", "people", "console", "identity")
_SYSTEMD = Path("/run/systemd/system")
_TYPED = 16
# This process or the host has no more of something: that says nothing of what was looked at.
OWN_TROUBLE = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN))
_READ_BYTES = 4096
# Of what QEMU said, the last words are within so much.
_WORDS_BYTES = 2000
# What an agent was told is not a guest's; and by its environment a sandbox knows its processes.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True)
class Process:
    """One that was there when it was opened. `started`: in clock ticks since the host's boot."""

    pid: int
    started: int
    descriptor: int

    @property
    def alive(self) -> bool:
        return not self.ends_within(0)

    def ends_within(self, seconds: float) -> bool:
        """Whether it does. Blocking."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.descriptor, signal.SIGKILL)

    def close(self) -> None:
        """Once. A child of ours that has ended is reaped."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        os.close(self.descriptor)


def opened(pid: int) -> Process | None:
    """None where it has ended. Raises OSError where that cannot be told: who takes what runs for
    ended starts it twice."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        state, started = _state(pid)
    except (FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        state, started = "X", 0
    except BaseException:
        os.close(descriptor)
        raise
    if state in "ZX":
        os.close(descriptor)
        return None
    return Process(pid, started, descriptor)


def started(folder: Path, name: str, command: Callable[[Sockets], Sequence[str]]) -> Process:
    """Starts one in its folder, with sockets there that listen already: whoever connects waits for
    it, and nobody looks again and again whether it is there. Raises OSError."""
    with contextlib.ExitStack() as stack:
        where = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        stack.callback(os.close, where)
        listening = [stack.enter_context(_listening(where, one)) for one in SOCKETS]
        log = stack.enter_context((folder / QEMU_LOG).open("wb"))
        numbers = [one.fileno() for one in listening]
        child = subprocess.Popen(
            [*scope(name), *command(Sockets(*numbers))],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=_ENVIRONMENT,
            pass_fds=numbers,
        )
    child.returncode = 0  # who ends it reaps it: subprocess is not to look for it
    try:
        process = opened(child.pid)
    except BaseException:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)
        raise
    if process is None:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(child.pid, 0)
        raise OSError(0, last_words(folder) or "QEMU ended at once")
    return process


def scope(name: str, systemd: Path = _SYSTEMD) -> Sequence[str]:
    """Under systemd each has a scope of its own: what ends the agent's unit, or bounds its memory,
    is not to end VMs."""
    if not systemd.is_dir() or os.geteuid() != 0:
        return ()
    return (
        *(
            "systemd-run",
            "--scope",
            "--quiet",
            "--collect",
            f"--unit=megafleet-vm-{name}-{os.urandom(4).hex()}",
        ),
        *("--slice=megafleet-vms.slice", "--"),
    )


def running(root: Path) -> Mapping[Path, int]:
    """Processes of QEMU in folders below `root`, whatever became of whoever started them. Raises
    OSError."""
    return dict(_running(os.path.realpath(root) + os.sep))


def _running(below: str) -> Iterator[tuple[Path, int]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                where = os.readlink(f"/proc/{entry}/cwd")
                if where.startswith(below) and "qemu" in _command_name(entry):
                    yield Path(where.removesuffix(" (deleted)")), int(entry)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has ended, or is none of ours


def connected(folder: Path, name: str) -> socket.socket:
    """To one of a VM's sockets. Raises OSError."""
    where = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        made.connect(_short(where, name))
    except BaseException:
        made.close()
        raise
    finally:
        os.close(where)
    return made


async def received(connection: socket.socket) -> bytes:
    """What has come; empty once the other end is closed. Whoever sends without end has others wait
    for nothing: while there is something to read, asyncio reads it without letting them on.
    Raises OSError."""
    await asyncio.sleep(0)
    return await asyncio.get_running_loop().sock_recv(connection, _READ_BYTES)


def last_words(folder: Path) -> str:
    """What QEMU said last, in one line."""
    try:
        with (folder / QEMU_LOG).open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _WORDS_BYTES))
            text = log.read(_WORDS_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return text.strip().rpartition("\n")[2][:300]


def _listening(where: int, name: str) -> socket.socket:
    path = _short(where, name)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(path)
        made.listen(_TYPED)
    except BaseException:
        made.close()
        raise
    return made


def _short(where: int, name: str) -> str:
    """A socket's path has 107 characters at most, and a folder's may have more."""
    return f"/proc/self/fd/{where}/{name}.sock"


def _command_name(pid: str) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read()


def _state(pid: int) -> tuple[str, int]:
    """proc(5): the 3rd and the 22nd field; the command's name before them may hold anything."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0], int(fields[19])
