"""What fleetctl status and a line of watch show of a cluster."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.commands.screens.watch import line_of
from tests.processes.controller_double import ControllerDouble, status
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]


def test_status_as_text(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    answer = status(total=1_000_000, running=998_000, unplaced=796, failed=1204)
    answer.fleets[0].problems.add(kind="no_memory", count=1204, hosts=9, example="h1: no memory")
    answer.fleets[0].unplaced_reasons.add(
        reason="capacity", count=796, hosts_needed=4, message="796 VMs fit nowhere: 4 hosts full"
    )
    controller.on("Status", answer)
    said = fleetctl("status", "spv")
    assert said.code == 0
    assert said.out == (
        "spv  1,000,000 VMs wanted  converging\n"
        "\n"
        "  pending  cloning  defined  booting  running  stopping  failed  unknown\n"
        "        0        0        0        0  998,000         0   1,204        0\n"
        "\n"
        "  placed       999,204 on 4 hosts, 796 unplaced\n"
        "  generation   1\n"
        "\n"
        "  796 VMs fit nowhere: 4 hosts full\n"
        "\n"
        "  PROBLEM      VMS  HOSTS  EXAMPLE\n"
        "  no_memory  1,204      9  h1: no memory\n"
        "\n"
        "hosts          4 live  0 unreachable  0 suspect  0 lost  0 cordoned\n"
        "  converged    4 of 4 live\n"
        "  oldest news  1.5 s ago\n"
    )


def test_status_of_a_new_leader_says_what_it_does_not_know_yet(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = status()
    answer.settling.CopyFrom(
        cluster.SettlingStatus(replica="controller-2", seconds=1.23, heard=310, hosts=448)
    )
    controller.on("Status", answer)
    assert fleetctl("status").out.startswith(
        "controller-2 has led for 1.2 s and heard 310 of 448 hosts; VMs of the others are shown "
        "as unknown until it has, and go on\n\nspv  1,000 VMs wanted"
    )
    assert fleetctl("status", "-o", "json").json["settling"] == {
        "controller": "controller-2", "seconds": 1.23, "heard": 310, "hosts": 448
    }  # fmt: skip


def test_status_says_how_far_drains_are_and_what_keeps_them(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = status()
    answer.more_drains = 11
    answer.drains.add(
        host="h1",
        progress=cluster.DrainProgress(
            left=9, moving=5, releasing=2, unplaced=4, message="4 VMs fit nowhere: \x1b[2J"
        ),
    )
    controller.on("Status", answer)
    said = fleetctl("status").out
    assert (
        "  drain        h1: 9 left, 5 of them moving, 2 of those to be let go here; "
        "4 VMs fit nowhere: \\x1b[2J\n"
        "  drain        11 more hosts: 'fleetctl hosts list --draining'\n"
    ) in said
    told = fleetctl("status", "-o", "json").json
    assert told["more_drains"] == 11
    assert told["drains"] == [
        {
            "host": "h1", "left": 9, "moving": 5, "releasing": 2, "unplaced": 4,
            "message": "4 VMs fit nowhere: \x1b[2J",
        }
    ]  # fmt: skip


def test_status_as_json_has_all_that_scripts_may_rely_on(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = status(total=1000, running=996, failed=4)
    answer.fleets[0].problems.add(kind="no_memory", count=4, hosts=1, example="h1: no memory")
    controller.on("Status", answer)
    told = fleetctl("status", "-o", "json").json
    assert (told["fleet"], told["total"], told["placed"], told["unplaced"]) == (
        "spv",
        1000,
        1000,
        0,
    )
    assert told["states"] == {
        "pending": 0, "cloning": 0, "defined": 0, "booting": 0, "running": 996, "stopping": 0,
        "failed": 4, "unknown": 0,
    }  # fmt: skip
    assert told["hosts"] == {
        "live": 4, "unreachable": 0, "suspect": 0, "lost": 0, "cordoned": 0, "converged": 4,
        "draining": 0, "quarantined": 0, "cut_off": 0, "distrusted": 0, "orders_refused": 0,
        "misbehaving": 0, "awaiting_approval": 0, "expelled": 0, "total": 4,
    }  # fmt: skip
    assert told["oldest_report_seconds"] == 1.5
    problem = {"kind": "no_memory", "count": 4, "hosts": 1, "example": "h1: no memory"}
    assert told["problems"] == [problem | {"fleet": "spv", "lasting": False}]
    assert told["converged"] is False and told["releasing"] == 0 and told["generation"] == 1


def test_status_of_several_fleets_adds_them_up(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = status(total=10, running=10)
    answer.fleets.add(fleet="web", total=5, placed=5, states=[0, 5])
    controller.on("Status", answer)
    told = fleetctl("status", "-o", "json").json
    assert told["fleet"] is None and told["generation"] is None
    assert told["total"] == 15 and told["states"]["running"] == 10
    assert told["states"]["pending"] == 5 and told["converged"] is False
    assert [one["fleet"] for one in told["fleets"]] == ["spv", "web"]


def test_a_state_from_the_future_counts_as_unknown(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = status(total=10, running=7)
    answer.fleets[0].states.extend([0, 3])
    controller.on("Status", answer)
    assert fleetctl("status", "-o", "json").json["states"]["unknown"] == 3


def test_status_without_fleets(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("Status", cluster.StatusResponse(durable=False))
    said = fleetctl("status")
    assert said.out.startswith("No fleets. Make one with 'fleetctl apply -f FILE'.")
    assert "in memory, not durable" in said.out
    assert fleetctl("status", "-o", "json").json["fleets"] == []


def test_status_says_above_all_that_changes_are_frozen(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = status()
    answer.freeze.reason, answer.freeze.hosts_ahead = "the store is older", 4
    controller.on("Status", answer)
    lines = fleetctl("status").out.splitlines()
    assert lines[0] == "changes are frozen; VMs go on as they are"
    assert lines[1].split(None, 1)[1] == "the store is older" and "recover --plan" in lines[3]
    assert "frozen" in lines[5] and "converged" not in lines[5]
    assert fleetctl("status", "-o", "json").json["freeze"]["hosts_ahead"] == 4
    controller.on("Status", status())
    assert fleetctl("status", "-o", "json").json["freeze"] is None


def test_a_line_of_watch_says_what_is_away() -> None:
    answer = status()
    assert line_of(answer).endswith(f"{answer.hosts.live} ready")
    answer.hosts.suspect, answer.hosts.lost = 10, 1
    answer.breaker.reason = "too many"
    assert line_of(answer).endswith(" ready, 10 not heard, 1 lost; breaker open")


def test_a_template_that_no_vm_has_yet_is_not_shown_as_what_they_run(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    seen = status(running=1000)
    seen.fleets[0].generation = 2
    controller.on("Status", seen)
    assert "generation   2 is current  (1: 1,000 VMs)\n" in fleetctl("status").out
