"""etcd itself, asked as its root: who its members are and how they do, changes of them, users.

Any member that sees a leader takes any of these calls; the first of them is asked. What is added or
removed is looked at again before it is tried once more, since an answer may be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grpc

from fleet.etcd import rpc_pb2 as rpc
from fleet.etcd import rpc_pb2_grpc as stubs
from fleet.transport import Identity
from fleetctl.founding.quorum import EtcdMember
from fleetctl.outcome import Failed, Unreachable, one_line

# For one member to say how it is, and to carry out one change.
LOOK_SECONDS = 3.0
CHANGE_SECONDS = 10.0
# etcd sends 32 KiB at once, as fast as they are read.
SNAPSHOT_SECONDS = 1800.0
_MOST_MEMBERS = 32
_MOST_TEXT = 200
_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 64 << 20),
]
_PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# What etcd says of what is there already.
_THERE_ALREADY = ("already exists", "already granted", "already enabled")
# What etcd says of what it will do a moment later: a learner that lags; and a member that is added
# right after another was removed is taken for that one.
_IN_A_MOMENT = ("in sync with leader", "member not found")

A = TypeVar("A")


class NotYet(Failed):
    """etcd cannot do it at this moment, and may in a few seconds."""


class EtcdAdmin:
    """Connections to members by address; close() ends them."""

    def __init__(self, addresses: Sequence[str], identity: Identity) -> None:
        self._identity = identity
        self._channels: dict[str, grpc.Channel] = {}
        self.addresses = list(dict.fromkeys(addresses))

    def __enter__(self) -> EtcdAdmin:
        return self

    def __exit__(self, *_: object) -> None:
        for channel in self._channels.values():
            channel.close()

    def members(self) -> list[EtcdMember]:
        """All that the cluster lists, each asked by itself. Raises Unreachable."""
        listed = self._ask(
            lambda channel: stubs.ClusterStub(channel).MemberList(
                rpc.MemberListRequest(), timeout=LOOK_SECONDS
            )
        )
        found = [self._look(one) for one in listed.members[:_MOST_MEMBERS]]
        return sorted(found, key=lambda one: (one.learner, one.name, one.peer_url))

    def add_learner(self, peer_url: str) -> None:
        request = rpc.MemberAddRequest(peerURLs=[peer_url], isLearner=True)
        self._change(lambda channel: stubs.ClusterStub(channel).MemberAdd(
            request, timeout=CHANGE_SECONDS
        ))  # fmt: skip

    def promote(self, member: EtcdMember) -> None:
        """Raises NotYet while it has not caught up."""
        request = rpc.MemberPromoteRequest(ID=member.id)
        self._change(lambda channel: stubs.ClusterStub(channel).MemberPromote(
            request, timeout=CHANGE_SECONDS
        ))  # fmt: skip

    def remove(self, member: EtcdMember) -> None:
        """One that is gone already is removed."""
        request = rpc.MemberRemoveRequest(ID=member.id)
        self._change(
            lambda channel: stubs.ClusterStub(channel).MemberRemove(
                request, timeout=CHANGE_SECONDS
            ),
            accepts=("member not found",),
        )

    def confine(self, user: str, prefix: bytes) -> None:
        """The user reads and writes keys below the prefix, and no other; access control is on,
        with root for whoever holds its certificate. What is so already stays. Raises Failed."""
        end = prefix[:-1] + bytes([prefix[-1] + 1])
        whole = rpc.AuthPermission(permType=rpc.AuthPermission.READWRITE, key=prefix, range_end=end)
        no_password = rpc.AuthUserAddOptions(no_password=True)
        calls: list[tuple[str, Any]] = [
            ("RoleAdd", rpc.AuthRoleAddRequest(name="root")),
            ("UserAdd", rpc.AuthUserAddRequest(name="root", options=no_password)),
            ("UserGrantRole", rpc.AuthUserGrantRoleRequest(user="root", role="root")),
            ("RoleAdd", rpc.AuthRoleAddRequest(name=user)),
            ("RoleGrantPermission", rpc.AuthRoleGrantPermissionRequest(name=user, perm=whole)),
            ("UserAdd", rpc.AuthUserAddRequest(name=user, options=no_password)),
            ("UserGrantRole", rpc.AuthUserGrantRoleRequest(user=user, role=user)),
            ("AuthEnable", rpc.AuthEnableRequest()),
        ]
        for name, request in calls:
            self._change(_auth_call(name, request), accepts=_THERE_ALREADY)

    def is_confined(self, prefix: bytes) -> bool:
        """Whether whoever this identity is reads below the prefix, and nothing else. Raises
        Unreachable."""
        return self._may_read(prefix) and not self._may_read(b"\0")

    def _may_read(self, key: bytes) -> bool:
        try:
            self._ask(
                lambda channel: stubs.KVStub(channel).Range(
                    rpc.RangeRequest(key=key, limit=1), timeout=LOOK_SECONDS
                )
            )
        except Unreachable:
            raise
        except Failed:
            return False
        return True

    def snapshot(self) -> Iterator[tuple[bytes, int]]:
        """etcd's own, and after it the digest of it: pieces, and the bytes still to come.
        Raises Failed, Unreachable."""
        channel = self._channel(self._first_answering())
        stream = stubs.MaintenanceStub(channel).Snapshot(
            rpc.SnapshotRequest(), timeout=SNAPSHOT_SECONDS
        )
        try:
            for piece in stream:
                yield piece.blob, piece.remaining_bytes
        except grpc.RpcError as error:
            raise Failed(f"etcd gives no snapshot: {_why(error)}") from error

    def _first_answering(self) -> str:
        """Of those that see a leader: one that was cut off has an old store, and changes nothing.
        Where none does, the first that answers: what it says is all that is left."""
        leaderless = ""
        for address in self.addresses:
            try:
                status = self._status(address)
            except grpc.RpcError:
                continue
            if status.leader:
                return address
            leaderless = leaderless or address
        if leaderless:
            return leaderless
        raise Unreachable(f"no member of etcd answers at {', '.join(self.addresses)}")

    def _look(self, listed: rpc.EtcdMember) -> EtcdMember:
        url = listed.clientURLs[0][:_MOST_TEXT] if listed.clientURLs else ""
        member = EtcdMember(
            listed.ID,
            one_line(listed.name[:_MOST_TEXT]),
            one_line(listed.peerURLs[0][:_MOST_TEXT]) if listed.peerURLs else "",
            one_line(url),
            listed.isLearner,
            problem="it has never been up",
        )
        if not url:
            return member
        return self._asked(member, url.partition("://")[2] or url)

    def _asked(self, member: EtcdMember, address: str) -> EtcdMember:
        from dataclasses import replace

        try:
            status = self._status(address)
        except grpc.RpcError as error:
            return replace(member, problem=_why(error))
        if status.header.member_id != member.id:
            return replace(member, problem=f"another member answers at {address}")
        return replace(
            member,
            problem="" if status.leader else "it sees no leader",
            version=one_line(status.version[:_MOST_TEXT]),
            leads=status.leader == member.id,
            index=status.raftIndex,
            bytes_used=max(0, status.dbSize),
        )

    def _status(self, address: str) -> rpc.StatusResponse:
        stub = stubs.MaintenanceStub(self._channel(address))
        return stub.Status(rpc.StatusRequest(), timeout=LOOK_SECONDS)

    def _channel(self, address: str) -> grpc.Channel:
        if address not in self._channels:
            credentials = self._identity.for_channel()
            self._channels[address] = grpc.secure_channel(address, credentials, options=_OPTIONS)
        return self._channels[address]

    def _ask(self, call: Callable[[grpc.Channel], A]) -> A:
        """The first answer of any of them. Raises Unreachable, Failed."""
        said = []
        for address in self.addresses:
            try:
                return call(self._channel(address))
            except grpc.RpcError as error:
                if _code(error) not in _PASSING:
                    raise Failed(f"etcd at {address} refuses: {_why(error)}") from error
                said.append(f"{address}: {_why(error)}")
        raise Unreachable(f"no member of etcd answers ({'; '.join(said)})")

    def _change(
        self, call: Callable[[grpc.Channel], object], accepts: tuple[str, ...] = ()
    ) -> None:
        """Raises NotYet where another try may be taken, Failed else."""
        address = self._first_answering()
        try:
            call(self._channel(address))
        except grpc.RpcError as error:
            why = _why(error)
            if any(one in why for one in accepts):
                return
            passing = _code(error) in _PASSING or any(one in why for one in _IN_A_MOMENT)
            raise (NotYet if passing else Failed)(f"etcd refuses: {why}") from error


def _auth_call(name: str, request: Any) -> Callable[[grpc.Channel], object]:
    def call(channel: grpc.Channel) -> object:
        return getattr(stubs.AuthStub(channel), name)(request, timeout=CHANGE_SECONDS)

    return call


def _code(error: grpc.RpcError) -> Any:
    return error.code() if isinstance(error, grpc.Call) else None


def _why(error: grpc.RpcError) -> str:
    """A clause, for people."""
    if not isinstance(error, grpc.Call):
        return type(error).__name__
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    details = (error.details() or error.code().name).removeprefix("etcdserver: ")
    if "failed to connect" in details or "Connection refused" in details:
        return "it cannot be reached"
    return one_line(details[:_MOST_TEXT])
