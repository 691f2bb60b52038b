"""What goes wrong in a gRPC call to an agent, as the agents port says it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from fleet.certificates.certificate_dates import why_refused
from fleet.transport import Refusal, detail_of
from fleet_controller.agents.port import (
    AheadOfStore,
    Declined,
    EndedHere,
    LinkError,
    Misbehaved,
    NoAnswer,
    NotOffered,
    StaleTerm,
    Unreachable,
)

_REASONS: dict[str, type[Declined]] = {
    "STALE_TERM": StaleTerm,
    "STALE_EPOCH": AheadOfStore,
    "UNIMPLEMENTED": NotOffered,
}
# Characters kept of what an agent says: for a list of hosts, and for whoever asked the agent.
_SHORT = 300
_WHOLE = 4000
# How gRPC words that a message was not read because of its size.
_TOO_LARGE = re.compile(r"larger than max \(([0-9]{1,12}) vs\. ([0-9]{1,12})\)")
_NO_CONNECTION = re.compile(
    r"failed to connect to all addresses; last error: [A-Z_]+: (?:ipv[46]:\S+: )?"
    r"(?:Failed to connect to remote host: )?(.+)$"
)


@contextmanager
def errors_as_the_ports(peer: str) -> Iterator[None]:
    """gRPC raises CancelledError in a reader whose call was closed at this end. It is passed on
    only when the task itself is being cancelled."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _translated(error, peer) from error
    except (grpc.aio.UsageError, asyncio.InvalidStateError) as error:
        raise Unreachable(f"{peer}: the call has ended") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise EndedHere(f"{peer}: the call was ended at this end") from error


def _translated(error: grpc.aio.AioRpcError, peer: str) -> LinkError:
    """An answer with a reason comes from the agent itself; any other from the way to it, but
    for a method that the agent's server has never heard of."""
    code, detail = error.code(), detail_of(error)
    said = _plain(_printable((error.details() or code.name.lower()).partition("\n")[0]))
    message = f"{peer}: {said}"[:_SHORT]
    if detail.reason:
        words = _printable(error.details() or "")[:_WHOLE] or said
        answer = Refusal(code, detail.reason, words, dict(detail.metadata))
        return _REASONS.get(detail.reason, Declined)(message, answer)
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return NotOffered(message)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and (sizes := _TOO_LARGE.search(said)):
        return Misbehaved(
            f"{peer}: it sends more at once than a host can have to say: {int(sizes[1]):,} bytes; "
            f"at most {int(sizes[2]):,} are read"
        )
    return NoAnswer(message) if code is grpc.StatusCode.DEADLINE_EXCEEDED else Unreachable(message)


def _plain(text: str) -> str:
    """How gRPC words that it has no connection, without its addresses and status names."""
    if refused := why_refused(text):
        return f"cannot connect: {refused}"
    found = _NO_CONNECTION.match(text)
    return f"cannot connect: {found[1]}" if found else text


def _printable(text: str) -> str:
    return "".join(one for one in text if one.isprintable() or one == "\n")
