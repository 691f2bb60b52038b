"""What fleetctl vms asks of the controller, and prints."""

from __future__ import annotations

import time

import pytest

from fleet.identity import Fleet
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from tests.processes.controller_double import IDENTITY, UID, ControllerDouble, vm_rows
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]


def test_vms_are_listed_without_saying_list(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListVms", vm_rows(249, 250))
    said = fleetctl("vms", "--state", "running", "--host", "h1", "--index", "0-99,300")
    assert said.out == (
        "NAME     INDEX  STATE    HOST  GENERATION\n"
        "spv-249    249  running  h1             1\n"
        "spv-250    250  running  -              1\n"
    )
    (asked,) = controller.asked("ListVms")
    assert asked.state == types.VM_STATE_RUNNING and asked.host == "h1" and asked.limit == 100
    assert [(one.start, one.stop) for one in asked.indices] == [(0, 100), (300, 301)]


def test_vms_as_json_have_what_follows_from_fleet_and_index(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListVms", vm_rows(249, 250))
    told = fleetctl("vms", "list", "-o", "json").json
    fleet = Fleet(UID, "spv", 3)
    assert told["fleet"] == "spv" and told["matching"] == 2 and told["next_cursor"] == ""
    assert told["vms"][0] == {
        "name": "spv-249", "index": 249, "state": "running", "powered_off": False, "host": "h1",
        "generation": 1, "uuid": str(fleet.domain_uuid(249)), "mac": fleet.mac(249),
        "addresses": [], "reason": None, "failed_since_unix": None, "failed_since": None,
        "state_seconds": None, "restarts": 0,
    }  # fmt: skip
    assert told["vms"][1]["host"] is None


def test_vms_tell_since_when_they_are_so_and_how_often_they_began_again(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = vm_rows(249, 250)
    answer.vms[0].state_seconds, answer.vms[0].restarts = 7200, 3
    controller.on("ListVms", answer)
    assert fleetctl("vms").out == (
        "NAME     INDEX  STATE    HOST  GENERATION  SINCE    RESTARTS\n"
        "spv-249    249  running  h1             1  2 h ago         3\n"
        "spv-250    250  running  -              1  -               -\n"
    )
    detail = cluster.VmDetail(fleet=IDENTITY, index=2, state=types.VM_STATE_RUNNING)
    detail.state_seconds, detail.restarts = 7200, 3
    controller.on("GetVm", detail)
    told = fleetctl("vms", "show", "spv-2").out
    assert "running, since 2 h ago" in told and "3 that the leader has seen" in told


def test_vms_have_the_mac_addresses_of_their_generations_base(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = vm_rows(249, 250)
    answer.vms[1].generation = 2
    answer.networks.add(generation=2, mac_bases=["00:16:3E:00:00:06"])
    controller.on("ListVms", answer)
    told = fleetctl("vms", "list", "-o", "json").json["vms"]
    assert [one["mac"] for one in told] == [Fleet(UID, "spv", 3).mac(249), "00:16:3e:00:01:00"]
    detail = cluster.VmDetail(fleet=IDENTITY, index=2)
    detail.spec.network.mac_base = "00:16:3e:ff:ff:fe"
    controller.on("GetVm", detail)
    assert fleetctl("vms", "show", "spv-2", "-o", "json").json["mac"] is None


def test_a_vm_that_booted_where_a_clone_was_asked_for_says_so_and_why(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    why = "no template could be made: /dev/shm has 31 MiB left, and a template takes 80 MiB"
    detail = cluster.VmDetail(
        fleet=IDENTITY, index=2, state=types.VM_STATE_RUNNING, started=types.START_BOOT,
        fallback=why, spec=types.FleetSpec(start=types.START_CLONE),
    )  # fmt: skip
    controller.on("GetVm", detail)
    told = fleetctl("vms", "show", "spv-2", "-o", "json").json
    assert (told["start"], told["started"], told["not_cloned"]) == ("clone", "boot", why)
    said = fleetctl("vms", "show", "spv-2").out
    assert "started          boot\n" in said and f"not cloned       {why}\n" in said
    # Of an older agent nothing is known, and nothing is said.
    controller.on("GetVm", cluster.VmDetail(fleet=IDENTITY, index=2, spec=detail.spec))
    told = fleetctl("vms", "show", "spv-2", "-o", "json").json
    assert (told["start"], told["started"], told["not_cloned"]) == ("clone", None, None)


@pytest.mark.parametrize("pages", [1, 2, 3])
def test_all_vms_make_one_json_object_and_one_table(
    fleetctl: Fleetctl, controller: ControllerDouble, pages: int
) -> None:
    def page(request: cluster.ListVmsRequest) -> cluster.ListVmsResponse:
        number = int(request.cursor or "0")
        following = str(number + 1) if number + 1 < pages else ""
        return vm_rows(2 * number, 2 * number + 1, cursor=following, matching=2 * pages)

    controller.on("ListVms", page)
    told = fleetctl("vms", "--all", "-o", "json").json
    assert [one["index"] for one in told["vms"]] == list(range(2 * pages))
    said = fleetctl("vms", "--all")
    assert said.out.count("NAME") == 1 and said.out.count("\n") == 1 + 2 * pages
    assert controller.asked("ListVms")[0].limit == 10_000


def failed_rows() -> cluster.ListVmsResponse:
    answer = vm_rows(249, 250, 251)
    answer.reasons.extend(["", "no_memory: \x1b16 MiB", "no_memory, as spv-249: \x1b16 MiB"])
    for row, reason in zip(answer.vms, (1, 0, 2), strict=True):
        row.state = types.VM_STATE_FAILED if reason else types.VM_STATE_RUNNING
        row.reason, row.since_unix = reason, int(time.time()) - 3600 if reason else 0
    return answer


def test_a_list_shows_why_vms_have_failed_and_since_when(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListVms", failed_rows())
    first, *rows = fleetctl("vms").out.splitlines()
    assert first.split() == [
        "NAME",
        "INDEX",
        "STATE",
        "HOST",
        "GENERATION",
        "FAILED",
        "REASON",
    ]
    assert rows[0].endswith("no_memory: \\x1b16 MiB") and " 60 m ago " in rows[0]
    assert rows[1].split()[-2:] == ["-", "-"]
    assert rows[2].endswith("no_memory, as spv-249: \\x1b16 MiB")
    told = fleetctl("vms", "-o", "json").json["vms"]
    assert told[0]["reason"] == "no_memory: \x1b16 MiB" and told[1]["reason"] is None
    assert told[0]["failed_since_unix"] > 0 and told[1]["failed_since_unix"] is None


def test_one_vm_shows_why_it_has_failed_and_that_waiting_does_not_mend_it(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    detail = cluster.VmDetail(fleet=IDENTITY, index=250, state=types.VM_STATE_FAILED, host="h1")
    detail.problem.kind, detail.problem.example_message = "image_missing", "no golden@1 here"
    detail.problem.count, detail.problem.example_index, detail.problem.lasting = 2, 7, True
    detail.failed_since_unix = int(time.time()) - 7200
    controller.on("GetVm", detail)
    said = fleetctl("vms", "show", "250").out
    assert "problem          image_missing, as spv-7: no golden@1 here\n" in said
    assert "failed for       2:00:0" in said and "waiting          does not mend it" in said
    told = fleetctl("vms", "show", "250", "-o", "json").json
    assert told["problem"]["lasting"] and told["problem"]["example_index"] == 7


def test_a_retry_asks_no_question(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ControlVms", cluster.ControlVmsResponse(vms=3, hosts=1, token="t"))
    said = fleetctl("vms", "retry", "--all")
    assert (said.code, said.out.partition(";")[0]) == (0, "retry: accepted, 3 VMs on 1 host")
    (asked,) = controller.asked("ControlVms")
    assert asked.action == cluster.ControlVmsRequest.ACTION_RETRY and not asked.plan_only
    controller.on("ControlVms", cluster.ControlVmsResponse())
    assert "no VM that matches has failed" in fleetctl("vms", "retry", "--index", "3").out
    assert fleetctl("vms", "retry").code == 2


def test_addresses_follow_from_the_prefixes_generation_by_generation(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = vm_rows(0, 1)
    answer.vms[1].generation = 2
    answer.networks.add(generation=1, prefixes=["10.0.0.0/8", "", "10.1.0.0/16"])
    answer.networks.add(generation=2, prefixes=["10.2.0.0/16"])
    controller.on("ListVms", answer)
    assert fleetctl("vms").out == (
        "NAME   INDEX  STATE    HOST  GENERATION  ADDRESS\n"
        "spv-0      0  running  -              1  10.0.0.2, -, 10.1.0.2\n"
        "spv-1      1  running  h1             2  10.2.0.3\n"
    )
    told = fleetctl("vms", "-o", "json").json
    assert [one["addresses"] for one in told["vms"]] == [["10.0.0.2", "10.1.0.2"], ["10.2.0.3"]]


def test_no_vms(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("ListVms", vm_rows(matching=0))
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
    detail.spec.more_networks.add(bridge="br1")
    detail.problem.kind, detail.problem.example_message = "no_memory", "no memory for 16 MiB"
    controller.on("GetVm", detail)
    said = fleetctl("vms", "show", *typed)
    assert said.code == 0
    assert "name             spv-250\n" in said.out
    assert "problem          no_memory: no memory for 16 MiB" in said.out
    (asked,) = controller.asked("GetVm")
    assert (asked.fleet, asked.index) == (fleet, index)
    assert "address          10.0.0.252, -\n" in said.out
    told = fleetctl("vms", "show", *typed, "-o", "json").json
    mac = Fleet(UID, "spv", 3).mac
    assert told["address"] == "10.0.0.252"
    assert told["interfaces"] == [
        {"mac": mac(250), "address": "10.0.0.252"},
        {"mac": mac(250, 1), "address": None},
    ]


def test_the_first_vm_has_an_index_too(fleetctl: Fleetctl, controller: ControllerDouble) -> None:
    controller.on("GetVm", cluster.VmDetail(fleet=IDENTITY, index=0, state=types.VM_STATE_PENDING))
    said = fleetctl("vms", "show", "0")
    assert "index            0\n" in said.out and "host" not in said.out


def test_stopped_vms_are_listed_as_status_counts_them(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = vm_rows(249)
    answer.vms[0].state, answer.vms[0].powered_off = types.VM_STATE_DEFINED, True
    controller.on("ListVms", answer)
    assert "defined, stopped" in fleetctl("vms", "--state", "stopped").out
    (asked,) = controller.asked("ListVms")
    assert asked.powered_off_only and asked.state == types.VM_STATE_UNSPECIFIED
    controller.on("ListVms", vm_rows(249))
    said = fleetctl("vms", "--state", "stopped")
    assert (said.code, said.err) == (
        1, "fleetctl: this controller is too old to list stopped VMs\n"
    )  # fmt: skip


def test_vms_are_printed_in_the_formats_that_scripts_read(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    def page(request: cluster.ListVmsRequest) -> cluster.ListVmsResponse:
        number = int(request.cursor or "0")
        return vm_rows(number, cursor="" if number else "1", matching=2)

    controller.on("ListVms", page)
    assert fleetctl("vms", "--all", "-o", "name").out == "spv-0\nspv-1\n"
    assert fleetctl("vms", "--all", "--sort", "-index", "-o", "name").out == "spv-1\nspv-0\n"
    assert fleetctl("vms", "--all", "-o", "jsonpath=$.vms[*].index").out == "0\n1\n"
    csv = fleetctl("vms", "--all", "-o", "csv").out
    assert csv.startswith("name,index,state,host,") and len(csv.splitlines()) == 3
    assert "name: spv-0\n" in fleetctl("vms", "--all", "-o", "yaml").out
    said = fleetctl("vms", "--columns", "nope")
    assert said.code == 2 and "there is no column 'nope'; there are name, index" in said.err
    said = fleetctl("-o", "csv", "vms", "show", "spv-0")
    assert said.code == 2 and "csv is for lists" in said.err
    assert fleetctl("vms", "-o", "jsonpath").code == 2


def test_vms_are_chosen_by_labels_of_their_hosts(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    answer = vm_rows(1, matching=1)
    answer.selected_hosts = 3
    controller.on("ListVms", answer)
    said = fleetctl("vms", "--selector", "rack=r7,zone=a", "-o", "name")
    assert (said.code, said.out) == (0, "spv-1\n")
    (asked,) = controller.asked("ListVms")
    assert dict(asked.host_selector) == {"rack": "r7", "zone": "a"}
    controller.on("ListVms", vm_rows(1))
    said = fleetctl("vms", "--selector", "rack=r7")
    assert (said.code, said.out) == (1, "")
    assert "too old to list VMs by labels of hosts" in said.err
    assert fleetctl("vms", "--selector", "rack").code == 2
