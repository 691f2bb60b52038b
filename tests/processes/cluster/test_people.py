"""What people may do: asked of real controllers over mTLS, with fleetctl and without, at the leader
and at a standby."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from fleet.etcd import rpc_pb2 as rpc
from fleet.etcd.rpc_pb2_grpc import KVStub
from fleet.transport import Role
from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as wire
from fleet.v1 import people_pb2 as people
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from tests.certificates import identity, issue
from tests.processes.daemons import channel_to, eventually, stub_for
from tests.processes.fleetctl_process import Fleetctl
from tests.processes.replicated_cluster import PREFIX, ReplicatedCluster
from tests.processes.small_cluster import refused, spec

SECONDS = 20.0
NOT_ALLOWED = grpc.StatusCode.PERMISSION_DENIED, "NOT_ALLOWED"
UNREACHABLE = 4  # fleetctl's exit code of what is not allowed


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicatedCluster]:
    """2 hosts of 20 VMs with two fleets, two controllers on one etcd."""
    folder = tmp_path_factory.mktemp("people")
    with ReplicatedCluster(folder, hosts=2, per_host=20, processes=1, members=1) as cluster:
        stub = cluster.stubs[cluster.leader().name]
        for name in ("web", "db"):
            stub.ApplyFleet(wire.ApplyFleetRequest(name=name, spec=spec()), timeout=SECONDS)
        yield cluster


class People:
    """Those who call, each with a certificate of their own."""

    def __init__(self, replicas: ReplicatedCluster, folder: Path) -> None:
        self.replicas = replicas
        self.folder = folder
        self._channels: list[grpc.Channel] = []

    def stub(
        self, name: str, role: Role = Role.OPERATOR, *, standby: bool = False
    ) -> ClusterServiceStub:
        replica = self.replicas.standbys()[0] if standby else self.replicas.leader()
        channel = channel_to(replica.address, identity(role, name))
        self._channels.append(channel)
        return stub_for(channel)

    def fleetctl(self, name: str, role: Role = Role.OPERATOR) -> Fleetctl:
        """That knows the standby first."""
        known = [*self.replicas.standbys(), self.replicas.leader()]
        shown = issue(self.folder / f"{role}-{name}", role, name)
        return Fleetctl(self.folder, tuple(one.address for one in known), shown)

    def store(self, key: str, value: bytes | None) -> None:
        """By hand; None: it goes."""
        whole = (PREFIX + key).encode()
        if value is None:
            change = rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=whole))
        else:
            change = rpc.RequestOp(request_put=rpc.PutRequest(key=whole, value=value))
        with grpc.insecure_channel(self.replicas.members[0].client) as channel:
            KVStub(channel).Txn(rpc.TxnRequest(success=[change]), timeout=SECONDS)

    def in_force(self) -> bool:
        return self.stub("anybody").WhoAmI(people.WhoAmIRequest(), timeout=SECONDS).in_force

    def close(self) -> None:
        for channel in self._channels:
            channel.close()


@pytest.fixture
def nobody(replicas: ReplicatedCluster, tmp_path: Path) -> Iterator[People]:
    """Of a cluster in which nobody has a role, and fleets have the owner they were made by."""
    made = People(replicas, tmp_path)
    try:
        yield made
    finally:
        for key in replicas.stored():
            if key.startswith(("people/", "roles/")):
                made.store(key, None)
        eventually(lambda: not made.in_force(), "nobody has a role")
        root = made.stub("root")
        for fleet in root.ListFleets(wire.ListFleetsRequest(), timeout=SECONDS).fleets:
            root.Scale(wire.ScaleRequest(fleet=fleet.name, total=0), timeout=SECONDS)
            strangers = set(fleet.owners) - {"tester"}
            owners = people.SetFleetOwnersRequest(
                fleet=fleet.name, add=["tester"], remove=strangers
            )
            root.SetFleetOwners(owners, timeout=SECONDS)
        made.close()


@pytest.fixture
def three(nobody: People) -> People:
    """root is an admin; jo sees all and operates web; vi sees web alone."""
    root = nobody.fleetctl("root")
    assert root("users", "add", "root", "--role", "admin").code == 0
    assert root("users", "add", "jo", "--role", "viewer").code == 0
    assert root("users", "add", "jo", "--role", "operator", "--fleet", "web").code == 0
    assert root("users", "add", "vi", "--role", "viewer", "--fleet", "web").code == 0
    return nobody


def scale(stub: ClusterServiceStub, fleet: str, total: int) -> wire.ScaleResponse:
    return stub.Scale(wire.ScaleRequest(fleet=fleet, total=total), timeout=SECONDS)


def test_before_the_first_person_a_certificate_says_all(nobody: People) -> None:
    assert not nobody.in_force()
    scale(nobody.stub("jo"), "web", 1)
    said = nobody.fleetctl("jo")("users", "whoami")
    assert "You are operator/jo" in said.out and "nobody has a role yet" in said.out.lower()
    viewer = nobody.stub("vi", Role.VIEWER)
    assert len(viewer.ListFleets(wire.ListFleetsRequest(), timeout=SECONDS).fleets) == 2
    with refused(*NOT_ALLOWED):
        scale(viewer, "web", 2)


def test_the_first_person_is_an_admin_and_whoever_asks(nobody: People) -> None:
    root = nobody.fleetctl("root")
    for arguments in (
        ("users", "add", "jo", "--role", "admin"),
        ("users", "add", "root", "--role", "operator"),
        ("users", "add", "root", "--role", "admin", "--fleet", "web"),
    ):
        said = root(*arguments)
        assert said.code == 1 and "fleetctl users add root --role admin" in said.told
    said = root("users", "add", "root", "--role", "admin")
    assert said.code == 0 and "whoever has no role may do nothing" in said.told
    assert nobody.in_force()


@pytest.mark.parametrize("standby", [False, True], ids=["at the leader", "at a standby"])
def test_each_may_what_its_role_says_and_no_more(three: People, standby: bool) -> None:
    root, jo = (three.stub(name, standby=standby) for name in ("root", "jo"))
    vi = three.stub("vi", Role.VIEWER, standby=standby)
    scale(jo, "web", 3)
    with refused(*NOT_ALLOWED) as said:
        scale(jo, "db", 3)
    assert said[0] == (
        "jo may not scale fleet db: it needs operator on db; jo is viewer on all, operator on web "
        "(an admin gives it: fleetctl users add jo --role operator --fleet db)"
    )
    with refused(*NOT_ALLOWED) as said:
        jo.SetCordon(wire.SetCordonRequest(id="hollow-00001", cordoned=True), timeout=SECONDS)
    assert "jo may not cordon hosts: it needs operator on all" in said[0]
    with refused(*NOT_ALLOWED) as said:
        jo.DeleteFleet(wire.DeleteFleetRequest(name="web"), timeout=SECONDS)
    assert "it needs admin on web, or to own it" in said[0]
    with refused(*NOT_ALLOWED):
        list(jo.Backup(wire.BackupRequest(), timeout=SECONDS))
    with refused(*NOT_ALLOWED):
        jo.AddPerson(people.AddPersonRequest(name="jo"), timeout=SECONDS)
    with refused(*NOT_ALLOWED):
        scale(vi, "web", 2)
    with refused(*NOT_ALLOWED) as said:
        three.stub("stranger", standby=standby).Status(wire.StatusRequest(), timeout=SECONDS)
    assert "nobody has given stranger a role" in said[0]
    scale(root, "db", 2)
    root.SetCordon(wire.SetCordonRequest(id="hollow-00001", cordoned=True), timeout=SECONDS)
    root.SetCordon(wire.SetCordonRequest(id="hollow-00001", cordoned=False), timeout=SECONDS)


def test_who_sees_one_fleet_finds_the_others_left_out(three: People) -> None:
    vi, jo = three.stub("vi", Role.VIEWER), three.stub("jo")
    seen = vi.ListFleets(wire.ListFleetsRequest(), timeout=SECONDS).fleets
    assert [one.name for one in seen] == ["web"]
    status = vi.Status(wire.StatusRequest(), timeout=SECONDS)
    assert [one.fleet for one in status.fleets] == ["web"] and status.only_some_fleets
    assert not jo.Status(wire.StatusRequest(), timeout=SECONDS).only_some_fleets
    watched = next(iter(vi.WatchStatus(wire.WatchStatusRequest(), timeout=SECONDS)))
    assert [one.fleet for one in watched.fleets] == ["web"]
    vi.ListVms(wire.ListVmsRequest(fleet="web"), timeout=SECONDS)
    vi.ListEvents(wire.ListEventsRequest(fleet="web"), timeout=SECONDS)
    with refused(*NOT_ALLOWED):
        vi.ListVms(wire.ListVmsRequest(fleet="db"), timeout=SECONDS)
    with refused(*NOT_ALLOWED) as said:
        vi.ListEvents(wire.ListEventsRequest(), timeout=SECONDS)
    assert "vi may not read the events of all fleets: it needs viewer on all" in said[0]
    with refused(*NOT_ALLOWED):
        next(iter(vi.WatchStates(wire.WatchStatesRequest(), timeout=SECONDS)))


def test_the_wall_is_refused_before_it_is_served_to_who_may_not_see_all(three: People) -> None:
    said = three.fleetctl("vi")("wall", "--no-open")
    assert said.code == UNREACHABLE
    assert "watch the VMs of all fleets" in said.told and "http" not in said.out


def test_a_console_is_typed_at_by_operators_of_its_fleet_and_read_by_viewers(three: People) -> None:
    listed = three.stub("root").ListFleets(wire.ListFleetsRequest(), timeout=SECONDS).fleets
    uids = {one.name: one.uid for one in listed}

    def opened(name: str, fleet: str, *, read_only: bool = False) -> str:
        """Why it was refused: each of the fleets is empty."""
        vm = agent.VmAddress(fleet_uid=uids[fleet], index=0)
        first = agent.ConsoleInput(vm=vm, read_only=read_only)
        with pytest.raises(grpc.RpcError) as refusal:
            list(three.stub(name).Console(iter([first]), timeout=SECONDS))
        return refusal.value.details() or ""

    assert "jo may not type at consoles of fleet db: it needs operator on db" in opened("jo", "db")
    assert "there is no 0" in opened("jo", "web")
    assert "there is no 0" in opened("jo", "db", read_only=True)
    assert "vi may not read consoles of fleet db" in opened("vi", "db", read_only=True)
    assert "vi may not type at consoles of fleet web" in opened("vi", "web")


def test_a_viewers_certificate_changes_nothing_whatever_its_holder_may(three: People) -> None:
    with refused(*NOT_ALLOWED) as said:
        scale(three.stub("root", Role.VIEWER), "web", 2)
    assert "it takes the role operator" in said[0]


def test_whoever_makes_a_fleet_owns_it_and_gives_it_on(three: People) -> None:
    root = three.fleetctl("root")
    assert root("users", "add", "ci", "--role", "operator", "--fleet", "ci-*").code == 0
    ci = three.stub("ci")
    ci.ApplyFleet(wire.ApplyFleetRequest(name="ci-1", spec=spec()), timeout=SECONDS)
    with refused(*NOT_ALLOWED):
        ci.ApplyFleet(wire.ApplyFleetRequest(name="other", spec=spec()), timeout=SECONDS)
    assert three.fleetctl("ci")("fleets", "owners", "ci-1").out == "fleet ci-1 is owned by ci\n"
    said = three.fleetctl("ci")("fleets", "owners", "ci-1", "--add", "stranger")
    assert said.code == 1 and "nobody has given stranger a role" in said.told
    told = three.fleetctl("ci")(
        "fleets", "owners", "ci-1", "--add", "vi", "--remove", "ci", "-o", "json"
    )
    assert told.json["owners"] == ["vi"]
    with refused(*NOT_ALLOWED):
        ci.DeleteFleet(wire.DeleteFleetRequest(name="ci-1"), timeout=SECONDS)
    three.stub("vi").DeleteFleet(wire.DeleteFleetRequest(name="ci-1"), timeout=SECONDS)
    lines = three.stub("root").History(wire.HistoryRequest(fleet="ci-1"), timeout=SECONDS).records
    assert [(one.before, one.after, one.actor.partition(" ")[0]) for one in lines
            if one.action == "owners"] == [("ci", "vi", "operator/ci")]  # fmt: skip
    eventually(
        lambda: len(three.stub("root").ListFleets(wire.ListFleetsRequest()).fleets) == 2,
        "the fleet is gone",
    )


def test_two_changes_at_once_do_not_pass_a_bound_together(three: People) -> None:
    root = three.fleetctl("root")
    for fleet in ("web", "db"):
        assert root("fleets", "owners", fleet, "--add", "jo", "--remove", "tester").code == 0
    assert root("users", "add", "jo", "--max-vms", "10").code == 0
    outcomes: list[str] = []

    def ask(fleet: str) -> None:
        try:
            scale(three.stub("root"), fleet, 8)
            outcomes.append("done")
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "jo may own 10, and owns 8 now" in (error.details() or "")
            outcomes.append("refused")

    asking = [threading.Thread(target=ask, args=(fleet,)) for fleet in ("web", "db")]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert sorted(outcomes) == ["done", "refused"]
    assert root("users", "add", "jo", "--max-vms", "3").code == 0, "lowered, nothing stops"
    owned = next(one for one in root("users", "-o", "json").json["people"] if one["name"] == "jo")
    assert (owned["vms"], owned["quota"]["vms"], owned["owns"]) == (8, 3, ["db", "web"])
    grown = {
        one.name: one.total
        for one in three.stub("root").ListFleets(wire.ListFleetsRequest(), timeout=SECONDS).fleets
    }
    (larger,) = (name for name, total in grown.items() if total)
    scale(three.stub("jo"), larger, 7)
    said = root("scale", larger, "--total", "8")
    assert said.code == 1 and "jo may own 3, and owns 7 now" in said.told


def test_the_bound_of_a_role_holds_for_whoever_has_none_of_their_own(three: People) -> None:
    root = three.fleetctl("root")
    assert root("users", "roles", "operator", "--max-vms", "4").code == 0
    assert root("fleets", "owners", "web", "--add", "jo").code == 0
    said = root("scale", "web", "--total", "5")
    assert said.code == 1 and "jo may own 4" in said.told
    assert root("users", "add", "jo", "--max-vms", "6").code == 0
    assert root("scale", "web", "--total", "5").code == 0


def test_roles_that_are_taken_end_calls_under_way(three: People) -> None:
    watch = three.stub("vi", Role.VIEWER, standby=True).WatchStatus(
        wire.WatchStatusRequest(interval_ms=50), timeout=SECONDS
    )
    next(iter(watch))
    assert three.fleetctl("root")("users", "remove", "vi").code == 0
    with refused(*NOT_ALLOWED) as said:
        list(watch)
    assert "your roles have changed" in said[0] or "nobody has given vi a role" in said[0]


def test_who_is_denied_is_refused_whatever_their_roles(three: People) -> None:
    root = three.fleetctl("root")
    assert root("users", "deny", "jo", "--reason", "left").code == 0
    try:
        with refused(grpc.StatusCode.PERMISSION_DENIED, "DENIED"):
            scale(three.stub("jo"), "web", 2)
        (row,) = (line for line in root("users", "list").out.splitlines() if line.startswith("jo"))
        assert "operator on web" in row and "as operator: left" in row
    finally:
        assert root("users", "allow", "jo").code == 0


def test_the_last_admin_stays_and_a_controllers_certificate_is_the_way_back(three: People) -> None:
    said = three.fleetctl("root")("users", "remove", "root")
    assert said.code == 1 and "root is the last admin on all" in said.told
    three.store("people/root", b"rubbish")
    root, jo = three.stub("root"), three.stub("jo")

    def locked_out() -> bool:
        try:
            scale(root, "web", 1)
        except grpc.RpcError as error:
            return "the record of root cannot be read" in (error.details() or "")
        return False

    eventually(locked_out, "a record that does not read gives no right")
    scale(jo, "web", 2)  # others keep theirs
    controller = three.fleetctl(three.replicas.leader().name, Role.CONTROLLER)
    said = controller("scale", "web", "--total", "3")
    assert said.code == UNREACHABLE, "it is the way back, and nothing else"
    assert "may give and take roles" in controller("users", "whoami").out
    told = controller("users", "whoami", "-o", "json").json["abilities"]
    may = {one["method"] for one in told if one["allowed"]}
    assert may == {"AddPerson", "RemovePerson", "ListPeople"}
    assert controller("users", "add", "root", "--role", "admin").code == 0
    scale(root, "web", 1)
    told = three.fleetctl("root")("history", "-o", "json").json["records"]
    leader = f"controller/{three.replicas.leader().name}"
    (given,) = (one for one in told if one["actor"] == leader)
    assert given["action"] == "users_add"
    assert (given["before"], given["after"]) == (
        "root: a record that does not read", "root is admin on all",
    )  # fmt: skip


def test_another_leader_judges_by_the_same_records(three: People) -> None:
    leader, term = three.replicas.leader(), three.replicas.stored()
    assert "people/jo" in term
    leader.kill()
    try:
        fleetctl = three.fleetctl
        eventually(lambda: fleetctl("jo")("fleets").code == 0, "another leads")
        said = fleetctl("jo")("scale", "db", "--total", "1")
        assert said.code == UNREACHABLE and "it needs operator on db" in said.told
        assert "operator on web" in fleetctl("jo")("users", "whoami").out
    finally:
        leader.start()
        eventually(lambda: three.replicas.standbys(), "the former leader stands by")
