"""Real domUs from real clones on the lab's Xen dom0, asked for through fleetctl and checked over
ssh with the dom0's own tools. `make lab-test` starts the lab and runs this."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab import CONVERGED_SECONDS, POOL, RESTARTED_SECONDS, SAMPLES, Lab, until

pytestmark = pytest.mark.lab

SAMPLE = SAMPLES / "lab-tiny.yaml"
FLEET = "lab"  # as the sample names it


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(FLEET).without_fleet() as lab:
        yield lab


def test_eight_domus_boot_from_eight_clones_and_scaling_down_leaves_three_untouched(
    lab: Lab,
) -> None:
    lab.fleetctl("apply", "-f", str(SAMPLE))
    lab.scale(8)

    vms = lab.fleetctl("vms", "list", "--fleet", FLEET)["vms"]
    assert {(vm["name"], vm["state"], vm["host"]) for vm in vms} == {
        (name, "running", "dom0") for name in lab.names(*range(8))
    }
    domains = lab.domains()
    assert set(domains) == lab.names(*range(8))
    assert lab.clones() == dict.fromkeys(lab.names(*range(8)), f"{POOL}/golden@1")
    for index in range(8):
        said = f"megafleet: ready name={FLEET}-{index} index={index}"
        assert said in lab.console(f"{FLEET}-{index}").text

    kept = {name: lab.console(name) for name in lab.names(0, 1, 2)}
    lab.scale(3)

    assert lab.domains() == {name: domains[name] for name in lab.names(0, 1, 2)}
    assert lab.defined() == lab.names(0, 1, 2)
    assert set(lab.clones()) == lab.names(0, 1, 2)
    assert {name: lab.console(name) for name in kept} == kept
    status = lab.fleetctl("status", FLEET)
    assert (status["total"], status["placed"], status["states"]["running"]) == (3, 3, 3)


def test_a_killed_agent_adopts_what_runs(lab: Lab) -> None:
    lab.fleetctl("apply", "-f", str(SAMPLE))
    lab.scale(2)
    domains = lab.domains()
    killed = lab.agent()

    lab.ssh("systemctl kill -s KILL fleet-agent")
    until(lambda: lab.agent() not in (killed, ""), RESTARTED_SECONDS)
    until(lambda: lab.fleetctl("status")["hosts"]["live"] == 1, RESTARTED_SECONDS)
    lab.scale(3)

    assert {name: lab.domains()[name] for name in lab.names(0, 1)} == domains
    assert set(lab.clones()) == lab.names(0, 1, 2)


def test_a_guest_that_never_says_so_does_not_count_as_running(lab: Lab, tmp_path: Path) -> None:
    silent = tmp_path / "silent.yaml"
    text = SAMPLE.read_text()
    silent.write_text(text.replace("megafleet: ready", "never said").replace("2m", "5s"))
    assert silent.read_text() != text
    lab.fleetctl("apply", "-f", str(silent))
    lab.fleetctl("scale", FLEET, "--total", "1", "--no-wait")

    def reasons() -> list[Any]:
        return list(lab.fleetctl("status", FLEET)["problems"])

    until(reasons, CONVERGED_SECONDS)
    (problem,) = reasons()
    assert (problem["kind"], problem["count"]) == ("not_ready", 1)
    assert f"megafleet: ready name={FLEET}-0 index=0" in problem["example"]
    assert lab.fleetctl("status", FLEET)["states"]["running"] == 0
