"""One host in a hundred is gone at once: how soon their VMs run elsewhere, once declared lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet.transport import Role
from fleet.v1 import cluster_pb2 as cluster
from fleetctl.local.certificate_authority import Authority
from tests.bench.cluster_under_test import PATIENCE, ClusterUnderTest, until
from tests.bench.measures import SAMPLE, Measured

_HOLLOW = Path(sys.executable).with_name("fleet-hollow")


def lost_hosts(home: Path, hosts: int, say: Callable[[str], None], out: Measured) -> None:
    """Of so many hosts; those to be lost run in a process of their own, which is killed."""
    few = max(2, round(hosts / 100))
    with ClusterUnderTest(home, hosts - few).running() as under:
        numbers = range(hosts - few + 1, hosts + 1)
        names = [f"hollow-{number:05d}" for number in numbers]
        with _further_hosts(under, numbers, home) as process:
            until(lambda: under.status("").hosts.live == hosts, "all hosts are live")
            under.fleetctl("apply", "-f", str(SAMPLE))
            under.scale("spv", hosts * 250 * 25 // 28)
            say(f"{few} hosts are killed")
            process.kill()
            process.wait()
            until(lambda: under.status("").hosts.live == hosts - few, "they are missed")
            answered, seconds = _declared(under, names)
    out.notes["declare_lost_answered_seconds"] = round(answered, 3)
    what = f"{few:,} of {hosts:,} hosts declared lost: all VMs running again"
    out.add(what, seconds, "s", 8, 3)


def _declared(under: ClusterUnderTest, names: list[str]) -> tuple[float, float]:
    """Seconds until the call is answered, and until all VMs run."""
    started = time.monotonic()
    under.stub.DeclareLost(cluster.DeclareLostRequest(hosts=names), timeout=30)
    answered = time.monotonic() - started
    watch = under.stub.WatchStatus(
        cluster.WatchStatusRequest(fleet="spv", interval_ms=50), timeout=PATIENCE
    )
    for answer in watch:
        state = answer.fleets[0]
        if state.converged and state.duplicates:
            watch.cancel()
            return answered, time.monotonic() - started
    raise RuntimeError(f"not all VMs run again within {PATIENCE:.0f} s")


@contextmanager
def _further_hosts(
    under: ClusterUnderTest, numbers: range, home: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process of hollow hosts beside those of the sandbox, in the sandbox's cluster."""
    certificates = under.certificates
    authority = Authority.load(certificates)
    for number in numbers:
        name = f"hollow-{number:05d}"
        identity = authority.identity(Role.AGENT, name)
        (certificates / "agents" / f"{name}.pem").write_bytes(identity.key + identity.certificate)
    state = home / "further-hosts"
    state.mkdir(exist_ok=True)
    command = [
        str(_HOLLOW), f"--hosts={numbers[0]}-{numbers[-1]}",
        f"--certificates={certificates / 'agents'}", f"--state={state}",
        f"--endpoints={','.join(under.description['endpoints'])}",
    ]  # fmt: skip
    process = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
