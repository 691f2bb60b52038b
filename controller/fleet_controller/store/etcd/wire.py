"""Between the port's words and etcd's messages: pure, no I/O.

Keys of the port are text without a prefix; keys of etcd are bytes that carry one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fleet.endpoints import dialled
from fleet.etcd import rpc_pb2 as rpc
from fleet_controller.store.port import Change, Delete, Entry, Guard, Put


class Keyspace:
    """The keys under one prefix of an etcd."""

    def __init__(self, prefix: str) -> None:
        if not prefix.endswith("/"):
            raise ValueError(f"the key prefix {prefix!r} must end with /")
        self._prefix = prefix.encode()

    def span(self, prefix: str) -> tuple[bytes, bytes]:
        """The half-open range of etcd's keys that start with the prefix."""
        first = self._prefix + prefix.encode()
        return first, end_of_prefix(first)

    def page(
        self, prefix: str, start: bytes, limit: int, revision: int, *, count_only: bool = False
    ) -> rpc.RangeRequest:
        """At most `limit` keys of the prefix from `start` on (empty: its first) at a revision
        (0: the newest), linearizable."""
        first, end = self.span(prefix)
        return rpc.RangeRequest(
            key=start or first,
            range_end=end,
            limit=limit,
            revision=revision,
            count_only=count_only,
        )

    def txn(self, guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> rpc.TxnRequest:
        return rpc.TxnRequest(
            compare=[self._compare(guard) for guard in guards],
            success=[self._operation(write) for write in writes],
        )

    def entry(self, kv: rpc.KeyValue) -> Entry:
        return Entry(self._name(kv.key), kv.value, kv.create_revision, kv.mod_revision)

    def changes(self, events: Iterable[rpc.Event], after: int) -> tuple[Change, ...]:
        """The events past `after`, as they came. etcd sends none before it: a guard, no filter."""
        return tuple(
            Change(
                self._name(event.kv.key),
                None if event.type == rpc.Event.DELETE else event.kv.value,
                event.kv.create_revision,
                event.kv.mod_revision,
            )
            for event in events
            if event.kv.mod_revision > after
        )

    def _name(self, key: bytes) -> str:
        return key[len(self._prefix) :].decode("utf-8", "replace")

    def _key(self, name: str) -> bytes:
        return self._prefix + name.encode()

    def _compare(self, guard: Guard) -> rpc.Compare:
        if guard.mod_revision is not None:
            return rpc.Compare(
                result=rpc.Compare.EQUAL,
                target=rpc.Compare.MOD,
                key=self._key(guard.key),
                mod_revision=guard.mod_revision,
            )
        return rpc.Compare(
            result=rpc.Compare.EQUAL,
            target=rpc.Compare.CREATE,
            key=self._key(guard.key),
            create_revision=guard.create_revision or 0,
        )

    def _operation(self, write: Put | Delete) -> rpc.RequestOp:
        key = self._key(write.key)
        if isinstance(write, Delete):
            return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
        put = rpc.PutRequest(key=key, value=write.value, lease=write.lease)
        return rpc.RequestOp(request_put=put)


def end_of_prefix(prefix: bytes) -> bytes:
    """The first key after all that start with the prefix: its last byte raised by one."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else b"\0"


def parse_endpoint(text: str) -> str:
    """`host:port` from `host:port` or a URL of it. Raises ValueError."""
    scheme, separator, rest = text.strip().rpartition("://")
    if separator and scheme not in ("http", "https"):
        raise ValueError(f"etcd endpoint {text!r}: the scheme may be http or https")
    return dialled(rest.rstrip("/"))
