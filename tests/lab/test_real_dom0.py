"""Real domUs from real clones on the lab's Xen dom0, asked for through fleetctl and checked over
ssh with the dom0's own tools. `make lab-test` starts the lab and runs this."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab

CHECKOUT = Path(__file__).resolve().parents[2]
SAMPLE = CHECKOUT / "deploy" / "samples" / "lab-tiny.yaml"
FLEET = "lab"  # as the sample names it
POOL = "tank"
# Emulated, on a machine that may be busy with much else: a start was seen to take 1 to 20 s.
CONVERGED_SECONDS = 1200
RESTARTED_SECONDS = 600


@dataclass(frozen=True)
class Console:
    """What one guest's console log holds, and which file it is."""

    inode: int
    text: str


class Lab:
    """The cluster as fleetctl shows it, and the dom0 as its own tools do."""

    def fleetctl(self, *arguments: str, seconds: float = 120) -> Any:
        """The JSON that a command printed."""
        fleetctl = str(CHECKOUT / ".venv" / "bin" / "fleetctl")
        command = [fleetctl, "--context", "lab", "-o", "json", *arguments]
        return json.loads(_output(command, seconds))

    def scale(self, total: int) -> None:
        wait = ("--timeout", str(CONVERGED_SECONDS))
        self.fleetctl("scale", FLEET, "--total", str(total), *wait, seconds=CONVERGED_SECONDS + 60)

    def delete(self) -> None:
        """Delete the fleet, if there is one, and wait until its host has released all of it."""
        for fleet in self.fleets():
            if not fleet["deleting"]:
                self.fleetctl("delete", FLEET, "--yes")
        until(lambda: not self.fleets(), CONVERGED_SECONDS)

    def fleets(self) -> list[Any]:
        fleets = self.fleetctl("fleets")["fleets"]
        return [fleet for fleet in fleets if fleet["fleet"] == FLEET]

    def ssh(self, command: str) -> str:
        program = str(CHECKOUT / "deploy" / "lab" / "lab.py")
        return _output(["python3", program, "ssh", command], 120)

    def domains(self) -> dict[str, int]:
        """Domain ids by name, of all that run but the dom0."""
        rows = [line.split() for line in self.ssh("xl list").splitlines()[1:]]
        return {row[0]: int(row[1]) for row in rows if row[0] != "Domain-0"}

    def defined(self) -> set[str]:
        names = self.ssh("virsh -q -c xen:///system list --all --name").split()
        return set(names) - {"Domain-0"}

    def clones(self) -> dict[str, str]:
        """Origins of the pool's clones by name."""
        listing = self.ssh(f"zfs list -H -d 1 -t volume -o name,origin {POOL}")
        rows = [line.split("\t") for line in listing.splitlines()]
        return {name.removeprefix(f"{POOL}/"): origin for name, origin in rows if origin != "-"}

    def agent(self) -> str:
        """The process of the agent, once it serves; empty meanwhile."""
        asked = "systemctl is-active fleet-agent; systemctl show -P MainPID fleet-agent"
        state, pid = self.ssh(asked).split()
        return pid if state == "active" else ""

    def console(self, name: str) -> Console:
        log = f"/var/log/xen/console/guest-{name}.log"
        inode, _, text = self.ssh(f"stat -c %i {log} && cat {log}").partition("\n")
        return Console(int(inode), text)


def _output(command: list[str], seconds: float) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    said = f"{command} ended with {done.returncode}: {done.stderr}{done.stdout}"
    assert done.returncode == 0, said
    return done.stdout


def until(holds: Callable[[], object], seconds: float) -> None:
    """Ask again until it holds; what is asked here, nothing announces."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(1)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab without the fleet, before and after."""
    lab = Lab()
    lab.delete()
    yield lab
    lab.delete()


def names(*indices: int) -> set[str]:
    return {f"{FLEET}-{index}" for index in indices}


def test_eight_domus_boot_from_eight_clones_and_scaling_down_leaves_three_untouched(
    lab: Lab,
) -> None:
    lab.fleetctl("apply", "-f", str(SAMPLE))
    lab.scale(8)

    vms = lab.fleetctl("vms", "list", "--fleet", FLEET)["vms"]
    assert {(vm["name"], vm["state"], vm["host"]) for vm in vms} == {
        (name, "running", "dom0") for name in names(*range(8))
    }
    domains = lab.domains()
    assert set(domains) == names(*range(8))
    assert lab.clones() == dict.fromkeys(names(*range(8)), f"{POOL}/golden@1")
    for index in range(8):
        said = f"megafleet: ready name={FLEET}-{index} index={index}"
        assert said in lab.console(f"{FLEET}-{index}").text

    kept = {name: lab.console(name) for name in names(0, 1, 2)}
    lab.scale(3)

    assert lab.domains() == {name: domains[name] for name in names(0, 1, 2)}
    assert lab.defined() == names(0, 1, 2)
    assert set(lab.clones()) == names(0, 1, 2)
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

    assert {name: lab.domains()[name] for name in names(0, 1)} == domains
    assert set(lab.clones()) == names(0, 1, 2)


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
