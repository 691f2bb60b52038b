"""Agents that are brought to another release: controllers, agents and the command are processes.

The command stands for the package's: it lays the release in the agent's way and restarts the agent.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.processes.agent.agent_processes import RealAgent
from tests.processes.cluster.joining_cluster import JoiningCluster, joining_cluster
from tests.processes.daemons import eventually

SECONDS = 90.0
NEW = "0.2.0"
UNKNOWN = "9.9.9"
BEGIN = """#!/bin/sh
PYTHONPATH={folder}/release {python} -m fleet_agent.daemon.main \\
  --config {folder}/agent.toml {arguments} </dev/null >>{folder}/agent.log 2>&1 &
echo $! >{folder}/pid.new
mv {folder}/pid.new {folder}/pid
if [ -e {folder}/over ]; then kill -9 $!; fi
"""
UPGRADE = """#!/bin/sh
# One word, the release; and the repository has all but one.
[ $# = 1 ] || exit 2
echo "$1" >>{folder}/asked
if [ "$1" = {unknown} ]; then echo "E: Version '$1' was not found" >&2; exit 100; fi
rm -rf {folder}/release
mkdir -p "{folder}/release/megafleet-$1.dist-info"
printf 'Metadata-Version: 2.1\\nName: megafleet\\nVersion: %s\\n' "$1" \\
  >"{folder}/release/megafleet-$1.dist-info/METADATA"
old=$(cat {folder}/pid)
kill "$old"
while grep -q '^State:.[^Z]' "/proc/$old/status" 2>/dev/null; do sleep 0.05; done
exec sh {folder}/begin
"""


class Machine:
    """An agent that its own upgrade restarts: so it is known by a file with its pid."""

    def __init__(self, folder: Path, name: str, endpoints: str, rack: str, upgrades: bool) -> None:
        folder.mkdir()
        (folder / "storage").mkdir()
        self.name, self.folder = name, folder
        agent = RealAgent(folder, name, endpoints)
        arguments = [*agent.arguments(), "--label", f"rack={rack}", "--log-json"]
        quoted = " ".join(f"'{one}'" for one in arguments)
        fields = {"folder": folder, "python": sys.executable, "unknown": UNKNOWN}
        (folder / "begin").write_text(BEGIN.format(arguments=quoted, **fields))
        (folder / "upgrade").write_text(UPGRADE.format(**fields))
        (folder / "upgrade").chmod(0o755)
        command = f'upgrade_command = ["{folder}/upgrade"]\n' if upgrades else ""
        (folder / "agent.toml").write_text(command)

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    @property
    def asked(self) -> list[str]:
        said = self.folder / "asked"
        return said.read_text().split() if said.exists() else []

    def start(self) -> None:
        os.spawnlp(os.P_WAIT, "sh", "sh", str(self.folder / "begin"))

    def kill(self) -> None:
        """And what an upgrade under way would start ends at once."""
        (self.folder / "over").touch()
        with suppress(OSError, ValueError):
            os.kill(self.pid, signal.SIGKILL)


class Fleet:
    def __init__(self, around: JoiningCluster, machines: list[Machine]) -> None:
        self.around = around
        self.machines = machines

    def versions(self) -> dict[str, str]:
        said = self.around.fleetctl("hosts", "-o", "json")
        hosts = said.json["hosts"] if said.code == 0 else []
        return {one["host"]: one["agent_version"] for one in hosts if one["health"] == "live"}


@contextmanager
def running(folder: Path, racks: str, controllers: int = 1, without: int = 0) -> Iterator[Fleet]:
    """A host for each letter of `racks`. `without`: how many have no command."""
    with joining_cluster(folder, controllers) as around:
        endpoints = ",".join(one.address for one in around.controllers)
        machines = [
            Machine(folder / f"h{n}", f"h{n}", endpoints, rack, n + without < len(racks))
            for n, rack in enumerate(racks)
        ]
        try:
            for one in machines:
                one.start()
            made = Fleet(around, machines)
            eventually(lambda: len(made.versions()) == len(racks), "all are live", SECONDS)
            yield made
        finally:
            for one in machines:
                one.kill()


def test_agents_are_upgraded_in_waves_by_the_one_command_of_their_settings(tmp_path: Path) -> None:
    with running(tmp_path, "aab", without=1) as fleet:
        fleetctl = fleet.around.fleetctl
        plan = fleetctl("upgrade", "--plan", "--to", NEW)
        assert plan.code == 0, plan.err
        assert "2 hosts in 2 waves" in plan.out and "rack=a: 1 host (h0)" in plan.out
        assert "left out     1 host (h2): names no upgrade_command" in plan.out
        assert not any(one.asked for one in fleet.machines)
        said = fleetctl("upgrade", "--to", NEW, "--yes", "--timeout", "60")
        assert said.code == 0, said.err
        assert "to 0.2.0, done: 2 of 3 hosts have it, 1 left out" in said.out
        versions = fleet.versions()
        assert (versions["h0"], versions["h1"]) == (NEW, NEW) != (versions["h2"], NEW)
        assert [one.asked for one in fleet.machines] == [[NEW], [NEW], []]
        again = fleetctl("upgrade", "--to", NEW, "--yes")
        assert again.code == 1 and "no host can be upgraded" in again.told
        told = fleetctl("events", "-o", "json").json["events"]
        assert [one["kind"] for one in told].count("upgrade_wave") == 2


def test_it_halts_at_the_first_host_that_cannot_and_says_what_its_command_said(
    tmp_path: Path,
) -> None:
    with running(tmp_path, "ab") as fleet:
        fleetctl = fleet.around.fleetctl
        said = fleetctl("upgrade", "--to", UNKNOWN, "--yes", "--timeout", "60")
        assert said.code == 1
        assert "h0: " in said.told and "E: Version '9.9.9' was not found" in said.told
        assert [one.asked for one in fleet.machines] == [[UNKNOWN], []]
        shown = fleetctl("status", "-o", "json").json["upgrade"]
        assert (shown["state"], shown["to_go"]) == ("halted", 1)
        assert (
            "upgrade      to 9.9.9, halted: 0 of 2 hosts have it, 1 failed"
            in fleetctl("status").out
        )
        assert "failed       h0: " in fleetctl("upgrade", "status").out
        refused = fleetctl("upgrade", "--to", NEW, "--yes")
        assert refused.code == 1 and "'fleetctl upgrade cancel'" in refused.told
        assert fleetctl("upgrade", "cancel").code == 0
        said = fleetctl("upgrade", "--to", NEW, "--yes", "--timeout", "60")
        assert said.code == 0, said.err
        assert set(fleet.versions().values()) == {NEW}


def test_the_next_leader_goes_on_and_no_host_is_upgraded_twice(tmp_path: Path) -> None:
    with running(tmp_path, "abc", controllers=2) as fleet:
        fleetctl = fleet.around.fleetctl
        assert fleetctl("upgrade", "--to", NEW, "--yes", "--no-wait").code == 0
        eventually(lambda: fleet.machines[0].asked, "the first host is told", SECONDS)
        fleet.around.leader().kill()
        eventually(lambda: set(fleet.versions().values()) == {NEW}, "all have it", SECONDS)
        shown = ("upgrade", "status", "-o", "json")
        eventually(lambda: fleetctl(*shown).json["state"] == "done", "it is done", SECONDS)
        assert len(fleet.machines[1].asked) == len(fleet.machines[2].asked) == 1


def test_ctrl_c_ends_the_watching_and_not_the_upgrade(tmp_path: Path) -> None:
    with running(tmp_path, "ab") as fleet:
        with fleet.around.fleetctl.start("upgrade", "--to", NEW, "--yes") as watching:
            eventually(lambda: fleet.machines[0].asked, "the first host is told", SECONDS)
            watching.send_signal(signal.SIGINT)
            _, errors = watching.communicate(timeout=SECONDS)
        assert watching.returncode == 3 and "the upgrade goes on" in errors, errors
        eventually(lambda: set(fleet.versions().values()) == {NEW}, "all have it", SECONDS)


def test_nothing_but_a_release_can_be_asked_for(tmp_path: Path) -> None:
    with joining_cluster(tmp_path) as around:
        for version in ("0.2 x", "-o", "0.2;id", "../0.2", "latest"):
            said = around.fleetctl("upgrade", "--plan", f"--to={version}")
            assert said.code != 0 and "is not a release" in said.told
