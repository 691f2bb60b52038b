"""One command in a million VMs: from the command to the merged lines."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.cluster_under_test import ClusterUnderTest
from tests.bench.measures import SAMPLE, Measured

_REPEATS = 3


def commands_in_vms(under: ClusterUnderTest, fleet: str, vms: int, out: Measured) -> None:
    """All of the fleet's run."""
    for what, command, lines, must, aim in (
        ("one answer", "uname -r", 1, 20, 6),
        ("as many answers as VMs", "hostname", None, 30, 10),
    ):
        taken = [_seconds(under, fleet, vms, command, lines) for _ in range(_REPEATS)]
        label = f"vms run in {vms:,} VMs, {what}, command to the merged lines"
        out.add(label, statistics.median(taken), "s", must, aim)


def _seconds(
    under: ClusterUnderTest, fleet: str, vms: int, command: str, lines: int | None
) -> float:
    started = time.monotonic()
    said = under.fleetctl("vms", "run", fleet, "--", *command.split()).splitlines()
    taken = time.monotonic() - started
    counted = sum(int(line.split(" VM")[0].replace(",", "")) for line in said)
    if counted != vms or lines not in (None, len(said)):
        raise RuntimeError(f"{counted:,} of {vms:,} VMs answered, in {len(said):,} lines")
    return taken


def only_commands(home: Path, hosts: int, say: Callable[[str], None], out: Measured) -> None:
    """In a sandbox of its own."""
    total = min(1_000_000, hosts * 250)
    with ClusterUnderTest(home, hosts).running() as under:
        under.fleetctl("apply", "-f", str(SAMPLE))
        under.scale("spv", total)
        say(f"vms run in {total:,} VMs")
        commands_in_vms(under, "spv", total, out)
