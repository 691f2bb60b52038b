"""What fleetctl's own processes take, beside one that imports grpc and does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from tests.bench.cluster_under_test import FLEETCTL, ClusterUnderTest

_REPEATS = 9
# Without it, processes would compile all modules anew each time.
_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


def status_beside_grpc(under: ClusterUnderTest) -> float:
    """How often as long `fleetctl status` takes: one after the other in turns, since whatever else
    the machine does then strikes both."""
    environment = {k: v for k, v in under.environment.items() if k != _NO_BYTECODE}
    status = [str(FLEETCTL), "status"]
    plain = [sys.executable, "-c", "import grpc"]
    took = [(_seconds(status, environment), _seconds(plain, environment)) for _ in range(_REPEATS)]
    return statistics.median(a for a, _ in took) / statistics.median(b for _, b in took)


def completion(under: ClusterUnderTest, line: str) -> float:
    """Seconds until a shell has what may stand for the last word of the line."""
    asked = {
        "_FLEETCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    environment = {k: v for k, v in under.environment.items() if k != _NO_BYTECODE} | asked
    return statistics.median(_seconds([str(FLEETCTL)], environment) for _ in range(_REPEATS))


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.monotonic()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
    return time.monotonic() - started
