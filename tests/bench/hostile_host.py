"""A leader of many hosts while one floods it: the worst answer with and without, and its memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

from fleet.transport import Role
from fleetctl.local.certificate_authority import Authority, write_identity
from tests.bench.cluster_under_test import ClusterUnderTest, until
from tests.bench.measures import SAMPLE, Measured

_SECONDS = 60.0  # with, and without: long enough that both meet what is seldom
_BETWEEN = 0.05  # two questions
_LATEST = 30.0  # what an answer that never came counts as
_NAME = "flooding"


def hostile_host(home: Path, hosts: int, say: Callable[[str], None], out: Measured) -> None:
    """Both halves in one run: times on shared machines swing."""
    with ClusterUnderTest(home, hosts).running() as under:
        under.fleetctl("apply", "-f", str(SAMPLE))
        under.scale("spv", hosts * 250 * 25 // 28)
        with _joined(under, home) as floods:
            say(f"status for {_SECONDS:.0f} s, and all hosts behave")
            without, before = _worst(under), under.usage().memory["controller"]
            say(f"status for {_SECONDS:.0f} s, and one host floods")
            floods()
            flooded = _worst(under)
        until(lambda: _answers(under), "status is answered again")
        after = under.usage().memory["controller"]
    out.notes["hostile_host"] = {
        "worst_status_ms": {"without": round(without * 1000, 1), "with": round(flooded * 1000, 1)},
        "controller_mib": {"before": round(before, 1), "after": round(after, 1)},
    }
    what = f"one of {hosts:,} hosts floods: worst status / without"
    out.add(what, flooded / without, "x", 1.5, 1.1)
    out.add("memory of the controller after it / before", after / before, "x", 1.2, 1.05)


def _worst(under: ClusterUnderTest) -> float:
    """Seconds of the slowest of many answers."""
    worst, ends = 0.0, time.monotonic() + _SECONDS
    while (began := time.monotonic()) < ends:
        answered = _answers(under)
        worst = max(worst, time.monotonic() - began if answered else _LATEST)
        time.sleep(_BETWEEN)  # as often as a person's watch asks, and more
    return worst


def _answers(under: ClusterUnderTest) -> bool:
    try:
        under.status("spv")
    except grpc.RpcError:
        return False
    return True


@contextmanager
def _joined(under: ClusterUnderTest, home: Path) -> Iterator[Callable[[], None]]:
    """A host of its own process, with a certificate of the sandbox's authority, that is live; what
    makes it flood."""
    folder = home / _NAME
    write_identity(folder, Authority.load(under.certificates).identity(Role.AGENT, _NAME))
    endpoint = under.description["endpoints"][0]
    command = [sys.executable, "-m", "tests.bench.flooding_host", str(folder), endpoint, _NAME]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline() != b"joined\n":
            raise RuntimeError("the flooding host did not join")
        until(lambda: under.status("spv").hosts.converged > under.hosts, "it is live")
        yield process.stdin.close
    finally:
        process.kill()
        process.wait()
