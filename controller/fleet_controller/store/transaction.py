"""What every adapter refuses in a transaction before it is sent."""

from __future__ import annotations

from collections.abc import Sequence

from fleet_controller.store.port import (
    MAX_TXN_BYTES,
    MAX_TXN_OPS,
    Delete,
    Guard,
    InvalidTransaction,
    Put,
)


def check(guards: Sequence[Guard], writes: Sequence[Put | Delete]) -> None:
    """Raises InvalidTransaction with a sentence that names the limit or the key."""
    if len(guards) > MAX_TXN_OPS:
        raise InvalidTransaction(f"{len(guards)} guards in one txn; at most {MAX_TXN_OPS}")
    if len(writes) > MAX_TXN_OPS:
        raise InvalidTransaction(f"{len(writes)} writes in one txn; at most {MAX_TXN_OPS}")
    for guard in guards:
        _check_guard(guard)
    _check_keys(writes)
    size = sum(len(guard.key.encode()) for guard in guards) + sum(map(_size, writes))
    if size > MAX_TXN_BYTES:
        raise InvalidTransaction(f"a txn of {size} bytes; at most {MAX_TXN_BYTES}")


def _check_guard(guard: Guard) -> None:
    if not guard.key:
        raise InvalidTransaction("a guard has an empty key")
    if (guard.mod_revision is None) == (guard.create_revision is None):
        raise InvalidTransaction(
            f"the guard of {guard.key!r} must name one of mod_revision and create_revision"
        )


def _check_keys(writes: Sequence[Put | Delete]) -> None:
    seen: set[str] = set()
    for write in writes:
        if not write.key:
            raise InvalidTransaction("a write has an empty key")
        if write.key in seen:
            raise InvalidTransaction(f"{write.key!r} is written twice in one txn")
        seen.add(write.key)


def _size(write: Put | Delete) -> int:
    value = len(write.value) if isinstance(write, Put) else 0
    return len(write.key.encode()) + value
