"""Who calls: by its own certificate, or by the word of a controller that passes a call on; and
whether that is denied."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

import grpc

from fleet.peers import NoRole, parse_peer, peer_of
from fleet.service import Context, no_role
from fleet.transport import CALLER_METADATA, Peer, Refusal, Role
from fleet_controller.core.model import DeniedRecord

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Caller:
    """`via`: the controller that has passed the call on, and says for whom; None where the caller
    has shown its certificate itself."""

    peer: Peer
    via: Peer | None = None

    def __str__(self) -> str:
        return f"{self.peer} via {self.via}" if self.via else str(self.peer)

    @property
    def names(self) -> tuple[str, ...]:
        """All whose certificate this call rests on."""
        return self.peer.spellings + (self.via.spellings if self.via else ())


def caller_of(context: Context) -> Caller:
    """Nobody but a controller is believed about a caller, and never that this is a controller.
    Raises Refusal for a certificate without a role, and for a caller that cannot be."""
    try:
        peer = peer_of(context.auth_context())
    except NoRole as why:
        raise no_role(why) from why
    passed_on = [
        str(value) for key, value in context.invocation_metadata() or () if key == CALLER_METADATA
    ]
    if peer.role is not Role.CONTROLLER or not passed_on:
        return Caller(peer)
    claimed = parse_peer(passed_on[0])
    if claimed is None or claimed.role is Role.CONTROLLER or len(passed_on) > 1:
        raise Refusal(
            grpc.StatusCode.PERMISSION_DENIED,
            "NOT_ALLOWED",
            f"{peer} passes on a call for {passed_on[0][:_SHOWN]!r}, which is no operator, "
            "viewer or agent",
        )
    return Caller(claimed, peer)


def denial(caller: Caller, denied: Mapping[str, DeniedRecord]) -> Refusal | None:
    """Why the caller, or who passes its call on, is refused whatever it asks; None: it is not."""
    found = next((denied[name] for name in caller.names if name in denied), None)
    if found is None:
        return None
    back = f"users allow {found.name} --role {found.role}"
    if found.role == Role.AGENT:
        back = f"hosts readmit {found.name}"
    since = datetime.fromtimestamp(found.since, UTC)
    return Refusal(
        grpc.StatusCode.PERMISSION_DENIED,
        "DENIED",
        f"{found.who} is denied since {since:%Y-%m-%d %H:%M} UTC, by {found.actor or 'somebody'}: "
        f"{found.reason}; whoever may deny may take it back: 'fleetctl {back}'",
    )


def check_not_denied(caller: Caller, denied: Mapping[str, DeniedRecord]) -> None:
    """Raises Refusal."""
    if refusal := denial(caller, denied):
        raise refusal


class CallsUnderWay:
    """The calls that this replica answers now, by whose certificate they rest on."""

    def __init__(self) -> None:
        self._tasks: defaultdict[str, set[asyncio.Task[object]]] = defaultdict(set)
        self._why: WeakKeyDictionary[asyncio.Task[object], Refusal] = WeakKeyDictionary()

    @contextmanager
    def under_way(self, caller: Caller) -> Iterator[None]:
        """The calling task's."""
        task = asyncio.current_task()
        assert task is not None
        for name in caller.names:
            self._tasks[name].add(task)
        try:
            yield
        finally:
            for name in caller.names:
                self._tasks[name].discard(task)
                if not self._tasks[name]:
                    del self._tasks[name]

    def end(self, who: str, why: Refusal | None = None) -> None:
        """Cancel those of somebody who is denied by now, or may do less: then `why` is told."""
        for task in list(self._tasks.get(who, ())):
            if task is asyncio.current_task():
                continue
            if why is not None:
                self._why[task] = why
            task.cancel()

    def why_ended(self) -> Refusal | None:
        """What the caller of the calling task is to be told, where it was ended."""
        task = asyncio.current_task()
        return self._why.get(task) if task else None
