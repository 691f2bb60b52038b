"""Facts of this dom0 that the agent states: who it is, since when, where it is reached, and which
version of the agent it runs."""

from __future__ import annotations

import contextlib
import socket
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fleet.certificates.authorities import trust_of
from fleet.certificates.certificate import read_certificate
from fleet.peers import NoRole, holder_of
from fleet.transport import DOMAIN, Identity, Role
from fleet.v1 import types_pb2 as types

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")


def _version() -> str:
    try:
        return version("megafleet")
    except PackageNotFoundError:
        return "0"  # run from a source tree that is not installed


VERSION = _version()


class HostError(Exception):
    """A fact is missing; one sentence."""


def host_id_of(certificate: bytes) -> str:
    """The host that a PEM certificate names, `<host id>.agent.megafleet`. Raises HostError.

    Others verify the certificate; here its holder only reads its own name in it.
    """
    try:
        holder = holder_of(read_certificate(certificate))
    except ValueError as error:
        raise HostError(f"the certificate cannot be read: {error}") from error
    except NoRole as why:
        raise HostError(str(why)) from why
    if holder.role is not Role.AGENT:
        raise HostError(
            f"the certificate names no host: it is that of {holder}, not of "
            f"<host>.{Role.AGENT}.{DOMAIN}"
        )
    return holder.name


def expires_unix(certificate: bytes) -> int:
    """When a PEM certificate ends, in seconds since 1970; 0 where that cannot be read."""
    try:
        return int(read_certificate(certificate).not_after.timestamp())
    except ValueError:
        return 0


def state_certificates(facts: types.HostFacts, identity: Identity) -> None:
    """What is shown by now, and whom the host trusts, into its facts."""
    facts.certificate_expires_unix = expires_unix(identity.certificate)
    with contextlib.suppress(ValueError):
        facts.trust.CopyFrom(trust_of(identity.ca, identity.certificate))


def own_name() -> str:
    """What the machine calls itself, as a certificate may have it."""
    return socket.gethostname().lower().rstrip(".")


def boot_id() -> str:
    return _read(BOOT_ID)


def machine_id() -> str:
    """Empty where the machine has none, as in a container: the incarnation still tells it apart."""
    return _read(MACHINE_ID) if MACHINE_ID.exists() else ""


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise HostError(f"{path} cannot be read: {error}") from error


def address_towards(endpoint: str) -> str:
    """The address from which this host would reach the endpoint; nothing is sent.

    Raises HostError.
    """
    host, _, port = endpoint.rpartition(":")
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_DGRAM
        )[0]
        with socket.socket(family, kind) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise HostError(f"no address of this host leads to {endpoint} ({why})") from error
