"""make chaos: faults at random on a cluster of real processes, for minutes; prints what it took."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import SystemRandom

from tests.chaos import namespaces
from tests.chaos.namespaces import Namespaces
from tests.chaos.ordeal import Ordeal, Outcome
from tests.processes.replicated_cluster import ReplicatedCluster

ROUND_SECONDS = 40.0
PER_HOST = 250
HOSTS_A_PROCESS = 112


def main() -> None:
    """Exit status 1 when anything is not as asked."""
    parser = argparse.ArgumentParser("make chaos")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(1_000_000))
    parser.add_argument("--hosts", type=int, default=448)
    given = parser.parse_args()
    print(f"seed {given.seed}: make chaos SEED={given.seed} HOSTS={given.hosts} repeats its faults")
    with tempfile.TemporaryDirectory(prefix="megafleet-chaos-") as folder:
        try:
            print_outcome(run(Path(folder), given.hosts, given.minutes * 60, given.seed))
        except AssertionError as failed:
            kept = Path(tempfile.mkdtemp(prefix="megafleet-chaos-failed-"))
            Path(folder).rename(kept / "cluster")
            Path(folder).mkdir()
            print(f"NOT AS ASKED (seed {given.seed}): {failed}\nlogs and data: {kept}")
            raise SystemExit(1) from failed


def run(folder: Path, hosts: int, seconds: float, seed: int) -> Outcome:
    """Rounds until the time is over. Raises AssertionError."""
    processes = max(2, -(-hosts // HOSTS_A_PROCESS))
    with (
        wired() as net,
        ReplicatedCluster(
            folder, hosts, PER_HOST, processes, wiring=net, lease_seconds=6, etcd_tls=True
        ) as under,
    ):
        began = time.monotonic()

        def say(text: str) -> None:
            print(f"[{time.monotonic() - began:7.1f} s] {text}", flush=True)

        ordeal = Ordeal(under, net, seed, hosts * PER_HOST, say)
        ordeal.prepare()
        while time.monotonic() - began < seconds:
            ordeal.round(ROUND_SECONDS)
        return ordeal.outcome


@contextmanager
def wired() -> Iterator[Namespaces | None]:
    """Namespaces where they can be made; else nothing is cut off."""
    if not namespaces.available():
        print("nothing is cut off: network namespaces take root and the program ip")
        yield None
        return
    with Namespaces() as net:
        yield net


def print_outcome(out: Outcome) -> None:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(out.kinds.items()))
    print(f"faults                               {out.faults} ({kinds})")
    print(f"changes accepted                     {out.changes}")
    print(f"longest time until one was accepted  {out.without_control:.1f} s")
    print(f"longest time to converge             {out.to_converge:.1f} s")


if __name__ == "__main__":
    main()
