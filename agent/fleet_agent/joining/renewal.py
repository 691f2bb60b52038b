"""The host's certificate anew, long before it ends: over the connection that it proves itself by.

At two thirds of its life; and soon where controllers trust others than this host does, or sign by
another certificate: so an authority is replaced while everything runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import ParamSpec, Protocol, TypeVar

import structlog

from fleet.certificates.authorities import digest_of_trust, digests, issuing_digest
from fleet.certificates.certificate import read_certificate
from fleet.v1 import joining_pb2 as wire
from fleet_agent.alarm import Alarm
from fleet_agent.joining.identity_folder import IdentityFolder

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")

# Of the life of a certificate; by chance within it, so that hosts that have joined together do not
# renew together.
EARLIEST, LATEST = 0.60, 0.70
# Hosts that all learn of another authority at once are spread over so long, unless they are told.
SPREAD_SECONDS, LONGEST_SPREAD = 20.0, 600.0
FIRST_RETRY, LAST_RETRY = 30.0, 3_600.0
# The longest sleep: the wall clock may be set meanwhile.
LOOK_SECONDS = 3_600.0


class OffLoop(Protocol):
    async def __call__(self, function: Callable[P, T], /, *of: P.args, **named: P.kwargs) -> T: ...


class CannotRenew(Exception):
    """Nobody has made another certificate; one sentence."""


class RenewalClient(Protocol):
    async def renew(self, endpoint: str, request: wire.RenewRequest) -> wire.RenewResponse:
        """Raises CannotRenew."""


class Renewal:
    """Of one host; `run` for as long as the agent runs."""

    def __init__(
        self,
        host: str,
        folder: IdentityFolder,
        client: RenewalClient,
        endpoints: Callable[[], Sequence[str]],
        renewed: Callable[[bytes], None],
        wall_clock: Callable[[], float],
        jitter: Callable[[], float],
        off_loop: OffLoop = asyncio.to_thread,
    ) -> None:
        """`renewed`: is given the new certificate, once it is in its file. `off_loop`: runs what
        blocks."""
        self._off_loop = off_loop
        self._host = host
        self._folder = folder
        self._client = client
        self._endpoints = endpoints
        self._renewed = renewed
        self._wall_clock = wall_clock
        self._jitter = jitter
        self._alarm = Alarm()
        self._trust: wire.Trust | None = None  # as controllers have told it last
        self._share = EARLIEST + (LATEST - EARLIEST) * jitter()
        self._retry = 0.0  # seconds; 0: nothing has failed since, or was not as it is to be

    def told(self, trust: wire.Trust) -> None:
        """By a controller: what hosts are to hold by now."""
        others = self._trust is None or digest_of_trust(trust) != digest_of_trust(self._trust)
        self._trust = wire.Trust()
        self._trust.CopyFrom(trust)
        if others:
            self._retry = 0.0
            self._alarm.ring()

    async def run(self) -> None:
        """Until cancelled. Nothing is renewed before a controller has said that it does so."""
        while True:
            if self._trust is None:
                await self._alarm.sleep(None)
                continue
            wait = self._due_in()
            if wait > 0:
                await self._alarm.sleep(min(wait, LOOK_SECONDS))
                continue
            if await self._alarm.sleep(self._rest()):
                continue  # something else is so by now: it is looked at anew
            await self._try()

    def _rest(self) -> float:
        """Seconds until what is due is tried."""
        if self._retry:
            return self._retry * (0.5 + self._jitter() / 2)
        return self._spread() * self._jitter() if self._differs() else 0.0

    def _due_in(self) -> float:
        """Seconds until the certificate is to be renewed."""
        try:
            own = read_certificate((self._folder.path / "cert.pem").read_bytes())
        except (OSError, ValueError):
            return 0.0
        if self._differs():
            return 0.0
        begin, end = own.not_before.timestamp(), own.not_after.timestamp()
        return begin + (end - begin) * self._share - self._wall_clock()

    def _differs(self) -> bool:
        """Whether controllers trust others, or sign by another certificate."""
        trust = self._trust
        if trust is None or not trust.authorities:
            return False
        try:
            own = (self._folder.path / "cert.pem").read_bytes()
            trusted = (self._folder.path / "ca.pem").read_bytes()
            mine = digests(trusted), issuing_digest(own)
        except (OSError, ValueError):
            return True
        return mine != (tuple(sorted(trust.authorities)), trust.issuing)

    def _spread(self) -> float:
        told = self._trust.spread_seconds if self._trust else 0
        return min(told or SPREAD_SECONDS, LONGEST_SPREAD)

    async def _try(self) -> None:
        try:
            certificate = await self._renew()
        except (CannotRenew, OSError) as error:
            self._retry = self._longer()
            log.warning("the certificate is not renewed", host=self._host, reason=str(error))
            return
        # Whoever has signed may not know yet whom to trust: it is asked again, and not at once.
        self._retry = self._longer() if self._differs() else 0.0
        self._share = EARLIEST + (LATEST - EARLIEST) * self._jitter()
        until = read_certificate(certificate).not_after
        log.info("the certificate is renewed", host=self._host, until=f"{until:%Y-%m-%d %H:%M}")
        self._renewed(certificate)

    def _longer(self) -> float:
        return min(max(FIRST_RETRY, self._retry * 2), LAST_RETRY)

    async def _renew(self) -> bytes:
        """Raises CannotRenew, OSError."""
        from fleet.certificates.signing_request import make_request
        from fleet_agent.joining.received import BadAnswer, check_received

        await self._off_loop(self._folder.check_writable)
        key = await self._off_loop(self._folder.key)
        try:
            signing = make_request(self._host, key)
        except ValueError as error:
            raise CannotRenew(f"key.pem cannot be used: {error}") from error
        answer = await self._ask(signing)
        try:
            check_received(answer.certificates, answer.authorities, self._host, key)
        except BadAnswer as error:
            raise CannotRenew(f"the controller's answer cannot be used: {error}") from error
        await self._off_loop(self._folder.save, answer.certificates, answer.authorities)
        return answer.certificates

    async def _ask(self, signing: bytes) -> wire.RenewResponse:
        failures = []
        for endpoint in self._endpoints():
            clock = self._wall_clock()
            request = wire.RenewRequest(signing_request=signing, clock_unix=clock)
            try:
                return await self._client.renew(endpoint, request)
            except CannotRenew as error:
                failures.append(str(error))
        raise CannotRenew("; ".join(failures) or "no controller is known")
