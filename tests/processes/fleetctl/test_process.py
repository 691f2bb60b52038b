"""fleetctl as a process: its version, its exit codes, and what it says where it cannot go on."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import ExitCode
from tests.processes.controller_double import ControllerDouble, status, vm_rows
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]


@pytest.mark.parametrize(
    "typed",
    [["vms", "--index", "9-1"], ["vms", "--index", "x"], ["vms", "--index", "99999999"],
     ["vms", "--state", "dead"], ["vms", "--limit", "0"], ["vms", "show", "a/b-1"],
     ["vms", "show", "web-1", "--fleet", "spv"], ["vms", "show", "--", "-1"], ["vms", "nope"],
     ["hosts", "--label", "rack"], ["status", "../x"], ["status", "a", "b"], ["nope"],
     ["scale"], ["scale", "--total"], ["--nope"], ["apply"], ["delete"], ["completion", "tcsh"],
     ["status", "--request-timeout", "0"], ["status", "--endpoint", "nowhere"],
     ["status", "--endpoint", "h:99999"], ["contexts", "use", "x"], ["contexts", "show", "x"]],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_meant_is_exit_code_2_and_one_sentence(
    fleetctl: Fleetctl, controller: ControllerDouble, typed: list[str]
) -> None:
    said = fleetctl(*typed)
    assert said.code == 2 and said.out == ""
    assert said.err.startswith("fleetctl: ") and said.err.count("\n") == 1
    assert not controller.requests


def test_version_shows_both_sides(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    answer = cluster.VersionResponse(
        version="0.9", replica="c1", leader=True, store="etcd 3.5.16", durable=True
    )
    controller.on("Version", answer)
    said = fleetctl("version")
    assert "controller  0.9  (replica c1, leads)\nstore       etcd 3.5.16\n" in said.out
    assert fleetctl("version", "-o", "json").json["controller"]["replica"] == "c1"
    assert fleetctl("version", "--client", "-o", "json").json["controller"] is None


def test_version_shows_its_own_also_when_nobody_answers(tmp_path: Path) -> None:
    said = Fleetctl(tmp_path)("version")
    assert said.code == 4 and said.out.startswith("fleetctl    ")
    assert said.err.startswith("fleetctl: no cluster is named")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(fleetctl: Fleetctl, shell: str) -> None:
    said = fleetctl("completion", shell)
    assert said.code == 0 and "_FLEETCTL_COMPLETE" in said.out


def test_a_process_of_its_own_says_the_same(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Status", status())
    for arguments in (["status"], ["status", "-o", "json"], ["status", "a/b"], ["--help"], []):
        assert fleetctl.process(*arguments) == fleetctl(*arguments)


def test_a_reader_that_has_had_enough_is_no_error(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListVms", vm_rows(*range(10_000), cursor="next", matching=10**6))
    with fleetctl.start("vms", "--all") as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(timeout=30)
    assert process.returncode == 0


def test_a_full_disk_is_told(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ListVms", vm_rows(*range(10_000)))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            fleetctl.arguments("vms", "--limit", "10000"),
            env=fleetctl.whole_environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    assert done.returncode == ExitCode.OUTPUT_LOST
    assert done.stderr == "fleetctl: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("closing", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_closed_stream_neither_undoes_nor_hides_a_change(
    fleetctl: Fleetctl, controller: ControllerDouble, closing: str
) -> None:
    controller.on("DeclareLost", cluster.DeclareLostResponse())
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closing}', "sh",
         *fleetctl.arguments("hosts", "declare-lost", "h1", "--undo")],
        env=fleetctl.whole_environment, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert len(controller.asked("DeclareLost")) == 1
    assert bool(done.stdout) is (">&-" not in closing.replace("2>&-", ""))


def test_a_change_whose_result_cannot_be_told_is_told_apart_from_one_that_failed(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("DeclareLost", cluster.DeclareLostResponse())
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            fleetctl.arguments("hosts", "declare-lost", "h1", "--undo"),
            env=fleetctl.whole_environment, stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=30,
        )  # fmt: skip
    assert done.returncode == ExitCode.OUTPUT_LOST
    assert len(controller.asked("DeclareLost")) == 1


@pytest.mark.parametrize("group", ["hosts", "vms", "images", "rollout", "contexts", "certs"])
def test_a_shell_is_told_the_commands_of_each_group(fleetctl: Fleetctl, group: str) -> None:
    words = {"COMP_WORDS": f"fleetctl {group} ", "COMP_CWORD": "2"}
    asked = {**fleetctl.whole_environment, **words, "_FLEETCTL_COMPLETE": "bash_complete"}
    said = subprocess.run(
        fleetctl.arguments(), env=asked, capture_output=True, text=True, timeout=30
    )
    assert len(said.stdout.splitlines()) > 1 and said.stdout.startswith("plain,")


def test_a_number_that_is_none_is_called_so(fleetctl: Fleetctl) -> None:
    said = fleetctl("events", "--after", "abc")
    assert said.code == 2 and "'abc' is not a whole number (see 'fleetctl events" in said.err
    said = fleetctl("backup", "-")
    assert said.code == 2 and "a file of its own" in said.err


def test_completion_without_a_shell_says_which_there_are(fleetctl: Fleetctl) -> None:
    said = fleetctl("completion")
    assert said.code == 2
    assert "Choose from: bash, zsh, fish" in said.err and "\\t" not in said.err


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["hots"], "No such command 'hots'. Did you mean 'hosts'?"),
        (["vms", "lsit"], "No such command 'lsit'. Did you mean 'list'?"),
        (["vms", "--stat", "x"], "No such option '--stat'. Did you mean '--state'?"),
        (["vms", "--nothing-like-it"], "No such option '--nothing-like-it'. (see"),
        (["zzz"], "No such command 'zzz'. (see"),
    ],
)
def test_only_what_fits_is_offered_for_what_is_not_there(
    fleetctl: Fleetctl, typed: list[str], says: str
) -> None:
    said = fleetctl(*typed)
    assert said.code == 2 and said.err.startswith(f"fleetctl: {says}")


def test_the_version_is_told_without_a_cluster(tmp_path: Path) -> None:
    said = Fleetctl(tmp_path)("--version")
    assert said.code == 0 and re.fullmatch(r"fleetctl [0-9.]+\n", said.out)


def test_a_group_with_a_default_lists_or_shows_by_itself(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    assert fleetctl("contexts").out.startswith("No contexts in ")
    controller.on("Status", status())
    assert fleetctl("breaker").code == 0 and controller.asked("Status")


def test_colours_are_asked_for_or_refused(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ListVms", vm_rows(1))
    assert "\x1b[32mrunning" in fleetctl("vms", "--color", "always").out
    assert "\x1b" not in fleetctl("--color", "never", "vms").out + fleetctl("vms").out


def test_where_the_command_line_is_not_installed_one_sentence_says_so() -> None:
    """As in an agent's environment: it has no click."""
    code = (
        "import sys\n"
        "sys.modules['click'] = None\n"
        "from fleetctl.entry import main\n"
        "main()\n"
    )  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("fleetctl: click is not installed in ")
    assert "install 'megafleet[cli]'" in done.stderr
