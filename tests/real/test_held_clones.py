"""Many clones for long, one of them killed every few seconds: none is lost, and nothing grows.

Half an hour with 250 of them is `make real-test`; without HELD_CLONES and HELD_MINUTES in the
environment it is a few for a minute.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from fleet.template.clones import templates_folder
from fleetctl.sandbox.processes.parts import AGENT
from fleetctl.sandbox.real.clones import running
from fleetctl.sandbox.real.qemu_processes import kill, process_of
from fleetctl.sandbox.tour import boots
from tests.bench.processes_seen import resident_mib
from tests.real.real_sandbox import RealSandbox, sandbox, until, why_not_here

pytestmark = [
    pytest.mark.real_long,
    pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "it runs here"),
]
CLONES = int(os.environ.get("HELD_CLONES") or 12)
MINUTES = float(os.environ.get("HELD_MINUTES") or 1)
KILL_SECONDS = 10.0
# Of one that was killed: seen, copied and ready again.
MENDED_SECONDS = 60.0
# What a Python that has warmed up may take more, however long it runs: allocators keep pages.
GROWN_MIB = 12.0
GROWN_FILES = 8


@dataclass(frozen=True, slots=True)
class Held:
    """What the host has of the clones, and its agent beside."""

    processes: int
    folders: int  # of VMs
    entries: int  # in that which has most: one that was killed keeps the log of its last life
    taps: int
    templates: int  # files, whose bytes are
    template_bytes: int
    agent_files: int
    agent_threads: int
    agent_mib: float


def held(real: RealSandbox) -> Held:
    clones = Path(real.real.clones)
    templates = Path(templates_folder(real.folder.state_of(AGENT) / "ledger"))
    files = [one for one in templates.rglob("*") if one.is_file()]
    agent = Path("/proc", str(real.pid("agent")))
    return Held(
        processes=len(running(clones)),
        folders=len(os.listdir(clones)),
        entries=max(len(os.listdir(one)) for one in clones.iterdir()),
        taps=sum(one.name.startswith("mf") for one in Path("/sys/class/net").iterdir()),
        templates=len(files),
        template_bytes=sum(one.stat().st_size for one in files),
        agent_files=len(os.listdir(agent / "fd")),
        agent_threads=len(os.listdir(agent / "task")),
        agent_mib=resident_mib(int(agent.name)),
    )


def test_clones_that_are_killed_come_back_and_no_other_is_touched_and_nothing_grows(
    tmp_path: Path,
) -> None:
    chosen = random.Random(7)
    with sandbox(tmp_path, "clones-held") as real:
        real.up("--real", str(CLONES))
        pids = real.qemus(CLONES)
        assert None not in pids.values()
        ends = time.monotonic() + 60 * MINUTES
        first: Held | None = None
        killed = 0
        while time.monotonic() < ends:
            due = time.monotonic() + KILL_SECONDS
            mend(real, pids, real.vm(chosen.randrange(CLONES)))
            killed += 1
            # Once each pool of threads and each cache has seen some of it.
            if first is None and killed >= 3:
                first = settled(real)
            time.sleep(max(0.0, due - time.monotonic()))  # the pace of what is tried
        assert first is not None, "too short to tell whether anything grows"
        last = settled(real)
        print(f"{killed} killed of {CLONES} in {MINUTES:g} minutes: {first} -> {last}")
        assert real.qemus(CLONES) == pids, "nobody else was started anew"
        for what in ("processes", "folders", "entries", "templates", "template_bytes"):
            assert getattr(last, what) == getattr(first, what), what
        assert last.taps <= first.taps, "those of others on this machine may have gone"
        assert last.agent_files <= first.agent_files + GROWN_FILES
        assert last.agent_threads <= first.agent_threads + GROWN_FILES
        assert last.agent_mib <= first.agent_mib + GROWN_MIB
        # All of them answer as before, as far as the cluster knows.
        real.fleetctl("scale", real.real.fleet, "--total", str(CLONES))


def mend(real: RealSandbox, pids: dict[str, int | None], victim: str) -> None:
    """One is killed, and runs again; `pids` has its new process then."""
    before, seen = pids[victim], boots(real.real, victim)
    assert before is not None
    kill(before)
    until(partial(_runs_again, real, victim, before, seen), f"{victim} runs again", MENDED_SECONDS)
    pids[victim] = process_of(victim)


def _runs_again(real: RealSandbox, victim: str, before: int, seen: int) -> bool:
    return process_of(victim) not in (None, before) and boots(real.real, victim) > seen


def settled(real: RealSandbox) -> Held:
    """Once the agent rests: all VMs are known to run."""
    real.fleetctl("scale", real.real.fleet, "--total", str(CLONES))
    return held(real)
