"""A cluster that has everything several times: members of etcd, controllers, hollow hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet.etcd.rpc_pb2_grpc import KVStub
from fleet.ranges import IndexSet, parse_ranges
from fleet.transport import Identity, Role
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub
from fleet_controller.core.model import Assignment, FleetRecord
from fleet_controller.store.codec import decode
from fleet_controller.store.keys import EVENTS, LEADER
from fleetctl.local.certificate_authority import Authority, write_identity
from fleetctl.sandbox.state.identities import files_of
from megafleet.connection.cluster import Cluster
from megafleet.contexts import ClusterContext
from tests.certificates import issue
from tests.processes.daemons import Controller, Daemon, Hollow, channel_to, eventually, stub_for
from tests.processes.etcd_process import etcd_binary, free_ports

PREFIX = "/megafleet/"


class Wiring(Protocol):
    """Where a part is, and what runs it there."""

    def place(self, part: str) -> tuple[str, tuple[str, ...]]:
        """Its address, and the words before its command."""


class Loopback:
    """All of them beside each other."""

    def place(self, part: str) -> tuple[str, tuple[str, ...]]:
        return "127.0.0.1", ()


class EtcdMember(Daemon):
    """One of several; `peers` are all of them with the addresses of their peer ports. With an
    authority it speaks to clients and peers as in deploy/settings/etcd.env."""

    def __init__(
        self, name: str, folder: Path, client: str, peer: str, authority: Authority | None = None
    ) -> None:
        super().__init__(name, folder)
        self.client = client
        self._scheme = "https" if authority else "http"
        self.peer = f"{self._scheme}://{peer}"
        self.peers = ""
        self._tls = self._secured(authority, peer) if authority else ()

    def begin(self) -> None:
        client = f"{self._scheme}://{self.client}"
        self.launch(
            etcd_binary(), f"--name={self.name}", f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
            f"--listen-peer-urls={self.peer}", f"--initial-advertise-peer-urls={self.peer}",
            f"--initial-cluster={self.peers}", "--initial-cluster-token=replicated",
            "--log-level=warn", "--logger=zap", *self._tls,
        )  # fmt: skip

    def _secured(self, authority: Authority, peer: str) -> tuple[str, ...]:
        names = (peer.rpartition(":")[0], "127.0.0.1")
        ca, certificate, key = files_of(etcd_identity(authority, self.folder, self.name, names))
        return tuple(
            option
            for kind in ("", "peer-")
            for option in (
                f"--{kind}client-cert-auth", f"--{kind}trusted-ca-file={ca}",
                f"--{kind}cert-file={certificate}", f"--{kind}key-file={key}",
            )
        )  # fmt: skip


def etcd_identity(authority: Authority, folder: Path, name: str, names: Sequence[str]) -> Path:
    """A certificate for both ends of a connection to etcd, in a folder below that one."""
    issued = authority.issue_server(name, names)
    held = Identity(authority.certificate, issued.certificate, issued.key)
    write_identity(folder / "identity", held)
    return folder / "identity"


Part = EtcdMember | Controller | Hollow


class ReplicatedCluster:
    """Members, controllers and hosts by name in `parts`. Used as a context."""

    def __init__(
        self,
        folder: Path,
        hosts: int = 12,
        per_host: int = 20,
        processes: int = 2,
        members: int = 3,
        wiring: Wiring | None = None,
        lease_seconds: int = 3,
        etcd_tls: bool = False,
        agents_log: str = "warning",
    ) -> None:
        """`etcd_tls`: an authority of etcd's own, which has signed the members and one client.
        `agents_log`: the least of what agents log."""
        self._agents_log = agents_log
        self.live = hosts
        self._wiring = wiring or Loopback()
        self._etcd_authority = Authority.create("Test etcd") if etcd_tls else None
        self._etcd_client: Path | None = None
        if self._etcd_authority:
            client = folder / "etcd-client"
            self._etcd_client = etcd_identity(self._etcd_authority, client, "megafleet", ())
        self._lease_seconds = lease_seconds
        self.members = [self._member(f"etcd-{n}", folder) for n in range(1, members + 1)]
        for member in self.members:
            member.peers = ",".join(f"{one.name}={one.peer}" for one in self.members)
        store = "etcd://" + ",".join(member.client for member in self.members)
        self.controllers = [self._controller(f"controller-{n}", folder, store) for n in (1, 2, 3)]
        self.endpoints = [controller.address for controller in self.controllers]
        share = -(-hosts // processes)
        self.hollows = [
            self._hollow(f"hollow-{at}", folder, first, min(hosts, first + share - 1), per_host)
            for at, first in enumerate(range(1, hosts + 1, share), start=1)
        ]
        self.operator = issue(folder / "operator", Role.OPERATOR, "tester")
        self._channels = {one.name: channel_to(one.address) for one in self.controllers}
        self.stubs = {name: stub_for(channel) for name, channel in self._channels.items()}

    @property
    def parts(self) -> dict[str, Part]:
        everyone: list[Part] = [*self.members, *self.controllers, *self.hollows]
        return {one.name: one for one in everyone}

    def client(self, endpoints: Sequence[str] = (), timeout: float = 10.0) -> Cluster:
        """What fleetctl reaches the cluster by."""
        context = ClusterContext.with_identity(list(endpoints or self.endpoints), self.operator)
        return Cluster(context, timeout)

    def __enter__(self) -> ReplicatedCluster:
        try:
            for member in self.members:
                member.begin()
            for controller in self.controllers:
                controller.begin()
            for controller in self.controllers:
                controller.until_serving()
            for hollow in self.hollows:
                hollow.start()
            self.until_live()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        for channel in self._channels.values():
            channel.close()
        for part in reversed(self.parts.values()):
            with suppress(ProcessLookupError):
                part.kill()

    def _member(self, name: str, folder: Path) -> EtcdMember:
        address, within = self._wiring.place(name)
        client, peer = free_ports(2)
        member = EtcdMember(
            name, folder / name, f"{address}:{client}", f"{address}:{peer}", self._etcd_authority
        )
        member.within = within
        return member

    def _controller(self, name: str, folder: Path, store: str) -> Controller:
        address, within = self._wiring.place(name)
        made = Controller(folder / name, store, name, f"{address}:{free_ports(1)[0]}")
        made.within = within
        made.lease_seconds = self._lease_seconds
        made.store_identity = self._etcd_client
        return made

    def _hollow(self, name: str, folder: Path, first: int, last: int, per_host: int) -> Hollow:
        address, within = self._wiring.place(name)
        made = Hollow(
            folder / name, first, last, ",".join(self.endpoints), "--per-host", str(per_host),
            "--address", address, "--log-level", self._agents_log, name=name,
        )  # fmt: skip
        made.within = within
        return made

    # Asking ---------------------------------------------------------------------------------

    def version_of(self, name: str) -> cluster.VersionResponse | None:
        """What the replica says of itself; None when it does not answer at once."""
        try:
            return self.stubs[name].Version(cluster.VersionRequest(), timeout=2.0)
        except grpc.RpcError:
            return None

    def leader(self) -> Controller:
        """Waits for one that says it leads."""

        def look() -> Controller | None:
            for controller in self.controllers:
                said = self.version_of(controller.name)
                if said is not None and said.leader:
                    return controller
            return None

        found = eventually(look, "a controller leads")
        assert found is not None
        return found

    def standbys(self) -> list[Controller]:
        leader = self.leader()
        return [one for one in self.controllers if one is not leader]

    def until_live(self) -> None:
        eventually(lambda: self.status().hosts.live == self.live, f"{self.live} hosts live")

    def status(self, fleet: str = "") -> cluster.StatusResponse:
        return self._ask(lambda stub: stub.Status(cluster.StatusRequest(fleet=fleet), timeout=5.0))

    def _ask(
        self, ask: Callable[[ClusterServiceStub], cluster.StatusResponse]
    ) -> cluster.StatusResponse:
        error: grpc.RpcError | None = None
        for stub in self.stubs.values():
            try:
                return ask(stub)
            except grpc.RpcError as failed:
                error = failed
        assert error is not None
        raise error

    def total(self, fleet: str) -> int:
        return self.status(fleet).fleets[0].total

    # Past the controllers --------------------------------------------------------------------

    def listings(self, fleet_uid: str) -> dict[str, dict[str, Any]]:
        """What the drivers of each host hold of a fleet; hosts without any are left out."""
        found = {host: one.listing(host) for one in self.hollows for host in one.hosts}
        return {host: held[fleet_uid] for host, held in found.items() if fleet_uid in held}

    def running(self, fleet_uid: str) -> int:
        return sum(one.listing().get(fleet_uid, {"running": 0})["running"] for one in self.hollows)

    def digest(self, fleet: str) -> list[str]:
        """Which VMs exist and when each was born: the same exactly when nothing was changed."""
        held = self.listings(self.uid(fleet))
        return [f"{host} {held[host]['births_digest']}" for host in sorted(held)]

    def uid(self, fleet: str) -> str:
        return self.records()[fleet].uid

    def records(self) -> dict[str, FleetRecord]:
        return {
            key.removeprefix("fleets/"): decode(FleetRecord, key, value)
            for key, value in self.stored().items()
            if key.startswith("fleets/") and key.count("/") == 1
        }

    def assignments(self) -> dict[str, Assignment]:
        prefix = "assignments/"
        return {
            key.removeprefix(prefix): decode(Assignment, key, value)
            for key, value in self.stored().items()
            if key.startswith(prefix)
        }

    def stored(self) -> dict[str, bytes]:
        """What is in etcd, but for who leads, and for the events that leaders keep there."""
        first, end = PREFIX.encode(), PREFIX.encode()[:-1] + b"0"
        request = rpc.RangeRequest(key=first, range_end=end)
        answer = eventually(lambda: self._range(request), "etcd answers")
        assert answer is not None
        found = {kv.key.decode().removeprefix(PREFIX): kv.value for kv in answer.kvs}
        found.pop(LEADER, None)
        return {key: value for key, value in found.items() if not key.startswith(EVENTS)}

    def _range(self, request: rpc.RangeRequest) -> rpc.RangeResponse | None:
        for member in self.members:
            try:
                with self._channel_to(member) as channel:
                    return KVStub(channel).Range(request, timeout=2.0)
            except grpc.RpcError:
                continue
        return None

    def _channel_to(self, member: EtcdMember) -> grpc.Channel:
        if self._etcd_client is None:
            return grpc.insecure_channel(member.client)
        credentials = Identity.load(self._etcd_client).for_channel()
        return grpc.secure_channel(member.client, credentials)

    def check(self, fleet: str, total: int) -> None:
        """Of a fleet that has converged: what runs is what was asked for and what etcd says."""
        record = self.records()[fleet]
        assert record.total == total
        assigned = {host: one.indices(record.uid) for host, one in self.assignments().items()}
        together = IndexSet.union_of(assigned.values())
        assert sum(map(len, assigned.values())) == len(together), "an index is assigned twice"
        assert together == IndexSet.span(0, total)
        held = self.listings(record.uid)
        for host, indices in assigned.items():
            found = held.get(host, {"running": 0, "indices": "", "duplicates": 0})
            has = parse_ranges(found["indices"]) if found["indices"] else IndexSet()
            assert has == indices, f"{host} holds {has} and is to hold {indices}"
            assert (found["running"], found["duplicates"]) == (len(indices), 0), host
        assert not set(held) - set(assigned), "a host holds what nobody gave it"
