"""make bench: measure on this machine, print one table and its conditions, write bench.json."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.failover import failover
from tests.bench.fleet_plans import plans_of_fleets
from tests.bench.guest_commands import only_commands
from tests.bench.hostile_host import hostile_host
from tests.bench.joining import joining
from tests.bench.lost_hosts import lost_hosts
from tests.bench.measures import Measured, full_scale_cpu, instant, realistic
from tests.bench.rebalances import plan_of_a_rebalance
from tests.bench.screen import screen
from tests.bench.simulated import simulated
from tests.bench.table import conditions_here, tell
from tests.bench.wall import wall

SMALL_SANDBOXES = 5


def main() -> None:
    """Exit status 1 when a figure misses what it must be."""
    parser = argparse.ArgumentParser("make bench")
    parser.add_argument("--hosts", type=int, default=4480)
    parser.add_argument("--few-hosts", type=int, default=448, help="for CPU seconds a host")
    parser.add_argument("--without-dom0-profile", action="store_true")
    parser.add_argument("--only-failover", action="store_true", help="nothing but killed leaders")
    parser.add_argument(
        "--only-hostile", action="store_true", help="nothing but a host that floods"
    )
    parser.add_argument("--only-wall", action="store_true", help="nothing but the wall")
    parser.add_argument("--only-commands", action="store_true", help="nothing but commands in VMs")
    parser.add_argument(
        "--only-joining", action="store_true", help="nothing but hosts that join and renew"
    )
    parser.add_argument("--only-screen", action="store_true", help="nothing but fleetctl ui")
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {text}", file=sys.stderr, flush=True)

    out = Measured()
    conditions = conditions_here()
    with tempfile.TemporaryDirectory(prefix="megafleet-bench-") as folder:
        _measure(Path(folder), given, say, out)
    raise SystemExit(tell(out, conditions, given.json))


def _measure(
    home: Path, given: argparse.Namespace, say: Callable[[str], None], out: Measured
) -> None:
    if given.only_failover:
        failover(home, given.hosts, say, out)
        return
    if given.only_hostile:
        hostile_host(home, given.hosts, say, out)
        return
    if given.only_wall:
        wall(home, given.hosts, given.few_hosts, say, out)
        return
    if given.only_commands:
        only_commands(home, given.hosts, say, out)
        return
    if given.only_screen:
        screen(home, given.hosts, say, out)
        return
    if given.only_joining:
        _joining(home, given, say, out)
        return
    plans_of_fleets(say, out)
    plan_of_a_rebalance(say, out)
    say(f"{SMALL_SANDBOXES} sandboxes of {given.few_hosts:,} hosts")
    few = full_scale_cpu(home, given.few_hosts, SMALL_SANDBOXES)
    say(f"sandbox of {given.hosts:,} hosts, profile instant")
    many = instant(home, given.hosts, say, out)
    what = f"CPU seconds a host, {given.hosts:,} hosts / {given.few_hosts:,}"
    out.add(what, many / few, "x", 1.3, 1.1)
    out.notes["cpu_ms_a_host"] = {"few": round(few * 1000, 2), "many": round(many * 1000, 2)}
    say(f"sandbox of {given.hosts:,} hosts, commands in VMs")
    commands = home / "commands"
    commands.mkdir()
    only_commands(commands, given.hosts, say, out)
    say(f"sandbox of {given.hosts:,} hosts, some of which are lost")
    lost_hosts(home, given.hosts, say, out)
    say(f"sandbox of {given.hosts:,} hosts, one of which floods")
    hostile_host(home, given.hosts, say, out)
    _joining(home, given, say, out)
    say(f"sandbox of {given.hosts:,} hosts, three controllers and members of etcd")
    failover(home, given.hosts, say, out)
    say(f"sandbox of {given.hosts:,} hosts, with walls open")
    wall(home, given.hosts, given.few_hosts, say, out)
    screen(home, given.hosts, say, out)
    if not given.without_dom0_profile:
        say(f"sandbox of {given.hosts:,} hosts, profile dom0")
        realistic(home, given.hosts, say, out)
    simulated(say, out)


def _joining(
    home: Path, given: argparse.Namespace, say: Callable[[str], None], out: Measured
) -> None:
    """Few, with another authority at the end, and many."""
    for hosts in sorted({given.few_hosts, given.hosts}):
        folder = home / f"joining-{hosts}"
        folder.mkdir()
        joining(folder, hosts, say, out, replace=hosts == given.few_hosts)


if __name__ == "__main__":
    main()
