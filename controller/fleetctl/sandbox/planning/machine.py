"""What this machine offers a sandbox: cores, memory, file descriptors, ports, etcd."""

from __future__ import annotations

import os
import random
import re
import resource
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.state.record import LOOPBACK

# More descriptors than this no part needs, however many a kernel would grant.
MOST_DESCRIPTORS = 1_048_576
# Where etcd and controllers of sandboxes listen: below the range from which the kernel takes the
# ports of outgoing connections, so that a part that is started again finds its port free, and
# below 10,000, where fleet-hollow's hosts begin to listen.
SERVICE_PORTS = range(7_000, 10_000)


@dataclass(frozen=True, slots=True)
class Machine:
    """A snapshot. `memory_bytes` is what may still be used without swapping or being killed;
    `descriptors` is what one process may open; `ports` is how many listeners may still bind a
    port of the kernel's choice; `etcd` is its binary."""

    cores: int
    memory_bytes: int
    descriptors: int
    ports: int
    etcd: Path | None

    @classmethod
    def measured(cls) -> Machine:
        """What this machine offers now. Raises SandboxError."""
        low, high = ephemeral_range()
        return cls(
            cores=len(os.sched_getaffinity(0)),
            memory_bytes=min(_memory_available(), _memory_left_in_cgroup()),
            descriptors=descriptor_limit(),
            ports=max(0, high - low + 1 - _sockets_in_use()),
            etcd=find_etcd(),
        )


def find_etcd() -> Path | None:
    """etcd's binary on the PATH, if there is one."""
    found = shutil.which("etcd")
    return Path(found) if found else None


def etcd_version(binary: Path) -> str:
    """Such as "3.5.16". Raises SandboxError if the binary does not run."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"{binary} does not run: {error}") from error
    found = re.search(r"etcd Version:\s*(\S+)", said)
    return found.group(1) if found else "of unknown version"


def raise_descriptor_limit() -> None:
    """Gives this process, and so those it starts, as many descriptors as it may have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptor_limit(), hard))


def free_ports(count: int) -> list[int]:
    """Ports on loopback on which nothing listens, for services. Raises SandboxError."""
    found: list[int] = []
    for port in random.SystemRandom().sample(SERVICE_PORTS, len(SERVICE_PORTS)):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    if len(found) < count:
        raise SandboxError(
            f"no {count} free ports on {LOOPBACK} from {SERVICE_PORTS.start} to "
            f"{SERVICE_PORTS.stop - 1}: stop what listens there"
        )
    return found


def ephemeral_range() -> tuple[int, int]:
    """First and last port that the kernel chooses by itself."""
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    return int(low), int(high)


def is_free(port: int) -> bool:
    """Whether nothing listens on this port of loopback."""
    with socket.socket() as probe:
        # What has just ended leaves connections behind that bar nobody from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def descriptor_limit() -> int:
    """The hard limit, to which the soft one can be raised."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)


def _memory_available() -> int:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    if found is None:
        raise SandboxError("/proc/meminfo has no MemAvailable: is /proc mounted?")
    return int(found.group(1)) * 1024


def _memory_left_in_cgroup() -> int:
    """What the limit of this process's cgroup (v2) leaves; no limit is very much."""
    unlimited = 1 << 60
    found = re.search(r"^0::(/.*)$", _text_of(Path("/proc/self/cgroup")), re.M)
    own = Path("/sys/fs/cgroup") / (found.group(1).lstrip("/") if found else "")
    left = unlimited
    for group in (own, *own.parents):
        limit, used = _text_of(group / "memory.max"), _text_of(group / "memory.current")
        if limit.strip().isdigit() and used.strip().isdigit():
            left = min(left, max(0, int(limit) - int(used)))
    return left


def _sockets_in_use() -> int:
    """Distinct local ports of TCP sockets, of any state, in the range the kernel chooses from."""
    low, high = ephemeral_range()
    used: set[int] = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in _text_of(Path(table)).splitlines()[1:]:
            used.add(int(line.split()[1].rpartition(":")[2], 16))
    return sum(low <= port <= high for port in used)


def _text_of(file: Path) -> str:
    """A file of the kernel that not every machine has: empty where it is not."""
    try:
        return file.read_text()
    except OSError:
        return ""
