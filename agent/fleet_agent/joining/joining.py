"""A machine joins: the key is made here and stays here, one call, and what it answers is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import time

import grpc

from fleet.certificates.authorities import digests
from fleet.endpoints import target
from fleet.peers import is_name
from fleet.transport import CONTROLLER_NAME, channel_options, detail_of
from fleet.v1 import joining_pb2 as wire
from fleet.v1.joining_pb2_grpc import JoinServiceStub
from fleet_agent.joining import pinning
from fleet_agent.joining.pinning import NotReached, Stranger, authority_of
from fleet_agent.joining.token_sources import Invitation

JOIN_SECONDS = 30.0
# What trying again may help with.
_LATER = ("TOO_MANY_JOINS", "TOO_MANY_CALLS", "NOT_LEADER", "JOIN_LATER", "STORE_UNAVAILABLE")
_LATER_TOO = ("OUTCOME_UNKNOWN", "LEADER_GONE", "BUSY", "CHANGES_FROZEN", "NO_ISSUING_KEY")
_MOST = 64 * 1024  # bytes of an answer


class JoinRefused(Exception):
    """This machine does not join so; one sentence."""


class JoinFailed(Exception):
    """It has not joined, and may if it tries again; one sentence."""


@dataclass(frozen=True, slots=True)
class Joined:
    """`certificates`, `authorities`: PEM. `settings`: TOML."""

    host: str
    certificates: bytes
    authorities: bytes
    controllers: tuple[str, ...]
    labels: Mapping[str, str]
    settings: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What it says of itself. `key`: PEM."""

    name: str
    key: bytes
    machine_id: str
    agent_version: str


async def join(
    invitation: Invitation, machine: Machine, clock: Callable[[], float] = time
) -> Joined:
    """At the first controller that answers. One that is a stranger keeps nobody from the others.
    Raises JoinRefused, JoinFailed."""
    from fleet.certificates.signing_request import make_request

    if not is_name(machine.name):
        raise JoinRefused(
            f"{machine.name[:80]!r} is no name for a host: lower-case letters, digits, hyphens and "
            "dots, as in DNS; give it one (--name, megafleet.name=)"
        )
    try:
        signing = make_request(machine.name, machine.key)
    except ValueError as error:
        raise JoinRefused(f"key.pem cannot be used, remove it: {error}") from error
    failures, strangers = [], 0
    for endpoint in invitation.controllers:
        request = wire.JoinRequest(
            token_id=invitation.token.id,
            secret=invitation.token.secret,
            signing_request=signing,
            clock_unix=clock(),
            machine_id=machine.machine_id,
            agent_version=machine.agent_version,
        )
        try:
            authority = await authority_of(endpoint, invitation.token.authority)
            answer = await _call(endpoint, authority, request)
        except (NotReached, JoinFailed, Stranger) as error:
            failures.append(str(error))
            strangers += isinstance(error, Stranger)
            continue
        return _checked(answer, machine, authority)
    if strangers == len(failures):
        raise JoinRefused("; ".join(failures))
    raise JoinFailed("; ".join(failures))


def longest_seconds(invitation: Invitation) -> float:
    """Within which `join` has ended, well or not."""
    return len(invitation.controllers) * (pinning.SECONDS + JOIN_SECONDS)


async def _call(endpoint: str, authority: bytes, request: wire.JoinRequest) -> wire.JoinResponse:
    """Raises JoinRefused, JoinFailed."""
    credentials = grpc.ssl_channel_credentials(authority)
    options = channel_options(CONTROLLER_NAME, _MOST, measured=False)
    async with grpc.aio.secure_channel(target(endpoint), credentials, options) as channel:
        try:
            answer: wire.JoinResponse = await JoinServiceStub(channel).Join(
                request, timeout=JOIN_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            reason = detail_of(error).reason
            message = f"controller {endpoint}: {error.details() or error.code().name}"
            if reason and reason not in (*_LATER, *_LATER_TOO):
                raise JoinRefused(message) from error
            raise JoinFailed(message) from error
    return answer


def _checked(answer: wire.JoinResponse, machine: Machine, authority: bytes) -> Joined:
    """Raises JoinRefused."""
    from fleet_agent.joining.received import BadAnswer, check_received

    try:
        check_received(answer.certificates, answer.authorities, machine.name, machine.key)
        if not set(digests(authority)) <= set(digests(answer.authorities)):
            raise BadAnswer("the authority that the token names is not among those to trust")
    except BadAnswer as error:
        raise JoinRefused(f"the controller's answer cannot be used: {error}") from error
    return Joined(
        machine.name,
        answer.certificates,
        answer.authorities,
        tuple(answer.controllers),
        dict(answer.labels),
        answer.settings,
    )


async def join_at_last(
    invitation: Invitation,
    machine: Machine,
    told: Callable[[str, float], None],
    jitter: Callable[[], float],
    waits: Sequence[float] = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
) -> Joined:
    """Until it has joined, whatever is in the way: there is nothing else to do for an agent that
    nobody knows. `told`: why not yet, and in how many seconds it is tried again."""
    tries = 0
    while True:
        try:
            return await join(invitation, machine)
        except (JoinFailed, JoinRefused) as error:
            longest = isinstance(error, JoinRefused)
            wait = waits[-1] if longest else waits[min(tries, len(waits) - 1)]
            wait *= 1.0 - jitter() / 2
            told(str(error), wait)
        tries += 1
        await asyncio.sleep(wait)
