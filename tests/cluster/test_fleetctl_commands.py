"""What each command asks of the controller, prints, and ends with."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from fleet.identity import Fleet
from fleet.transport import Refusal, Role
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.commands.watch import line_of
from fleetctl.outcome import ExitCode
from tests.certificates import issue
from tests.cluster.controller_double import ControllerDouble, status
from tests.cluster.fleetctl_process import Fleetctl

UID = "6a0c9d5e-0f3b-4c55-9f7e-52c2d5a5b1a0"
IDENTITY = types.FleetIdentity(uid=UID, name="spv", number=3)
SAMPLE = Path(__file__).parents[2] / "deploy" / "samples" / "spv.yaml"


@pytest.fixture
def controller() -> Iterator[ControllerDouble]:
    with ControllerDouble() as double:
        yield double


@pytest.fixture
def fleetctl(tmp_path: Path, controller: ControllerDouble) -> Fleetctl:
    alice = issue(tmp_path / "alice", Role.OPERATOR, "alice")
    return Fleetctl(tmp_path, (controller.endpoint,), alice)


# ---- status ------------------------------------------------------------------------------


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
        "draining": 0, "quarantined": 0, "cut_off": 0, "total": 4,
    }  # fmt: skip
    assert told["oldest_report_seconds"] == 1.5
    problem = {"kind": "no_memory", "count": 4, "hosts": 1, "example": "h1: no memory"}
    assert told["problems"] == [problem | {"fleet": "spv"}]
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


# ---- apply, fleets, delete ---------------------------------------------------------------


def summary(**fields: object) -> cluster.FleetSummary:
    made = cluster.FleetSummary(name="spv", uid=UID, generation=1, total=8, placed=8, running=7)
    made.spec.image.name, made.spec.image.snapshot = "golden", "1"
    made.spec.memory_bytes = 16 << 20
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("created", "changed", "says"),
    [
        (True, True, "spv: created; start VMs with 'fleetctl scale spv --total NUMBER'\n"),
        (False, True, "spv: generation 1, for VMs created from now on; 7 running VMs unchanged\n"),
        (False, False, "spv: unchanged, generation 1\n"),
    ],
)
def test_apply_says_what_became_of_it(
    fleetctl: Fleetctl, controller: ControllerDouble, created: bool, changed: bool, says: str
) -> None:
    answer = cluster.ApplyFleetResponse(fleet=summary(), created=created, changed=changed)
    controller.on("ApplyFleet", answer)
    assert fleetctl("apply", "-f", str(SAMPLE)).out == says
    assert fleetctl("apply", "-f", "-", text=SAMPLE.read_text()).out == says
    told = fleetctl("apply", "-f", str(SAMPLE), "-o", "json").json
    assert told == {
        "fleet": "spv", "uid": UID, "created": created, "changed": changed, "generation": 1,
        "total": 8,
    }  # fmt: skip
    first, second, _ = controller.asked("ApplyFleet")
    assert first == second and first.name == "spv" and first.spec.memory_bytes == 16 << 20


def test_apply_refuses_a_wrong_file_before_any_call(
    fleetctl: Fleetctl, controller: ControllerDouble, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(SAMPLE.read_text().replace("memory: 16MiB", "memroy: 16MB"))
    said = fleetctl("apply", "-f", str(wrong))
    line = SAMPLE.read_text().split("\n").index("memory: 16MiB") + 1
    assert said.code == 2
    assert f"{wrong}:{line}: memroy: no such field; did you mean memory?" in said.err
    assert not controller.requests


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "wrong.yaml:1: not UTF-8 text"),
        (b"a\n" * 200_000, "the file is larger than 256 KiB"),
        (b"", "a fleet file is 'field: value' lines"),
    ],
)
def test_apply_refuses_what_is_no_fleet_file(
    fleetctl: Fleetctl, tmp_path: Path, content: bytes, says: str
) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_bytes(content)
    said = fleetctl("apply", "-f", str(wrong))
    assert said.code == 2 and says in said.err


def test_apply_of_a_file_that_is_not_there(fleetctl: Fleetctl, tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        said = fleetctl("apply", "-f", str(path))
        assert said.code == 2 and said.err.startswith(f"fleetctl: cannot read {path}: ")


def test_fleets(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ListFleets", cluster.ListFleetsResponse(fleets=[summary()]))
    assert fleetctl("fleets").out == (
        "FLEET  TOTAL  PLACED  RUNNING  GENERATION  IMAGE     MEMORY\n"
        "spv        8       8        7           1  golden@1  16 MiB\n"
    )
    (told,) = fleetctl("fleets", "-o", "json").json["fleets"]
    assert told["fleet"] == "spv" and told["total"] == 8 and told["image"] == "golden@1"


def test_delete_asks_first(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("DeleteFleet", cluster.DeleteFleetResponse(fleet=summary(deleting=True)))
    said = fleetctl("delete", "spv")
    assert said.code == 2 and "give --yes" in said.err and not controller.requests
    said = fleetctl("delete", "spv", "--yes")
    assert said.code == 0 and said.out.startswith("spv: being deleted")
    assert fleetctl("delete", "spv", "--yes", "-o", "json").json["deleting"] is True


# ---- hosts -------------------------------------------------------------------------------


def host(number: int, **fields: object) -> cluster.HostSummary:
    made = cluster.HostSummary(
        id=f"h{number}",
        address=f"192.0.2.{number}:7441",
        health=cluster.HOST_HEALTH_LIVE,
        assigned=250,
        running=249,
        failed=1,
        capacity_guests=250,
        report_age_seconds=2.5,
        labels={"rack": "r1"},
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_hosts_are_listed_without_saying_list(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    hosts = [
        host(1),
        host(2, health=cluster.HOST_HEALTH_LOST, cordoned=True, report_age_seconds=-1),
    ]
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=hosts, matching=2))
    said = fleetctl("hosts", "--health", "lost", "--label", "rack=r1", "--cordoned")
    assert said.out == (
        "HOST  HEALTH          ASSIGNED  RUNNING  FAILED  CAPACITY  HEARD      ADDRESS         "
        "LABELS\n"
        "h1    live                 250      249       1       250  2.5 s ago  192.0.2.1:7441  "
        "rack=r1\n"
        "h2    lost, cordoned       250      249       1       250  never      192.0.2.2:7441  "
        "rack=r1\n"
    )
    (asked,) = controller.asked("ListHosts")
    assert asked.health == cluster.HOST_HEALTH_LOST and asked.cordoned_only
    assert dict(asked.selector) == {"rack": "r1"} and asked.limit == 100
    told = fleetctl("hosts", "list", "-o", "json").json
    assert [one["report_age_seconds"] for one in told["hosts"]] == [2.5, None]


def test_all_hosts_are_asked_for_page_by_page(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    def page(request: cluster.ListHostsRequest) -> cluster.ListHostsResponse:
        number = int(request.cursor or "1")
        following = str(number + 1) if number < 3 else ""
        return cluster.ListHostsResponse(hosts=[host(number)], next_cursor=following, matching=3)

    controller.on("ListHosts", page)
    told = fleetctl("hosts", "--all", "-o", "json").json
    assert [one["host"] for one in told["hosts"]] == ["h1", "h2", "h3"]
    said = fleetctl("hosts", "--limit", "1")
    assert said.err == "1 of 3; go on with --cursor '2', or see --all\n"


def test_one_host(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    detail = cluster.HostDetail(
        summary=host(1),
        facts=types.HostFacts(hypervisor="Xen 4.20\x1b[2J", storage="zfs tank"),
        shards=[
            types.Shard(
                fleet_uid=UID, ranges=[types.IndexRange(start=0, stop=249), RANGE_300], generation=1
            )
        ],
        tombstones=[types.Tombstone(id=4, fleet_uid=UID, ranges=[RANGE_300])],
        problems=[agent.Problem(kind="no_space", fleet_uid=UID, count=1, example_message="full")],
        fleets=[IDENTITY],
    )
    controller.on("GetHost", detail)
    said = fleetctl("hosts", "show", "h1")
    assert "hypervisor  Xen 4.20\\x1b[2J\n" in said.out
    assert "  spv    250  0-248,300           1  on\n" in said.out
    assert "to be released:\n" in said.out and "no_space" in said.out
    told = fleetctl("hosts", "show", "h1", "-o", "json").json
    assert told["shards"][0]["indices"] == "0-248,300" and told["tombstones"][0]["id"] == 4


RANGE_300 = types.IndexRange(start=300, stop=301)


def test_hosts_are_filtered_by_what_was_said_of_them(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=[host(1)], matching=1))
    for option in ("--cordoned", "--draining", "--quarantined"):
        assert fleetctl("hosts", "list", option).code == 0
    assert controller.asked("ListHosts") == [
        cluster.ListHostsRequest(limit=100, cordoned_only=True),
        cluster.ListHostsRequest(limit=100, draining_only=True),
        cluster.ListHostsRequest(limit=100, quarantined_only=True),
    ]


def test_cordon_and_uncordon(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("SetCordon", lambda request: host(1, cordoned=request.cordoned))
    assert fleetctl("hosts", "cordon", "h1").out == (
        "h1: cordoned, takes no new VMs; 250 assigned\n"
    )
    assert fleetctl("hosts", "uncordon", "h1").out == "h1: takes VMs; 250 assigned\n"
    assert [one.cordoned for one in controller.asked("SetCordon")] == [True, False]


# ---- vms ---------------------------------------------------------------------------------


def rows(*indices: int, cursor: str = "", matching: int = 2) -> cluster.ListVmsResponse:
    state = types.VM_STATE_RUNNING
    vms = [cluster.VmRow(index=one, state=state, host=one % 2, generation=1) for one in indices]
    return cluster.ListVmsResponse(
        fleet=IDENTITY, vms=vms, hosts=["", "h1"], next_cursor=cursor, matching=matching
    )


def test_vms_are_listed_without_saying_list(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListVms", rows(249, 250))
    said = fleetctl("vms", "--state", "running", "--host", "h1", "--index", "0-99,300")
    assert said.out == (
        "NAME     INDEX  STATE    HOST  GENERATION\n"
        "spv-249  249    running  h1    1\n"
        "spv-250  250    running  -     1\n"
    )
    (asked,) = controller.asked("ListVms")
    assert asked.state == types.VM_STATE_RUNNING and asked.host == "h1" and asked.limit == 100
    assert [(one.start, one.stop) for one in asked.indices] == [(0, 100), (300, 301)]


def test_vms_as_json_have_what_follows_from_fleet_and_index(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListVms", rows(249, 250))
    told = fleetctl("vms", "list", "-o", "json").json
    fleet = Fleet(UID, "spv", 3)
    assert told["fleet"] == "spv" and told["matching"] == 2 and told["next_cursor"] == ""
    assert told["vms"][0] == {
        "name": "spv-249", "index": 249, "state": "running", "powered_off": False, "host": "h1",
        "generation": 1, "uuid": str(fleet.domain_uuid(249)), "mac": fleet.mac(249),
    }  # fmt: skip
    assert told["vms"][1]["host"] is None


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_all_vms_make_one_json_object_and_one_table(
    fleetctl: Fleetctl, controller: ControllerDouble, pages: int
) -> None:
    def page(request: cluster.ListVmsRequest) -> cluster.ListVmsResponse:
        number = int(request.cursor or "0")
        following = str(number + 1) if number + 1 < pages else ""
        return rows(2 * number, 2 * number + 1, cursor=following, matching=2 * pages)

    controller.on("ListVms", page)
    told = fleetctl("vms", "--all", "-o", "json").json
    assert [one["index"] for one in told["vms"]] == list(range(2 * pages))
    said = fleetctl("vms", "--all")
    assert said.out.count("NAME") == 1 and said.out.count("\n") == 1 + 2 * pages
    assert controller.asked("ListVms")[0].limit == 10_000


def test_no_vms(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ListVms", rows(matching=0))
    said = fleetctl("vms", "--state", "failed")
    assert (said.code, said.out, said.err) == (0, "", "no such VMs\n")
    assert fleetctl("vms", "-o", "json").json["vms"] == []


@pytest.mark.parametrize(
    ("typed", "fleet", "index"),
    [(["250"], "", 250), (["spv-250"], "spv", 250), (["250", "--fleet", "spv"], "spv", 250),
     (["a-b-7", "--fleet", "a-b"], "a-b", 7)],
)  # fmt: skip
def test_one_vm_by_index_or_name(
    fleetctl: Fleetctl, controller: ControllerDouble, typed: list[str], fleet: str, index: int
) -> None:
    detail = cluster.VmDetail(fleet=IDENTITY, index=250, state=types.VM_STATE_FAILED, host="h1")
    detail.spec.network.prefix = "10.0.0.0/8"
    detail.problem.kind, detail.problem.example_message = "no_memory", "no memory for 16 MiB"
    controller.on("GetVm", detail)
    said = fleetctl("vms", "show", *typed)
    assert said.code == 0
    assert "name             spv-250\n" in said.out
    assert "problem          no_memory: no memory for 16 MiB" in said.out
    (asked,) = controller.asked("GetVm")
    assert (asked.fleet, asked.index) == (fleet, index)
    assert fleetctl("vms", "show", *typed, "-o", "json").json["address"] == "10.0.0.252"


def test_the_first_vm_has_an_index_too(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("GetVm", cluster.VmDetail(fleet=IDENTITY, index=0, state=types.VM_STATE_PENDING))
    said = fleetctl("vms", "show", "0")
    assert "index            0\n" in said.out and "host" not in said.out


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


# ---- events ------------------------------------------------------------------------------


def test_events(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    event = cluster.Event(
        cursor=5, time_unix=1.0, kind="fleet_scaled", fleet="spv", message="0 -> 8 \x1b[2J",
        actor="operator/alice",
    )  # fmt: skip
    controller.on("ListEvents", cluster.ListEventsResponse(events=[event], next=5))
    said = fleetctl("events", "--limit", "3", "--fleet", "spv")
    assert "fleet_scaled" in said.out and "0 -> 8 \\x1b[2J  (operator/alice)" in said.out
    told = fleetctl("events", "-o", "json").json
    assert told["cursor"] == 5 and told["events"][0]["host"] is None
    assert [one.limit for one in controller.asked("ListEvents")] == [3, 100]


def test_events_are_followed_through_a_failover_until_the_reader_has_enough(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on(
        "ListEvents",
        lambda request: cluster.ListEventsResponse(
            events=[cluster.Event(cursor=request.after + 1, kind="host_live")],
            next=request.after + 1,
        ),
    )
    with fleetctl.start("events", "--follow", "-o", "json") as process:
        assert process.stdout
        seen = [json.loads(process.stdout.readline())["cursor"] for _ in range(2)]
        controller.refusing(
            "ListEvents", Refusal(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", "no store"), 1
        )
        assert process.stderr
        assert process.stderr.readline() == "no store; still waiting\n"
        after = json.loads(process.stdout.readline())["cursor"]
        process.stdout.close()
        process.wait(timeout=30)
    assert seen == [1, 2] and after >= 3
    assert process.returncode == 0


def test_what_a_former_leader_told_last_is_said_to_be_missing(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = cluster.ListEventsResponse(next=9, former_leader=True, truncated=True, begins_unix=1.0)
    controller.on("ListEvents", answer)
    said = fleetctl("events", "--after", "5")
    assert "events of before that were not read yet are with the former leader" in said.err
    assert [one.after for one in controller.asked("ListEvents")] == [5]


# ---- history -----------------------------------------------------------------------------


def line(number: int, **fields: Any) -> cluster.AuditRecord:
    return cluster.AuditRecord(
        id=number, time_unix=1.0, actor="operator/alice", result="accepted", **fields
    )


def test_history_shows_who_changed_what_the_latest_last(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    lines = [
        line(9, action="cordon", host="h1"),
        line(8, action="scale", fleet="spv", before="0", after="8"),
    ]
    controller.on("History", cluster.HistoryResponse(records=lines, next=8))
    said = fleetctl("history", "spv", "--host", "h1", "--limit", "2")
    rows = said.out.splitlines()
    assert rows[0].split() == ["WHEN", "WHO", "WHAT", "OF", "RESULT", "CHANGE"]
    assert "operator/alice  scale   spv  accepted  0 -> 8" in rows[1] and "cordon" in rows[2]
    assert said.err == "there are older ones: --before 8, or a higher --limit\n"
    (asked,) = controller.asked("History")
    assert (asked.fleet, asked.host, asked.limit, asked.before) == ("spv", "h1", 2, 0)
    told = fleetctl("history", "--limit", "2", "-o", "json").json
    assert ([one["id"] for one in told["records"]], told["next"]) == ([8, 9], 8)
    assert told["records"][1]["fleet"] is None


def test_a_long_history_is_read_by_pages(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    def page(request: cluster.HistoryRequest) -> cluster.HistoryResponse:
        newest = request.before - 1 if request.before else 1500
        lines = [line(newest - n, action="scale") for n in range(request.limit)]
        return cluster.HistoryResponse(records=lines, next=lines[-1].id)

    controller.on("History", page)
    told = fleetctl("history", "--limit", "1200", "-o", "json").json
    assert [one["id"] for one in told["records"]] == list(range(301, 1501))
    assert [one.limit for one in controller.asked("History")] == [1000, 200]


# ---- recover -----------------------------------------------------------------------------


def found(**fields: Any) -> cluster.RecoverFleet:
    return cluster.RecoverFleet(fleet="spv", uid=UID, total=8, running=10, adopted=10, **fields)


def plan_of(request: cluster.RecoverRequest) -> cluster.RecoverResponse:
    """What a controller says that waits for the total of spv."""
    confirmed = "spv" in request.totals
    return cluster.RecoverResponse(
        token="t0ken",
        fleets=[found(confirmed=confirmed, excess=2), cluster.RecoverFleet(problem="unnamed")],
        unseen_hosts=["h9"],
        frozen=request.plan_only or not confirmed,
        message="" if confirmed else "confirm the totals of spv",
        hosts=3,
        hosts_ahead=4,
    )


def test_a_recovery_is_shown_before_anything_is_done(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", plan_of)
    said = fleetctl("recover", "--plan")
    assert "4 hosts ahead of the store" in said.out and "anew of what runs there" in said.out
    assert "2 VMs above its total will be released afterwards" in said.out
    assert "still needed: confirm the totals of spv" in said.out and "  h9" in said.out
    told = fleetctl("recover", "--plan", "-o", "json").json
    assert (told["frozen"], told["unseen_hosts"], told["fleets"][0]["excess"]) == (True, ["h9"], 2)
    assert all(one.plan_only for one in controller.asked("Recover"))


def test_a_recovery_says_what_is_still_needed_and_the_exit_code_as_well(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", plan_of)
    said = fleetctl("recover", "--adopt", "--absent", "h9", "--yes")
    assert (said.code, said.out) == (
        ExitCode.NOT_CONVERGED,
        "remembered; changes stay frozen. Still needed: confirm the totals of spv\n",
    )
    done = controller.asked("Recover")[-1]
    assert (done.plan_token, list(done.absent_hosts), done.adopt) == ("t0ken", ["h9"], True)


def test_totals_as_shown_are_confirmed_together(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("Recover", plan_of)
    assert fleetctl("recover", "--adopt", "--keep-totals", "--yes").code == ExitCode.DONE
    assert dict(controller.asked("Recover")[-1].totals) == {"spv": 8}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "say how"),
        (("--adopt", "--confirm"), "exclude each other"),
        (("--adopt", "--total", "spv"), "write FLEET=NUMBER"),
        (("--adopt", "--total", "spv=-1"), "outside 0 to"),
        (("--adopt",), "no terminal to ask at: give --yes"),
    ],
)
def test_a_recovery_that_cannot_be_meant_is_not_asked_for(
    fleetctl: Fleetctl, controller: ControllerDouble, arguments: tuple[str, ...], sentence: str
) -> None:
    controller.on("Recover", plan_of)
    said = fleetctl("recover", *arguments)
    assert said.code == ExitCode.USAGE and sentence in said.err
    assert all(one.plan_only for one in controller.asked("Recover"))


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


# ---- the process -------------------------------------------------------------------------


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
    controller.on("ListVms", rows(*range(10_000), cursor="next", matching=10**6))
    with fleetctl.start("vms", "--all") as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(timeout=30)
    assert process.returncode == 0


def test_a_full_disk_is_told(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ListVms", rows(*range(10_000)))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            fleetctl.arguments("vms", "--limit", "10000"),
            env=fleetctl.whole_environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert done.stderr == "fleetctl: cannot write the output: No space left on device\n"


def test_a_number_that_is_none_is_called_so(fleetctl: Fleetctl) -> None:
    said = fleetctl("events", "--after", "abc")
    assert said.code == 2 and "'abc' is not a whole number (see 'fleetctl events" in said.err
    said = fleetctl("backup", "-")
    assert said.code == 2 and "a file of its own" in said.err
