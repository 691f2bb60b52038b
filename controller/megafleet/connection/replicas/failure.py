"""Why a call failed, from gRPC's words to an error with one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

import grpc

from fleet.transport import detail_of
from megafleet.errors import MegafleetError, NoAnswer, NotAllowed, Refused, Unavailable
from megafleet.texts import one_line

NOT_LEADER = "NOT_LEADER"
# The leader went while it worked on a call.
LEADER_GONE = "LEADER_GONE"

# It came later than it was waited for, or another controller leads by now: nothing was begun.
CHANGE_DEADLINE_PASSED = "LATE"

_DISTRUST = re.compile(r"handshake|certificate|peer name|ssl_|TLS", re.IGNORECASE)
# How it words that a handshake was ended here, after 20 s without a word from the other end: the
# kernel accepts connections for a process that is stopped.
_SPEECHLESS = re.compile(r"endpoint closing", re.IGNORECASE)
_NOBODY_THERE = re.compile(r"connection refused", re.IGNORECASE)
# How gRPC words that there was no connection to send anything on.
_NEVER_CONNECTED = re.compile(
    r"failed to connect to all addresses|connection refused|name resol|hostname lookup|"
    r"DNS resolution|DNS query",
    re.IGNORECASE,
)
# A server that is being stopped cancels the calls it has.
_SILENT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
)
# What a controller says of itself with these codes; any other reason is a host's, or about one,
# and no other replica knows better.
_OF_CONTROLLERS = ("", NOT_LEADER, LEADER_GONE, "STORE_UNAVAILABLE", "OUTCOME_UNKNOWN")
_NOT_ALLOWED = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)


@dataclass(frozen=True, slots=True)
class Failure:
    """How a call to one replica failed. `leader` is the address it named, if any."""

    endpoint: str
    code: grpc.StatusCode
    message: str
    reason: str
    leader: str = ""
    sent: bool = True  # False: it is certain that the call itself was never made

    @property
    def elsewhere(self) -> bool:
        """Whether another replica may still answer."""
        silent = self.code in _SILENT and self.reason in _OF_CONTROLLERS
        return silent or self.reason in (NOT_LEADER, CHANGE_DEADLINE_PASSED)

    @property
    def passing(self) -> bool:
        """Whether the same may soon be answered, by another leader."""
        return self.reason in (NOT_LEADER, LEADER_GONE, CHANGE_DEADLINE_PASSED)

    @property
    def untouched(self) -> bool:
        """Whether it is certain that nothing was begun."""
        if not self.sent:
            return True
        if self.reason:
            return self.reason in (NOT_LEADER, CHANGE_DEADLINE_PASSED, "STORE_UNAVAILABLE")
        unsent = self.code is grpc.StatusCode.UNAVAILABLE
        return unsent and bool(_NEVER_CONNECTED.search(self.message))

    @property
    def hung_up(self) -> bool:
        """Whether somebody was there and ended the connection without a word."""
        silent = self.code is grpc.StatusCode.UNAVAILABLE and not self.reason
        return silent and not _NOBODY_THERE.search(self.message)


class CallEnded(grpc.RpcError):
    """A call whose channel was closed from here."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.CANCELLED

    def details(self) -> str:
        return "the connection was closed here"


def none_leads(endpoint: str, why: str) -> Failure:
    """Of a replica that tells only what it knew when somebody led, where that will not do."""
    return Failure(endpoint, grpc.StatusCode.UNAVAILABLE, why, NOT_LEADER)


def failure_of(endpoint: str, error: grpc.RpcError) -> Failure:
    """What a replica answered instead of an answer."""
    code = getattr(error, "code", lambda: None)() or grpc.StatusCode.UNKNOWN
    detail = detail_of(error)
    message = one_line(getattr(error, "details", lambda: None)() or "")
    leader = detail.metadata.get("leader_address", "")
    return Failure(endpoint, code, message, detail.reason, leader)


def trouble(failures: list[Failure], limit: float) -> MegafleetError:
    """The error for failures of a call; there is at least one."""
    last = most_telling(failures)
    where = ", ".join(dict.fromkeys(failure.endpoint for failure in failures))
    said = last.message or f"the controller answers {last.code.name} and nothing else"
    if last.reason == NOT_LEADER:
        known = said.startswith("no controller leads")
        said = said if known else f"no controller leads at the moment: {said}"
        return Unavailable(said, reason=last.reason)
    if last.reason not in _OF_CONTROLLERS and last.code in _SILENT:
        return Refused(said, reason=last.reason)
    if last.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return NoAnswer(f"no answer from {where} within {limit:g} s", reason=last.reason)
    if last.code in _SILENT:
        return _unavailable(last, where)
    if last.code in _NOT_ALLOWED:
        return NotAllowed(f"not allowed: {said}", reason=last.reason)
    return Refused(said, reason=last.reason)


def most_telling(failures: list[Failure]) -> Failure:
    """Of several answers: a refusal, then what a controller says, then that none leads."""
    return max(
        failures,
        key=lambda one: (not one.elsewhere, bool(one.reason) and one.reason != NOT_LEADER,
                         bool(one.reason)),
    )  # fmt: skip


def _unavailable(failure: Failure, where: str) -> MegafleetError:
    if failure.reason:
        return Unavailable(failure.message, reason=failure.reason)
    if _SPEECHLESS.search(failure.message):
        return Unavailable(
            f"the controller at {where} takes connections and says nothing: it may be stopped"
        )
    if _DISTRUST.search(failure.message):
        return NotAllowed(
            f"not allowed: {where} and these certificates do not trust each other; are they of "
            f"this cluster, and not expired?"
        )
    if _NOBODY_THERE.search(failure.message):
        return Unavailable(f"cannot reach the controller at {where}: nothing listens there")
    why = failure.message.rsplit(":", 1)[-1].strip(" []")
    return Unavailable(f"cannot reach the controller at {where}: {why[:200]}")
