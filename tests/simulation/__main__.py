"""make sim: plays many seeds, and says of one that fails the least that makes it fail.

python -m tests.simulation --seeds 2000 --minutes 10 --hosts 50
python -m tests.simulation --seed 17 --minutes 10 --hosts 50 --only 0,4,9
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from itertools import islice
from random import SystemRandom

from tests.simulation.doubles.cluster import Shape
from tests.simulation.scenario import Scenario
from tests.simulation.shrinking import kept_of, shortest
from tests.simulation.stage import Outcome

TRACE_LINES = 120


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one seed, and how long it took."""

    seed: str
    failure: str
    simulated: float
    wall: float


def main() -> None:
    """Exit status 1 when a seed failed."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of names would be another in each process.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    options = _parser().parse_args()
    shape = Shape(
        hosts=options.hosts,
        per_host=options.per_host,
        minutes=options.minutes,
        controllers=options.controllers,
        hosts_per_rack=max(2, options.hosts // 5),
    )
    if options.seed is not None:
        sys.exit(_one(options.seed, shape, options.only))
    first = options.first if options.first is not None else SystemRandom().randrange(10**9)
    sys.exit(_many([str(first + n) for n in range(options.seeds)], shape, options.processes))


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="tests.simulation", description=__doc__)
    add = made.add_argument
    add("--seeds", type=int, default=200, help="how many")
    add("--first", type=int, help="the first of them; without: drawn, and printed")
    add("--minutes", type=float, default=10.0, help="of troubles, simulated")
    add("--hosts", type=int, default=50)
    add("--per-host", type=int, default=20, help="VMs that fit a host")
    add("--controllers", type=int, default=0, help="0: one to three, by the seed")
    add("--processes", type=int, default=os.cpu_count() or 1)
    add("--seed", help="play this one alone and show what happens")
    add("--only", default="", help="numbers of the actions to keep of it")
    return made


def _many(seeds: list[str], shape: Shape, processes: int) -> int:
    print(f"{len(seeds):,} seeds from {seeds[0]}, {shape.hosts} hosts, {shape.minutes:g} minutes")
    began, simulated, failed, done = time.perf_counter(), 0.0, [], 0
    for played in play_all(seeds, shape, processes):
        done += 1
        simulated += played.simulated
        if played.failure:
            failed.append(played)
            print(f"seed {played.seed}: {played.failure}", flush=True)
        if done % 100 == 0:
            print(_rate(done, simulated, time.perf_counter() - began), flush=True)
    print(_rate(done, simulated, time.perf_counter() - began))
    if failed:
        _explain(Scenario.of(failed[0].seed, shape))
    return 1 if failed else 0


def _rate(done: int, simulated: float, wall: float) -> str:
    return (
        f"{done:,} seeds, {simulated / 60:,.0f} simulated minutes in {wall:.0f} s: "
        f"{simulated / wall:,.0f} a minute"
    )


def play_all(seeds: list[str], shape: Shape, processes: int) -> Iterator[Played]:
    """Each seed's outcome, as they come, from so many processes at once."""
    if processes < 2:
        yield from (_play(seed, shape) for seed in seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        waiting = iter(seeds)
        running = {pool.submit(_play, seed, shape) for seed in islice(waiting, processes * 2)}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            running |= {pool.submit(_play, seed, shape) for seed in islice(waiting, len(done))}
            yield from (one.result() for one in done)


def _play(seed: str, shape: Shape) -> Played:
    began = time.perf_counter()
    outcome = Scenario.of(seed, shape).play()
    return Played(seed, outcome.failure, outcome.seconds, time.perf_counter() - began)


def _explain(scenario: Scenario) -> None:
    """The shortest trace, and how to see it again."""
    outcome = scenario.play()
    if not outcome.failure:
        print(f"seed {scenario.seed} does not fail again: something in it is not of the seed")
        return
    print(f"seed {scenario.seed} fails: {outcome.failure}; looking for the least that does ...")
    short, outcome = shortest(scenario, outcome)
    _show(short, outcome)
    shape = scenario.shape
    print(
        f"again: .venv/bin/python -m tests.simulation --seed {scenario.seed} "
        f"--minutes {shape.minutes:g} --hosts {shape.hosts} --per-host {shape.per_host} "
        f"--controllers {shape.controllers} --only {kept_of(scenario, short)}"
    )


def _one(seed: str, shape: Shape, only: str) -> int:
    scenario = Scenario.of(seed, shape)
    if only:
        kept = {int(number) for number in only.split(",")}
        acts = tuple(act for number, act in enumerate(scenario.acts) if number in kept)
        scenario = replace(scenario, acts=acts)
    outcome = scenario.play()
    _show(scenario, outcome)
    return 1 if outcome.failure else 0


def _show(scenario: Scenario, outcome: Outcome) -> None:
    for line in outcome.trace[-TRACE_LINES:]:
        print(line[:240])
    print(f"{len(scenario.acts)} actions:")
    for act in scenario.acts:
        print(f"  {act}")
    print(f"digest {outcome.digest}: {outcome.failure or 'all that was asked for runs'}")


if __name__ == "__main__":
    main()
