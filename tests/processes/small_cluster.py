"""A small cluster of real processes, and what must hold of it after whatever happened to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet.etcd.rpc_pb2_grpc import KVStub
from fleet.ranges import IndexSet, parse_ranges
from fleet.transport import detail_of
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet_controller.core.model import Assignment, FleetRecord
from fleet_controller.store.codec import decode
from tests.processes.daemons import Controller, Hollow, channel_to, eventually, stub_for
from tests.processes.etcd_process import EtcdProcess

PREFIX = "/megafleet/"
CALL_SECONDS = 30.0
RUNNING = types.VM_STATE_RUNNING


def spec(**fields: object) -> types.FleetSpec:
    """A small VM that is ready once active; a host may boot all its own at once."""
    made = types.FleetSpec(
        image=types.Image(name="golden", snapshot="1"),
        memory_bytes=4 << 20,
        vcpus=1,
        boot=types.Boot(kernel="/boot/tiny.elf"),
        disk=types.Disk(target="xvda"),
        readiness=types.Readiness(domain_active=True, timeout_seconds=30),
        admission=types.Admission(parallel=250),
        placement=types.Placement(policy=types.Placement.POLICY_SPREAD, spread_label="rack"),
        on_loss=types.ON_LOSS_REPLACE,
    )
    made.MergeFrom(types.FleetSpec(**fields))  # type: ignore[arg-type]
    return made


class SmallCluster:
    """etcd, one controller and processes of hollow hosts. Used as a context."""

    def __init__(
        self,
        folder: Path,
        hosts: int = 24,
        per_host: int = 40,
        processes: int = 2,
        options: Iterable[str] = (),
        etcd_options: Iterable[str] = (),
    ) -> None:
        self.live = hosts  # how many can be
        self.etcd = EtcdProcess(folder / "etcd", None, *etcd_options)
        self.controller = Controller(folder / "controller", f"etcd://{self.etcd.endpoint}")
        share = -(-hosts // processes)
        self.hollows = [
            Hollow(
                folder / f"hollow-{first}", first, min(hosts, first + share - 1),
                self.controller.address, "--per-host", str(per_host), *options,
            )
            for first in range(1, hosts + 1, share)
        ]  # fmt: skip
        self._channel = channel_to(self.controller.address)
        self.stub = stub_for(self._channel)
        self._etcd_channel = grpc.insecure_channel(self.etcd.endpoint)
        self._kv = KVStub(self._etcd_channel)

    def __enter__(self) -> SmallCluster:
        try:
            self.etcd.start()
            self.controller.start()
            for hollow in self.hollows:
                hollow.start()
            self.until_live()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start_what_is_down(self) -> None:
        """What a test has killed and, since it failed, not started again. Ask when it is live."""
        programs: list[Controller | Hollow] = [self.controller, *self.hollows]
        down = [one for one in programs if not one.running]
        for one in down:
            one.start()
        if down:
            self.until_live()

    def _end(self) -> None:
        self._channel.close()
        self._etcd_channel.close()
        for hollow in self.hollows:
            hollow.kill()
        self.controller.kill()
        self.etcd.kill()

    # Asking ---------------------------------------------------------------------------------

    @property
    def hosts(self) -> list[str]:
        return [host for hollow in self.hollows for host in hollow.hosts]

    def until_live(self) -> None:
        eventually(
            lambda: self._all_run() and self.status().hosts.live == self.live,
            f"{self.live} hosts live",
        )

    def status(self, fleet: str = "") -> cluster.StatusResponse:
        return self.stub.Status(cluster.StatusRequest(fleet=fleet), timeout=CALL_SECONDS)

    def fleet(self, name: str = "spv") -> cluster.FleetStatus:
        return self.status(name).fleets[0]

    def apply(self, name: str = "spv", template: types.FleetSpec | None = None) -> None:
        request = cluster.ApplyFleetRequest(name=name, spec=template or spec())
        self.stub.ApplyFleet(request, timeout=CALL_SECONDS)

    def scale(self, total: int, fleet: str = "spv", **fields: object) -> cluster.ScaleResponse:
        request = cluster.ScaleRequest(fleet=fleet, total=total, **fields)  # type: ignore[arg-type]
        return self.stub.Scale(request, timeout=CALL_SECONDS)

    def until_converged(self, total: int, fleet: str = "spv") -> cluster.FleetStatus:
        def look() -> cluster.FleetStatus | None:
            self._all_run()
            found = self.fleet(fleet)
            return found if found.converged and found.total == total else None

        found = eventually(look, f"{fleet} has {total} running VMs")
        assert found is not None
        return found

    def scale_and_wait(self, total: int, fleet: str = "spv") -> cluster.FleetStatus:
        self.scale(total, fleet)
        return self.until_converged(total, fleet)

    def remove(self, *fleets: str) -> None:
        """Delete the fleets, and return when they are gone from everywhere. An etcd that has just
        been started again is waited for."""
        for name in fleets:
            eventually(partial(self._is_deleted, name), f"{name} is being deleted")
        eventually(lambda: not {f.fleet for f in self.status().fleets} & set(fleets), "fleets gone")

    def _is_deleted(self, fleet: str) -> bool:
        try:
            self.stub.DeleteFleet(cluster.DeleteFleetRequest(name=fleet), timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE, error
            return False
        return True

    def events(self, kind: str) -> list[cluster.Event]:
        request = cluster.ListEventsRequest(limit=10_000)
        answer = self.stub.ListEvents(request, timeout=CALL_SECONDS)
        return [event for event in answer.events if event.kind == kind]

    def _all_run(self) -> bool:
        return self.controller.must_run() and all(hollow.must_run() for hollow in self.hollows)

    # etcd, past the controller --------------------------------------------------------------

    def revision(self) -> int:
        """The store's own: it grows with every write of anybody."""
        answer = self._kv.Range(rpc.RangeRequest(key=b"x", count_only=True), timeout=CALL_SECONDS)
        return int(answer.header.revision)

    def stored(self, prefix: str) -> dict[str, bytes]:
        return {key: kv.value for key, kv in self._entries(prefix).items()}

    def written_at(self, prefix: str) -> dict[str, int]:
        """The revision that last wrote each of these keys."""
        return {key: kv.mod_revision for key, kv in self._entries(prefix).items()}

    def _entries(self, prefix: str) -> dict[str, rpc.KeyValue]:
        first = (PREFIX + prefix).encode()
        end = first[:-1] + bytes((first[-1] + 1,))
        answer = self._kv.Range(rpc.RangeRequest(key=first, range_end=end), timeout=CALL_SECONDS)
        return {kv.key.decode().removeprefix(PREFIX + prefix): kv for kv in answer.kvs}

    def records(self) -> dict[str, FleetRecord]:
        """The fleets by name."""
        found = self.stored("fleets/")
        return {k: decode(FleetRecord, k, v) for k, v in found.items() if "/" not in k}

    def assignments(self) -> dict[str, Assignment]:
        return {k: decode(Assignment, k, v) for k, v in self.stored("assignments/").items()}

    def put(self, key: str, value: bytes) -> None:
        """As somebody with etcdctl would."""
        put = rpc.PutRequest(key=(PREFIX + key).encode(), value=value)
        self._write(rpc.RequestOp(request_put=put))

    def fill_etcd(self) -> None:
        """Beyond its quota, so that it takes no more writes. Only with a small quota."""
        big = bytes(500_000)
        while True:
            put = rpc.PutRequest(key=b"/ballast", value=big)
            try:
                self._write(rpc.RequestOp(request_put=put))
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error
                return

    def make_room_in_etcd(self) -> None:
        """What an operator does: delete, compact, defragment, disarm the alarm."""
        self._write(rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=b"/ballast")))
        answer = self._kv.Range(rpc.RangeRequest(key=b"x", count_only=True), timeout=CALL_SECONDS)
        request = rpc.CompactionRequest(revision=answer.header.revision)
        self._kv.Compact(request, timeout=CALL_SECONDS)
        member = rpc.ResponseHeader(member_id=answer.header.member_id)
        disarm = b"\x08\x02" + member.SerializeToString() + b"\x18\x01"
        for name, body in (("Defragment", b""), ("Alarm", disarm)):
            path = f"/etcdserverpb.Maintenance/{name}"
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._etcd_channel.unary_unary(path)
            call(body, timeout=CALL_SECONDS)

    def _write(self, operation: rpc.RequestOp) -> None:
        self._kv.Txn(rpc.TxnRequest(success=[operation]), timeout=CALL_SECONDS)

    # What must hold -------------------------------------------------------------------------

    def assigned_once(self, uid: str) -> IndexSet:
        """All indices of the fleet that are assigned; none is twice. True at every moment."""
        held = [one.indices(uid) for one in self.assignments().values()]
        together = IndexSet.union_of(held)
        assert sum(map(len, held)) == len(together), "an index is assigned twice"
        return together

    def assert_division(self, fleet: str, total: int) -> None:
        """Every index of [0, total) is in exactly one assignment or unplaced with a reason, no
        other index is in any, and none is where a tombstone may still hold it.

        Of a fleet at rest: etcd is read before the controller is asked.
        """
        uid = self.records()[fleet].uid
        assert self.records()[fleet].total == total
        together = self.assigned_once(uid)
        wanted = IndexSet.span(0, total)
        assert not together - wanted, "assigned above the total"
        status = self.fleet(fleet)
        missing = wanted - together
        assert (status.placed, status.unplaced) == (len(together), len(missing))
        assert sum(reason.count for reason in status.unplaced_reasons) == len(missing)
        assert all(reason.message and reason.reason for reason in status.unplaced_reasons)
        for host in self.hosts:
            buried = self._unacknowledged(host, uid)
            assert buried.isdisjoint(together), f"{host} has not released what others hold"

    def _unacknowledged(self, host: str, uid: str) -> IndexSet:
        detail = self.stub.GetHost(cluster.GetHostRequest(id=host), timeout=CALL_SECONDS)
        return IndexSet.union_of(
            IndexSet((r.start, r.stop) for r in tombstone.ranges)
            for tombstone in detail.tombstones
            if tombstone.fleet_uid == uid
        )

    def assert_running(self, fleet: str, total: int) -> None:
        """The hosts' drivers hold exactly what etcd says, running, with the births it says."""
        uid = self.records()[fleet].uid
        assignments = self.assignments()
        together: list[IndexSet] = []
        for hollow in self.hollows:
            for host in hollow.hosts:
                mine = assignments.get(host, Assignment())
                births: Counter[str] = Counter()
                for shard in mine.shards:
                    if shard.fleet == uid:
                        births[str(shard.birth)] += len(shard.ranges)
                wanted = mine.indices(uid)
                has = hollow.listing(host).get(uid)
                if has is None:
                    assert not wanted, f"{host} has nothing of {fleet}"
                    continue
                counts = (has["running"], has["defined"], has["clones"], has["duplicates"])
                assert counts == (len(wanted), len(wanted), len(wanted), 0), host
                assert has["births"] == dict(births), host
                together.append(parse_ranges(has["indices"]) if has["indices"] else IndexSet())
        assert sum(map(len, together)) == total
        assert IndexSet.union_of(together) == IndexSet.span(0, total)
        assert self.fleet(fleet).states[RUNNING] == total

    def check(self, fleet: str, total: int) -> None:
        """Both, of a fleet that has converged."""
        self.assert_division(fleet, total)
        self.assert_running(fleet, total)

    def nothing_left(self, uid: str) -> bool:
        """Whether no host has anything of the fleet, and nothing in etcd names it but the record
        that there was such a fleet."""
        return not any(uid in hollow.listing() for hollow in self.hollows) and not any(
            uid.encode() in value or uid in key
            for key, value in self.stored("").items()
            if key != f"gone/{uid}"
        )


@contextmanager
def refused(code: grpc.StatusCode, reason: str) -> Iterator[list[str]]:
    """The block ends with this refusal; its one sentence is appended to the list."""
    sentence: list[str] = []
    try:
        yield sentence
    except grpc.RpcError as error:
        said = (error.code(), detail_of(error).reason, error.details())
        assert said[:2] == (code, reason), said
        sentence.append(error.details() or "")
        assert sentence[0] and "Traceback" not in sentence[0] and "\n" not in sentence[0]
    else:
        raise AssertionError(f"not refused; {reason} was expected")
