"""The programs of docs/examples, run as they stand there against a real cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.transport import Role
from fleet.v1 import cluster_pb2 as wire
from tests.certificates import issue
from tests.processes.small_cluster import CALL_SECONDS, SmallCluster

pytest_plugins = ["tests.processes.cluster_fixtures"]

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples"


@pytest.fixture
def environment(cluster: SmallCluster, tmp_path: Path) -> dict[str, str]:
    """As who uses them says which cluster is meant."""
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return os.environ | {
        "MEGAFLEET_CONFIG": str(tmp_path / "none.toml"),
        "MEGAFLEET_CONTEXT": "",
        "MEGAFLEET_ENDPOINTS": cluster.controller.address,
        "MEGAFLEET_IDENTITY": str(alice),
    }


def run(environment: dict[str, str], program: str, *arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, EXAMPLES / program, *arguments],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_scale_and_wait_returns_when_it_is_true(
    cluster: SmallCluster, environment: dict[str, str]
) -> None:
    cluster.apply()
    code, out, err = run(environment, "scale_and_wait.py", "spv", "100")
    assert (code, err) == (0, ""), out
    assert "spv: 0 -> 100 VMs" in out and out.endswith("spv: 100 VMs run\n")
    assert cluster.fleet().converged
    code, out, err = run(environment, "scale_and_wait.py", "spv", "5000")
    assert (code, err) == (1, "") and out.startswith("not done: 4040 VMs find no place")
    assert cluster.fleet().total == 100


def test_a_mistake_is_one_sentence_with_its_word(
    cluster: SmallCluster, environment: dict[str, str]
) -> None:
    code, out, err = run(environment, "scale_and_wait.py", "none", "1")
    assert (code, out) == (1, "") and "Traceback" not in err
    assert "(NO_SUCH_FLEET)" in err and err.count("\n") == 1


def test_the_report_counts_every_vm(cluster: SmallCluster, environment: dict[str, str]) -> None:
    cluster.apply()
    cluster.scale_and_wait(300)
    code, out, err = run(environment, "report.py")
    assert (code, err) == (0, "")
    assert "spv: 300 of 300 VMs\n  running: 300\n" in out
    assert sum(int(line.split()[-1]) for line in out.splitlines() if " in r" in line) == 300


def lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout
    yield from process.stdout


def test_the_repair_starts_what_is_stopped_and_ends_at_once_on_ctrl_c(
    cluster: SmallCluster, environment: dict[str, str]
) -> None:
    cluster.apply()
    cluster.scale_and_wait(50)
    stop = wire.ControlVmsRequest(fleet="spv", action=wire.ControlVmsRequest.ACTION_STOP)
    stop.indices.add(start=3, stop=7)
    with subprocess.Popen(
        [sys.executable, EXAMPLES / "repair_on_events.py", "spv"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            told = lines(process)
            assert next(told) == "following\n"
            cluster.stub.ControlVms(stop, timeout=CALL_SECONDS)
            assert next(told).startswith("started 4 VMs, change ")
            assert cluster.until_converged(50).powered_off == 0
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=10)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "", "")
