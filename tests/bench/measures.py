"""What is measured, each beside what it must and should be."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.bench import short_processes
from tests.bench.cluster_under_test import ClusterUnderTest

SAMPLE = Path(__file__).parents[2] / "deploy" / "samples" / "spv.yaml"
_REPEATS = 5
_IDLE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One row. `must` and `aim` are bounds in the same unit: upper ones, lower where `more`."""

    what: str
    value: float
    unit: str
    must: float
    aim: float
    more: bool = False

    @property
    def verdict(self) -> str:
        if self._reaches(self.aim):
            return "aim"
        return "ok" if self._reaches(self.must) else "MISSED"

    def _reaches(self, bound: float) -> bool:
        return self.value >= bound if self.more else self.value <= bound


@dataclass(slots=True)
class Measured:
    """All rows of a run, and figures that explain them."""

    figures: list[Figure] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    def add(
        self, what: str, value: float, unit: str, must: float, aim: float, *, more: bool = False
    ) -> None:
        """`more`: the more the better; of all others the less."""
        self.figures.append(Figure(what, round(value, 4), unit, must, aim, more))

    def as_json(self) -> dict[str, Any]:
        rows = [asdict(figure) | {"verdict": figure.verdict} for figure in self.figures]
        return {"figures": rows, "notes": self.notes}


def instant(home: Path, hosts: int, say: Callable[[str], None], out: Measured) -> float:
    """The rows of the profile instant; CPU seconds a host for the full scale."""
    share = 250
    million = min(1_000_000, hosts * share * 25 // 28)
    more = hosts * share * 55 // 56 if hosts < 4_480 else 1_100_000
    with ClusterUnderTest(home, hosts).running() as under:
        out.add(f"sandbox of {hosts:,} hosts up, all links live", under.up_seconds, "s", 60, 30)
        say("idle")
        _idle(under, out)
        under.fleetctl("apply", "-f", str(SAMPLE))
        uid = under.status("spv").fleets[0].uid
        say(f"scale 0 -> {million:,}")
        before, revision = under.usage(), under.store()[0]
        _scale(under, uid, 0, million, out)
        spent = under.usage().since(before)
        after, keys = under.store()
        out.add("etcd transactions for the full scale", after - revision, "", 40, 36)
        out.add("etcd keys", keys, "", 10_000, 9_999)
        out.notes["cpu_seconds_full_scale"] = {k: round(v, 2) for k, v in spent.items()}
        _answers(under, out)
        say(f"scale {million:,} -> {more:,} -> {hosts * share:,} -> 0")
        _scale(under, uid, million, more, out)
        under.scale("spv", hosts * share)
        read = statistics.median(under.metric("megafleet_read_seconds") for _ in range(_REPEATS))
        out.add("scrape of /metrics, in the leader", 1000 * read, "ms", 50, 10)
        _memory(under, hosts * share, out)
        _scale(under, uid, hosts * share, 0, out)
        say("one host's share")
        _one_host(under, home, out)
        return sum(spent.values()) / hosts


def full_scale_cpu(home: Path, hosts: int, sandboxes: int) -> float:
    """CPU seconds a host for 0 -> 223 VMs a host, all processes together; the mean of so many
    fresh sandboxes, since a single small one takes less than half a second in all."""
    return sum(_full_scale_cpu(home, hosts) for _ in range(sandboxes)) / sandboxes


def _full_scale_cpu(home: Path, hosts: int) -> float:
    with ClusterUnderTest(home, hosts).running() as under:
        under.fleetctl("apply", "-f", str(SAMPLE))
        before = under.usage()
        under.scale("spv", hosts * 250 * 25 // 28)
        return sum(under.usage().since(before).values()) / hosts


def realistic(home: Path, hosts: int, say: Callable[[str], None], out: Measured) -> None:
    """The fleet's time beside one host's for its 250, with the latencies of a real dom0."""
    with ClusterUnderTest(home, hosts, profile="dom0").running() as under:
        _apply_packed(under, home)
        say("one dom0's 250")
        _, one = under.scale("one", 250)
        under.scale("one", 0)
        under.fleetctl("apply", "-f", str(SAMPLE))
        say(f"all {hosts:,} dom0s' 250")
        _, everyone = under.scale("spv", hosts * 250)
        out.notes["dom0_profile_seconds"] = {"one host": round(one, 2), "fleet": round(everyone, 2)}
        out.add("profile dom0: the fleet's time / one host's", everyone / one, "x", 1.2, 1.05)


def _scale(under: ClusterUnderTest, uid: str, before: int, total: int, out: Measured) -> None:
    started = time.monotonic()
    under.scale("spv", total)
    while (listed := under.listed(uid)) != total:
        if time.monotonic() - started > 120:
            raise RuntimeError(f"the drivers list {listed:,} VMs, status says {total:,}")
    what = f"scale {before:,} -> {total:,}, status and drivers agree"
    out.add(what, time.monotonic() - started, "s", 20, 6)


def _idle(under: ClusterUnderTest, out: Measured) -> None:
    before, revision = under.usage(), under.store()[0]
    time.sleep(_IDLE_SECONDS)
    spent, after = under.usage().since(before), under.store()[0]
    share = 100 * spent["controller"] / _IDLE_SECONDS
    out.add("idle CPU of the controller", share, "% of a core", 20, 10)
    out.add("etcd writes a minute when idle", (after - revision) * 60 / _IDLE_SECONDS, "", 5, 0)


def _answers(under: ClusterUnderTest, out: Measured) -> None:
    whole = statistics.median(under.timed("status", "spv") for _ in range(_REPEATS))
    server = statistics.median(under.status("spv").server_seconds for _ in range(_REPEATS))
    out.add("fleetctl status, whole process", whole, "s", 0.4, 0.2)
    beside = short_processes.status_beside_grpc(under)
    out.add("fleetctl status, beside a process that imports grpc", beside, "x", 1.6, 1.3)
    line = "fleetctl hosts show hollow-000"
    completed = short_processes.completion(under, line)
    out.add("a host's name completed, whole process", completed, "s", 0.3, 0.15)
    out.notes["vms_all_json_seconds"] = round(under.timed("vms", "--all", "-o", "json"), 2)
    out.add("fleetctl status, in the server", server * 1000, "ms", 5, 1)
    request = cluster.ListVmsRequest(fleet="spv", state=types.VM_STATE_FAILED)
    listing = statistics.median(
        under.stub.ListVms(request, timeout=30).server_seconds for _ in range(_REPEATS)
    )
    out.add("vms list --state failed, in the server", listing * 1000, "ms", 20, 5)


def _memory(under: ClusterUnderTest, vms: int, out: Measured) -> None:
    memory = under.usage().memory
    out.add(f"memory of the controller, {vms:,} VMs", memory["controller"], "MiB", 900, 550)
    out.add("memory of all hollow processes", memory["hollow"], "MiB", 4096, 2048)


def _one_host(under: ClusterUnderTest, home: Path, out: Measured) -> None:
    _apply_packed(under, home)
    seconds = []
    for _ in range(_REPEATS):
        seconds.append(under.scale("one", 250)[1])
        under.scale("one", 0)
    what = "one host's share, 0 -> 250, accepted to running"
    out.add(what, statistics.median(seconds), "s", 0.5, 0.1)


def _apply_packed(under: ClusterUnderTest, home: Path) -> None:
    """A fleet whose 250 VMs all land on one host."""
    text = SAMPLE.read_text().replace("name: spv", "name: one", 1)
    text = text.replace("policy: spread\n  spread_label: rack", "policy: pack")
    file = home / "one.yaml"
    file.write_text(text)
    under.fleetctl("apply", "-f", str(file))
