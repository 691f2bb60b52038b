"""Hollow hosts that join by a token, each with a key and certificates of its own that renew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import structlog

from fleet.certificates.live_identity import LiveIdentity
from fleet.transport import Credentials, Identity
from fleet.v1 import joining_pb2 as joining
from fleet_agent.controllers.grpc_client import GrpcControllerClient
from fleet_agent.daemon.host_identity import VERSION
from fleet_agent.joining.identity_folder import IdentityFolder
from fleet_agent.joining.joining import Machine, join_at_last
from fleet_agent.joining.renewal import Renewal
from fleet_agent.joining.token_sources import Invitation

log = structlog.get_logger()

_WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class HostCredentials:
    """`now`: gives them as they are. `folder`: of a host that has joined."""

    credentials: Credentials
    now: Callable[[], Identity]
    folder: IdentityFolder | None = None


def credentials_of(certificates: Path, host: str, ca: bytes) -> HostCredentials:
    """From the folder of a host that has joined, or from `<host id>.pem`, which holds key and
    certificate. Raises OSError naming the file."""
    folder = certificates / host
    if (folder / "cert.pem").exists():
        live = LiveIdentity(folder)
        return HostCredentials(live, lambda: live.current, _folder(folder))
    pem = (certificates / f"{host}.pem").read_bytes()
    identity = Identity(ca, pem, pem)
    return HostCredentials(identity, lambda: identity)


async def join_all(
    hosts: Iterable[str],
    certificates: Path,
    invitation: Invitation,
    gate: AbstractAsyncContextManager[object],
    jitter: Callable[[], float],
) -> None:
    """Those that have no certificate yet, each by a call of its own."""

    async def one(host: str) -> None:
        folder = _folder(certificates / host)
        async with gate:
            machine = Machine(host, folder.key(), "", VERSION)

            def told(why: str, wait: float) -> None:
                log.warning("not joined", host=host, reason=why, again_in=round(wait, 1))

            joined = await join_at_last(invitation, machine, told, jitter, _WAITS)
            folder.save(joined.certificates, joined.authorities)

    async with asyncio.TaskGroup() as group:
        for host in hosts:
            if not (certificates / host / "cert.pem").exists():
                group.create_task(one(host))


class HollowRenewal:
    """What a host hears of its controllers, and its renewals: none for a host that did not join."""

    def __init__(
        self,
        host: str,
        found: HostCredentials,
        endpoints: Sequence[str],
        renewed: Callable[[bytes], None],
        jitter: Callable[[], float],
    ) -> None:
        self.client = GrpcControllerClient(found.credentials, told=self.told)
        self._renewal: Renewal | None = None
        if found.folder is not None:
            self._renewal = Renewal(
                host, found.folder, self.client, lambda: endpoints, renewed, time.time, jitter
            )

    def told(self, controllers: Sequence[str], trust: joining.Trust | None) -> None:
        """As an agent's Told. A hollow host stays with the controllers it was given."""
        if self._renewal is not None and trust is not None:
            self._renewal.told(trust)

    def run(self, group: asyncio.TaskGroup) -> None:
        if self._renewal is not None:
            group.create_task(self._renewal.run())


def _folder(path: Path) -> IdentityFolder:
    """Thousands of hosts on one disk do not wait for it: nothing of them must last."""
    return IdentityFolder(path, lasting=False)
