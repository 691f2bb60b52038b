"""Names completed in a shell: asked of the cluster, with a deadline, and never with a word of why
there are none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import grpc
import pytest

from fleet.transport import Refusal
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.name_completion import SECONDS, just_before
from tests.processes.controller_double import ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

HOSTS = [f"h{number:02}" for number in range(30)]
Complete = Callable[[str], list[str]]


def listed(request: cluster.ListHostsRequest) -> cluster.ListHostsResponse:
    """As a controller pages them, ten at most."""
    rest = [host for host in HOSTS if host > request.cursor]
    page = rest[: min(10, request.limit)]
    return cluster.ListHostsResponse(
        hosts=[cluster.HostSummary(id=host) for host in page],
        next_cursor=page[-1] if len(page) < len(rest) else "",
    )


def fleet(name: str, total: int) -> cluster.FleetSummary:
    image = types.Image(name="golden", snapshot="1")
    return cluster.FleetSummary(name=name, total=total, spec=types.FleetSpec(image=image))


@pytest.fixture
def complete(fleetctl: Fleetctl, controller: ControllerDouble) -> Complete:
    """Completes the last word of a line."""
    controller.on("ListHosts", listed)
    fleets = [fleet("spv", 250), fleet("web", 5)]
    controller.on("ListFleets", cluster.ListFleetsResponse(fleets=fleets))
    return lambda line: completed(fleetctl, line)


def completed(fleetctl: Fleetctl, line: str) -> list[str]:
    asked = {
        "_FLEETCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(line.count(" ")),
    }
    with mock.patch.dict(os.environ, asked):
        said = fleetctl.process()
    assert said.err == ""
    return [one.partition(",")[2] for one in said.out.split()]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("fleetctl hosts show h1", HOSTS[10:20]),
        ("fleetctl hosts cordon ", HOSTS),
        ("fleetctl hosts declare-lost h01 h2", HOSTS[20:]),
        ("fleetctl vms list --host h29", ["h29"]),
        ("fleetctl hosts show x", []),
        ("fleetctl scale ", ["spv", "web"]),
        ("fleetctl delete w", ["web"]),
        ("fleetctl events --fleet s", ["spv"]),
        ("fleetctl console w", [f"web-{n}" for n in range(5)]),
        ("fleetctl console spv-24", ["spv-24", *(f"spv-24{n}" for n in range(10))]),
        ("fleetctl console spv-25", ["spv-25"]),
        ("fleetctl console spv-0", ["spv-0"]),
        ("fleetctl vms show spv-999", []),
        ("fleetctl images delete g", ["golden@1"]),
        ("fleetctl top h1", HOSTS[10:20]),
        ("fleetctl wait --for host-live h2", HOSTS[20:]),
        ("fleetctl wait --for running ", ["spv", "web"]),
    ],
)
def test_names_are_completed(complete: Complete, line: str, names: list[str]) -> None:
    assert complete(line) == names


def test_of_thousands_of_hosts_only_those_that_may_be_meant_are_asked_for(
    complete: Complete, controller: ControllerDouble
) -> None:
    complete("fleetctl hosts show h15")
    (asked,) = controller.asked("ListHosts")
    assert asked.cursor == "h14\x7f" and "h14" < asked.cursor < "h15"
    assert just_before("") == ""


def test_a_host_among_thousands_is_completed_as_fast_as_a_process_can_begin(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    """In turns with a process that imports grpc and does nothing: what else this machine does
    strikes both. A loose bound; the bench measures it on a cluster."""
    many = [f"hollow-{number:05}" for number in range(1, 4481)]

    def pages(request: cluster.ListHostsRequest) -> cluster.ListHostsResponse:
        page = [host for host in many if host > request.cursor][: request.limit]
        return cluster.ListHostsResponse(hosts=[cluster.HostSummary(id=host) for host in page])

    controller.on("ListHosts", pages)
    plain, whole = [], []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", "import grpc"], check=True, timeout=60)
        plain.append(time.monotonic() - began)
        began = time.monotonic()
        assert completed(fleetctl, "fleetctl hosts show hollow-0044") == many[439:449]
        whole.append(time.monotonic() - began)
    assert min(whole) < 3 * min(plain) + 0.1


def test_contexts_are_those_of_this_machine(fleetctl: Fleetctl) -> None:
    folder = str(fleetctl.identity)
    for name in ("lab", "live"):
        said = fleetctl("contexts", "add", name, "--endpoint", "127.0.0.1:1", "--identity", folder)
        assert said.code == 0, said.err
    assert completed(fleetctl, "fleetctl contexts use li") == ["live"]
    assert completed(fleetctl, "fleetctl --context ") == ["lab", "live"]


def test_nothing_is_printed_where_nothing_answers(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    refusal = Refusal(grpc.StatusCode.PERMISSION_DENIED, "DENIED", "denied")
    controller.on("ListHosts", refusal)
    nobody = replace(fleetctl, endpoints=("127.0.0.1:1",))
    nowhere = replace(fleetctl, endpoints=())
    for one in (fleetctl, nobody, nowhere):
        assert completed(one, "fleetctl hosts show h") == []


def test_a_controller_that_says_nothing_is_waited_for_no_longer_than_the_deadline(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    def silent(_: object) -> cluster.ListHostsResponse:
        controller.watched.wait(30)
        return cluster.ListHostsResponse()

    controller.on("ListHosts", silent)
    began = time.monotonic()
    try:
        assert completed(fleetctl, "fleetctl hosts show h") == []
    finally:
        controller.watched.set()
    assert time.monotonic() - began < SECONDS + 10


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_is_answered_in_its_own_way(
    complete: Complete, fleetctl: Fleetctl, shell: str
) -> None:
    asked = {
        "_FLEETCTL_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": "fleetctl delete we",
        "COMP_CWORD": "we" if shell == "fish" else "2",
    }
    with mock.patch.dict(os.environ, asked):
        said = fleetctl.process()
    assert said.err == "" and "web" in said.out and "spv" not in said.out


PROGRAM = Path(sys.executable).with_name("fleetctl")
# What each shell runs for the last word of "fleetctl hosts show h2". Zsh's own builtins are of use
# only within its line editor: one stands in for them that prints what it is given.
SCRIPTS = {
    "bash": "source <(fleetctl completion bash); "
    "COMP_WORDS=(fleetctl hosts show h2); COMP_CWORD=3; "
    '_fleetctl_completion fleetctl; printf "%s\\n" "${COMPREPLY[@]}"',
    "zsh": 'compdef() { :; }; compadd() { print -l -- "${completions[@]}"; }; '
    "source <(fleetctl completion zsh); words=(fleetctl hosts show h2); CURRENT=4; "
    "_fleetctl_completion",
    "fish": 'fleetctl completion fish | source; complete -C "fleetctl hosts show h2"',
}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_completes_with_what_completion_prints(
    complete: Complete, fleetctl: Fleetctl, shell: str, tmp_path: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [shell, *(["-f"] if shell == "zsh" else []), "-c", SCRIPTS[shell]],
        env={**fleetctl.whole_environment, "PATH": path, "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout.split(), done.stderr) == (HOSTS[20:], "")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fleetctl vms --sel", ["--selector"]),
        ("fleetctl vms --state fai", ["failed"]),
        ("fleetctl hosts -o cs", ["csv"]),
        ("fleetctl vms re", ["reimage", "restart", "retry"]),
        ("fleetctl vms --fleet sp", ["spv"]),
        ("fleetctl rol", ["rollout"]),
    ],
)
def test_commands_options_and_their_values_are_completed(
    complete: Complete, line: str, words: list[str]
) -> None:
    assert sorted(complete(line)) == words
