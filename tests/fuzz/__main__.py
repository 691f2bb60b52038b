"""make fuzz: mutated messages to real processes, and mutated bytes to the parsers; what was
reached, how fast, and everything found, saved so that it can be played again.

python -m tests.fuzz --minutes 10 --seed 17
python -m tests.fuzz --inputs 1000000
python -m tests.fuzz --again build/fuzz/0123456789ab.json
python -m tests.fuzz --parser report --minutes 5         by atheris, led by coverage
python -m tests.fuzz --parser report --again build/fuzz/crash-...
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import SystemRandom

from tests.fuzz.calls import ROUND, Input, Reached, again, fuzz, loaded
from tests.fuzz.cluster import FuzzedCluster
from tests.fuzz.known import is_known
from tests.fuzz.parser_runs import OF_PARSERS, raised, run_all, run_with_coverage
from tests.fuzz.parsers import PARSERS

FOUND = Path("build/fuzz")
PARSERS_SHARE = 0.2  # of the time


def main() -> None:
    """Exit status 1 when something was found that is not known."""
    options = _parser().parse_args()
    if options.again is not None:
        sys.exit(_again(options.again, options.parser))
    seed = options.seed if options.seed is not None else str(SystemRandom().randrange(10**9))
    print(f"seed {seed}")
    if options.parser:
        run_with_coverage(options.parser, int(options.minutes * 60), FOUND)
        return
    reached = Reached()
    seconds = options.minutes * 60.0
    for line in run_all(seed, seconds * PARSERS_SHARE, reached):
        print(line)
    with tempfile.TemporaryDirectory(prefix="megafleet-fuzz-") as folder:
        asyncio.run(_fuzz(Path(folder), seed, seconds * (1 - PARSERS_SHARE), options, reached))
    sys.exit(_told(reached))


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("tests.fuzz", description=__doc__)
    made.add_argument("--minutes", type=float, default=5.0)
    made.add_argument("--inputs", type=int, default=0, help="calls at least, however long it takes")
    made.add_argument("--seed", help="which all follows from; without: drawn, and printed")
    made.add_argument("--again", type=Path, metavar="FILE", help="what a run has found and saved")
    made.add_argument("--parser", help="this parser alone, led by coverage")
    return made


async def _fuzz(
    folder: Path, seed: str, seconds: float, options: argparse.Namespace, reached: Reached
) -> None:
    before, number, began = reached.inputs, 0, time.monotonic()
    with FuzzedCluster(folder).running() as cluster:
        while time.monotonic() - began < seconds or reached.inputs - before < options.inputs:
            number = await fuzz(cluster, seed, reached, ROUND, begin=number)
            if number % 20 == 0:
                _progress(reached, before, time.monotonic() - began, cluster)
        _progress(reached, before, time.monotonic() - began, cluster)


def _progress(reached: Reached, before: int, seconds: float, cluster: FuzzedCluster) -> None:
    calls = reached.inputs - before
    print(
        f"{calls:,} calls in {seconds:.0f} s, {calls / seconds:,.0f} a second; "
        f"{len(reached.findings)} kinds found, poisoned {cluster.poisoned} times",
        flush=True,
    )


def _told(reached: Reached) -> int:
    """What was reached, and what was found."""
    by_call: dict[tuple[str, str], list[str]] = {}
    for (call, role, code), count in sorted(reached.outcomes.items()):
        by_call.setdefault((call, role), []).append(f"{code} {count:,}")
    for (call, role), codes in by_call.items():
        print(f"{call:34} {role:10} {', '.join(codes)}")
    files = reached.save(FOUND)
    new = 0
    for (kind, one), file in zip(sorted(reached.findings.items()), files, strict=True):
        why = is_known(kind)
        new += not why
        print(f"{'known, ' + why if why else 'FOUND'}: {kind}: {one.what[:300]}")
        print(f"    {one.size // 2} bytes; again: python -m tests.fuzz --again {file}")
    return 1 if new else 0


def _again(file: Path, parser: str | None) -> int:
    """`parser`: the file holds the bytes themselves, as atheris leaves them."""
    if parser:
        wrong = raised(PARSERS[parser], file.read_bytes())
    else:
        inputs = loaded(file)
        parsed = [one for one in inputs if one.service == OF_PARSERS]
        wrong = "; ".join(raised(PARSERS[p.method], bytes.fromhex(p.messages[0])) for p in parsed)
        if not parsed:
            wrong = asyncio.run(_call_again(inputs))
    print(wrong or "nothing is wrong")
    return 1 if wrong else 0


async def _call_again(inputs: Sequence[Input]) -> str:
    reached = Reached()
    with tempfile.TemporaryDirectory(prefix="megafleet-fuzz-") as folder:
        with FuzzedCluster(Path(folder)).running() as cluster:
            wrong = await again(cluster, inputs, reached)
    told = [f"{kind}: {one.what}" for kind, one in reached.findings.items()]
    return "; ".join(filter(None, (wrong, *told)))


if __name__ == "__main__":
    main()
