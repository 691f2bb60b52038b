"""What fleetctl hosts asks of the controller, and prints."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.outcome import ExitCode
from tests.processes.controller_double import IDENTITY, UID, ControllerDouble
from tests.processes.fleetctl_process import Fleetctl

pytest_plugins = ["tests.processes.fleetctl_fixtures"]

RANGE_300 = types.IndexRange(start=300, stop=301)


def host(number: int, **fields: object) -> cluster.HostSummary:
    made = cluster.HostSummary(
        id=f"h{number}",
        address=f"192.0.2.{number}:7441",
        health=cluster.HOST_HEALTH_LIVE,
        assigned=250,
        running=249,
        failed=1,
        capacity_guests=250,
        report_age_seconds=2.25,
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
        "HOST  HEALTH          ASSIGNED  RUNNING  FAILED  CAPACITY  HEARD    ADDRESS         "
        "LABELS\n"
        "h1    live                 250      249       1       250  2 s ago  192.0.2.1:7441  "
        "rack=r1\n"
        "h2    lost, cordoned       250      249       1       250  never    192.0.2.2:7441  "
        "rack=r1\n"
    )
    (asked,) = controller.asked("ListHosts")
    assert asked.health == cluster.HOST_HEALTH_LOST and asked.cordoned_only
    assert dict(asked.selector) == {"rack": "r1"} and asked.limit == 100
    told = fleetctl("hosts", "list", "-o", "json").json
    assert [one["report_age_seconds"] for one in told["hosts"]] == [2.25, None]


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
    assert "hypervisor   Xen 4.20\\x1b[2J\n" in said.out
    assert "  spv    250  0-248,300           1  on\n" in said.out
    assert "to be released:\n" in said.out and "no_space" in said.out
    told = fleetctl("hosts", "show", "h1", "-o", "json").json
    assert told["shards"][0]["indices"] == "0-248,300" and told["tombstones"][0]["id"] == 4


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


def test_a_distrusted_host_is_shown_with_what_it_claims_and_what_to_do(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    claim = "host h1 claims an assignment of epoch 9.9, and proves nothing of it"
    summary = cluster.HostSummary(id="h1", health=cluster.HOST_HEALTH_LIVE, distrusted=claim)
    controller.on("GetHost", cluster.HostDetail(summary=summary))
    said = fleetctl("hosts", "show", "h1").out
    assert claim in said and "'fleetctl hosts reset h1'" in said
    assert "live, distrusted" in said
    assert fleetctl("hosts", "show", "h1", "-o", "json").json["distrusted"] == claim


def test_a_host_that_takes_no_orders_is_shown_with_the_reason(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    why = "ledger /var/lib/megafleet/ledger cannot be written: No space left on device"
    summary = cluster.HostSummary(id="h1", health=cluster.HOST_HEALTH_LIVE, orders_refused=why)
    controller.on("GetHost", cluster.HostDetail(summary=summary))
    said = fleetctl("hosts", "show", "h1").out
    assert f"cannot take orders: {why}. Its VMs run on" in said
    assert "live, takes no orders" in said
    assert fleetctl("hosts", "show", "h1", "-o", "json").json["orders_refused"] == why


def test_a_host_is_reset_when_that_was_said_twice(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ResetHost", cluster.HostSummary(id="h1"))
    said = fleetctl("hosts", "reset", "h1")
    assert said.code == ExitCode.USAGE and "give --yes" in said.err
    assert not controller.asked("ResetHost")
    said = fleetctl("hosts", "reset", "h1", "--yes")
    assert said.err == ""
    assert said.out == "h1 was reset: it is told what the store has for it\n"


def test_a_host_is_bound_pinned_and_approved(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    def bound(request: cluster.BoundHostRequest) -> cluster.HostSummary:
        return host(1, max_guests=request.max_guests, claimed_guests=4000)

    def pinned(request: cluster.PinHostRequest) -> cluster.HostSummary:
        return host(1, pinned=not request.undo)

    def approved(request: cluster.ApproveHostsRequest) -> cluster.ApproveHostsResponse:
        return cluster.ApproveHostsResponse(hosts=[host(1), host(2)])

    controller.on("BoundHost", bound)
    controller.on("PinHost", pinned)
    controller.on("ApproveHosts", approved)
    assert fleetctl("hosts", "bound", "h1", "--max-guests", "250").out == (
        "h1: 250 VMs (it claims 4,000; bound to 250); 250 VMs assigned\n"
    )
    said = fleetctl("hosts", "pin", "h1", "--label", "rack=r1", "--label", "zone=")
    assert said.code == ExitCode.DONE
    assert said.out == "h1: pinned; 250 VMs, rack=r1\n"
    assert dict(controller.asked("PinHost")[0].labels) == {"rack": "r1", "zone": ""}
    assert "what it announces counts again" in fleetctl("hosts", "unpin", "h1").out
    assert fleetctl("hosts", "approve", "h1", "h2").out == "h1, h2 are approved\n"
    for words in (["bound", "h1", "--max-guests", "10001"], ["bound", "h1"], ["approve"]):
        assert fleetctl("hosts", *words).code == ExitCode.USAGE
    told = fleetctl("hosts", "bound", "h1", "--max-guests", "0", "-o", "json").json
    assert (told["max_guests"], told["claimed_guests"], told["capacity"]) == (None, 4000, 250)


def test_a_host_that_misbehaves_or_waits_is_shown_with_why(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    why = "h1 reports 4,294,967,295 orphans; it can have 256"
    hosts = [host(1, misbehaves=why), host(2, awaits_approval=True)]
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=hosts, matching=2))
    said = fleetctl("hosts").out
    assert "live, misbehaves" in said and "live, awaits approval" in said
    controller.on("GetHost", cluster.HostDetail(summary=hosts[0]))
    assert f"misbehaves   {why}\n" in fleetctl("hosts", "show", "h1").out
    told = fleetctl("hosts", "list", "-o", "json").json["hosts"]
    assert [one["misbehaves"] for one in told] == [why, None]
    assert [one["awaits_approval"] for one in told] == [False, True]


def test_hosts_are_selected_by_several_labels_at_once(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=[host(1)], matching=1))
    said = fleetctl("hosts", "--selector", "rack=r1,zone=a", "-o", "name")
    assert said.out == "h1\n"
    assert dict(controller.asked("ListHosts")[0].selector) == {"rack": "r1", "zone": "a"}
    assert fleetctl("hosts", "--selector", "rack").code == 2


def test_hosts_are_sorted_and_shown_with_what_their_facts_say(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    hosts = [
        host(10, agent_version="1.2", memory_bytes=1 << 40, failed=3),
        host(2, agent_version="1.1", hypervisor="Xen\x1b 4.20"),
    ]
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=hosts, matching=2))
    assert fleetctl("hosts", "-o", "name", "--sort", "host").out == "h2\nh10\n"
    assert fleetctl("hosts", "-o", "name", "--sort", "-failed").out == "h10\nh2\n"
    wide = fleetctl("hosts", "-o", "wide").out
    assert "1.0 TiB" in wide and "Xen\\x1b 4.20" in wide and "1.2" in wide
    found = fleetctl("hosts", "-o", "jsonpath=$.hosts[?@.failed > 1].host").out
    assert found == "h10\n"


def test_a_host_is_told_with_its_images_its_accelerator_and_its_certificates_end(
    fleetctl: Fleetctl, controller: ControllerDouble
) -> None:
    told = host(1, more_images=4, certificate_expires_unix=1_800_000_000)
    told.images.extend(["golden@1", "rootfs@2"])
    told.labels["accel"] = "kvm"
    controller.on("ListHosts", cluster.ListHostsResponse(hosts=[told], matching=1))
    columns = "host,accelerator,images"
    assert fleetctl("hosts", "--columns", columns, "--no-headers").out.split() == [
        "h1", "kvm", "golden@1,", "rootfs@2", "and", "4", "more",
    ]  # fmt: skip
    (one,) = fleetctl("hosts", "-o", "json").json["hosts"]
    assert (one["images"], one["more_images"]) == (["golden@1", "rootfs@2"], 4)
    assert one["accelerator"] == "kvm" and one["agent_version"] is None
    assert one["certificate_ends"].startswith("2027-01-15T")
