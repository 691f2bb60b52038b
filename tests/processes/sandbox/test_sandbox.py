"""Real small sandboxes: brought up, damaged, repaired, taken down."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fleetctl.sandbox.processes.process import MARK, find, stop
from fleetctl.sandbox.state.folder import Folder

FLEETCTL = Path(sys.executable).with_name("fleetctl")
ENV = "/usr/bin/env"
DEADLINE = 120.0


@dataclass(frozen=True)
class Home:
    """A user's state folder and configuration of their own."""

    environment: dict[str, str]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # Whoever runs tests in the background has them ignore Ctrl-C.
            [ENV, "--default-signal=INT", FLEETCTL, "sandbox", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What the command said on stdout and on stderr."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=DEADLINE)
        assert process.returncode == code, err
        return out, err

    def status(self, name: str = "sandbox") -> dict[str, Any]:
        out, _ = self.run("status", "--name", name, "-o", "json")
        found: dict[str, Any] = json.loads(out)
        return found

    def pids(self, name: str = "sandbox") -> dict[str, int | None]:
        return {one["name"]: one["pid"] for one in self.status(name)["processes"]}

    def folder(self, name: str = "sandbox") -> Folder:
        return Folder.of(name, self.environment)

    def processes(self) -> list[str]:
        """Parts of any sandbox of this home that run."""
        lies_here = self.environment["XDG_STATE_HOME"].encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                environment = (entry / "environ").read_bytes() if entry.name.isdigit() else b""
            except OSError:
                continue  # ended meanwhile, or another user's
            if MARK.encode() + b"=" in environment and lies_here in environment:
                found.append(entry.name)
        return found


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    environment = dict(os.environ)
    for name in ("MEGAFLEET_CONTEXT", "MEGAFLEET_ENDPOINTS", "MEGAFLEET_IDENTITY"):
        environment.pop(name, None)
    environment |= {
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "MEGAFLEET_CONFIG": str(tmp_path / "config.toml"),
    }
    home = Home(environment)
    yield home
    for file in (tmp_path / "state").glob("megafleet/sandbox/*/sandbox.json"):
        stop(find(json.loads(file.read_text())["id"]), grace=1.0)
    assert home.processes() == []


def without_etcd(home: Home, tmp_path: Path) -> Home:
    """A PATH on which everything is but etcd."""
    shadow = tmp_path / "bin"
    shadow.mkdir()
    return Home(home.environment | {"PATH": str(shadow)})


def kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} never appeared"
        time.sleep(0.01)


def test_up_restarts_what_has_died_and_nothing_else_and_down_leaves_nothing(home: Home) -> None:
    home.run("up", "--hosts", "8", "--per-host", "10")
    first = home.status()
    before = {one["name"]: one["pid"] for one in first["processes"]}
    assert (first["state"], first["hosts"]["live"], first["durable"]) == ("up", 8, True)
    assert [one["name"] for one in first["processes"] if one["leader"]] == ["controller-1"]
    assert [one["hosts"] for one in first["processes"] if one["kind"] == "hollow"] == [4, 4]

    home.run("up")
    assert home.pids() == before

    kill(before["controller-1"])
    kill(before["hollow-2"])
    assert home.status()["state"] == "degraded"
    home.run("up")
    after = home.pids()
    same = {name for name in before if after[name] == before[name]}
    assert same == {"etcd-1", "hollow-1"}
    assert home.status()["hosts"]["live"] == 8

    _, said = home.run("up", "--hosts", "9", code=2)
    assert "was made with --hosts 8, which cannot become 9" in said

    home.run("down")
    assert home.processes() == []
    assert not Path(home.environment["XDG_STATE_HOME"], "megafleet").exists()
    assert "contexts" not in Path(home.environment["MEGAFLEET_CONFIG"]).read_text()


def test_a_member_of_etcd_whose_folder_is_gone_is_taken_in_anew_by_the_others(home: Home) -> None:
    home.run("up", "--hosts", "2", "--per-host", "10", "--etcd", "3")
    kill(home.pids()["etcd-3"])
    shutil.rmtree(home.folder().state_of("etcd-3"))
    said = "".join(home.run("up"))
    assert "the data of etcd-3 is gone: it is taken in anew by the others" in said
    assert home.status()["hosts"]["live"] == 2
    kill(home.pids()["etcd-1"])
    home.run("up")
    for name in ("etcd-1", "etcd-2"):
        kill(home.pids()[name])
        shutil.rmtree(home.folder().state_of(name))
    _, said = home.run("up", code=1)
    assert "the data of etcd-1, etcd-2 is gone, and what is left of etcd is no quorum" in said


def test_replicas_are_brought_up_repaired_and_taken_down_together(home: Home) -> None:
    home.run("up", "--hosts", "4", "--per-host", "10", "--controllers", "3", "--etcd", "3")
    first = home.status()
    before = {one["name"]: one["pid"] for one in first["processes"]}
    assert (first["state"], first["hosts"]["live"], len(first["endpoints"])) == ("up", 4, 3)
    names = [one["name"] for one in first["processes"] if one["kind"] != "hollow"]
    assert names == [f"{kind}-{n}" for kind in ("etcd", "controller") for n in (1, 2, 3)]
    leaders = [one["name"] for one in first["processes"] if one["leader"]]
    assert len(leaders) == 1
    context = Path(home.environment["MEGAFLEET_CONFIG"]).read_text()
    assert all(endpoint in context for endpoint in first["endpoints"])

    for name in (leaders[0], "etcd-2"):
        kill(before[name])
    home.run("up")
    after = home.pids()
    assert {name for name in before if after[name] != before[name]} == {leaders[0], "etcd-2"}
    assert home.status()["hosts"]["live"] == 4

    _, said = home.run("up", "--controllers", "1", code=2)
    assert "was made with --controllers 3, which cannot become 1" in said
    home.run("down")
    assert home.processes() == []
    _, said = home.run("up", "--store", "memory", "--controllers", "3", code=1)
    assert "a store in memory is in one controller alone" in said


def test_a_part_that_a_signal_holds_is_not_said_to_run(home: Home) -> None:
    home.run("up", "--hosts", "1", "--store", "memory")
    leader = home.pids()["controller-1"]
    assert leader is not None
    os.kill(leader, signal.SIGSTOP)
    try:
        said = home.status()
        told, _ = home.run("status")
    finally:
        home.run("up")
    assert said["state"] == "degraded" and said["hosts"]["live"] is None
    assert [one["name"] for one in said["processes"] if one["stopped"]] == ["controller-1"]
    assert "stopped by a signal" in told and "no controller leads" in told
    assert home.status()["state"] == "up" and home.pids()["controller-1"] == leader
    home.run("down")


def test_two_sandboxes_do_not_disturb_each_other(home: Home) -> None:
    home.run("up", "--name", "one", "--hosts", "1", "--store", "memory")
    home.run("up", "--name", "two", "--hosts", "1", "--store", "memory")
    two = home.pids("two")
    for pid in home.pids("one").values():
        kill(pid)
    assert home.status("one")["state"] == "down"
    # What is left of a crashed sandbox binds nobody: other settings start it anew.
    home.run("up", "--name", "one", "--hosts", "1", "--store", "memory", "--per-host", "7")
    assert home.status("one")["per_host"] == 7
    home.run("down", "--name", "one")
    assert home.pids("two") == two
    assert home.status("two")["hosts"]["live"] == 1
    home.run("down", "--name", "two")


def test_without_etcd_the_store_is_memory_and_its_hosts_start_afresh_with_it(
    home: Home, tmp_path: Path
) -> None:
    bare = without_etcd(home, tmp_path)
    _, said = bare.run("up", "--hosts", "1", "--store", "etcd", code=1)
    assert "etcd is not installed" in said
    _, said = bare.run("up", "--hosts", "1")
    assert "the store is in memory and not durable: etcd is not installed" in said
    found = bare.status()
    assert (found["durable"], found["store"]) == (False, "memory (not durable)")
    before = bare.pids()
    kill(before["controller-1"])
    bare.run("up")
    after = bare.pids()
    assert not set(before.values()) & set(after.values())
    bare.run("down")


def test_what_was_kept_or_has_crashed_is_continued_by_the_next_up(home: Home) -> None:
    home.run("up", "--hosts", "1")
    first = home.status()
    certificate = home.folder().certificates / "ca.pem"
    before = certificate.read_bytes()
    home.run("down", "--keep")
    assert home.status()["state"] == "down"
    with socket.create_server(("127.0.0.1", int(first["endpoints"][0].rpartition(":")[2]))):
        home.run("up")
        assert home.status()["endpoints"] != first["endpoints"]
    for pid in home.pids().values():
        kill(pid)
    home.run("up")
    assert certificate.read_bytes() == before
    home.run("down")


def test_an_interrupted_up_leaves_nothing(home: Home) -> None:
    # So many that they are not all there by the time this process is given a turn.
    with home.start("up", "--hosts", "2000") as process:
        wait_for(home.folder().log_of("controller-1"))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
    assert process.returncode == 130
    assert home.processes() == []
    assert not home.folder().path.exists()


def test_an_up_that_was_killed_is_completed_by_the_next(home: Home) -> None:
    with home.start("up", "--hosts", "1", "--store", "memory") as process:
        wait_for(home.folder().log_of("controller-1"))
        process.kill()
        process.communicate(timeout=DEADLINE)
    home.run("up", "--hosts", "1", "--store", "memory")
    assert home.status()["state"] == "up"
    home.run("down")


def test_one_fleetctl_at_a_time_works_on_a_sandbox(home: Home) -> None:
    with home.folder().locked():
        _, said = home.run("up", "--hosts", "1", code=1)
    assert "another fleetctl is working on sandbox 'sandbox'" in said
    _, said = home.run("up", "--profile", "fast", code=2)
    assert "neither 'instant' nor 'dom0', nor a file" in said
    _, said = home.run("status", code=1)
    assert "there is no sandbox 'sandbox'" in said
    out, _ = home.run("down")
    assert "there is no sandbox" in out


def test_the_demo_scales_shows_and_leaves_nothing(home: Home) -> None:
    out, said = home.run("demo", "--hosts", "4", "--per-host", "10", "--total", "33")
    assert "33 VMs running" in out
    assert "To try next" in out
    assert "scale --total 33" in said
    assert home.processes() == []
    assert not home.folder("demo").path.exists()


def test_a_sandbox_is_set_back_to_a_backup_while_its_hosts_go_on(
    home: Home, tmp_path: Path
) -> None:
    def fleetctl(*arguments: str) -> Any:
        said = subprocess.run(
            [FLEETCTL, *arguments], env=home.environment, capture_output=True, text=True, check=True
        )
        return json.loads(said.stdout) if "json" in arguments else said.stdout

    home.run("up", "--hosts", "4", "--per-host", "10", "--store", "etcd")
    fleetctl("apply", "-f", str(Path(__file__).parents[3] / "deploy/samples/spv.yaml"))
    fleetctl("scale", "--total", "10")
    backup = tmp_path / "store.db"
    fleetctl("backup", str(backup))
    fleetctl("scale", "--total", "20")
    before = home.pids()
    home.run("restore", str(backup))
    after = home.pids()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {name for name in before if not name.startswith("hollow")}
    assert fleetctl("status", "-o", "json")["freeze"]
    fleetctl("recover", "--adopt", "--total", "spv=20", "--yes")
    fleetctl("scale", "--total", "20")
    _, err = home.run("restore", str(backup), "--name", "other", code=1)
    assert "there is no sandbox 'other'" in err
    home.run("down")
