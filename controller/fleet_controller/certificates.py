"""The certificates of this controller: its own files, when they end, and the key by which it signs
those of hosts."""

from __future__ import annotations

from datetime import timedelta

import structlog

from fleet.certificates.authorities import digest
from fleet.certificates.certificate import read_certificate
from fleet.certificates.certificate_dates import (
    CertificateFile,
    certificate_file,
    certificate_files,
)
from fleet.certificates.host_issuer import ISSUING_FILE, CannotIssue, HostIssuer, root_of
from fleet.certificates.live_identity import LiveIdentity
from fleet.peers import NoRole, holder_of
from fleet.transport import Identity, Peer, Role
from fleet_controller.leader.environment import JoiningEnvironment
from fleet_controller.settings import Settings, settings_for_agents
from fleet_controller.standbys import AtHand

_log = structlog.get_logger("fleet_controller")


class Unusable(Exception):
    """What is in its folders does not do; one sentence for whoever started it."""


def own_identity(settings: Settings) -> LiveIdentity:
    def changed(news: str) -> None:
        _log.info("the certificate of this controller was replaced", outcome=news)

    try:
        return LiveIdentity(settings.identity, changed)
    except OSError as error:
        raise Unusable(f"--identity: {error}") from error


def own_certificates(settings: Settings) -> tuple[CertificateFile, ...]:
    """As their files are now."""
    own = certificate_files(
        settings.identity, f"the certificate of {settings.replica}", "the authority of all"
    )
    own += _issuing(settings)
    if settings.store_identity is None:
        return own
    mine = f"the certificate of {settings.replica} for etcd"
    return own + certificate_files(settings.store_identity, mine, "the authority of etcd")


def certificate_ends(settings: Settings) -> dict[str, int]:
    """When each of them ends, in seconds since 1970, by a word for what it is."""
    words = {"cert.pem": "controller", "ca.pem": "authority", ISSUING_FILE: "issuing"}
    etcd = {"cert.pem": "etcd_client", "ca.pem": "etcd_authority"}
    return {
        (etcd if one.file.parent == settings.store_identity else words)[one.file.name]: one.expires
        for one in own_certificates(settings)
    }


def _issuing(settings: Settings) -> tuple[CertificateFile, ...]:
    """What it signs with ends no later: hosts could not renew any more."""
    if settings.joining.issuing is None:
        return ()
    return certificate_file(
        settings.joining.issuing / ISSUING_FILE, "the issuing certificate of hosts"
    )


def holder_named(identity: Identity) -> Peer:
    """Whom this controller's certificate names."""
    try:
        holder = holder_of(read_certificate(identity.certificate))
    except (ValueError, NoRole) as error:
        raise Unusable(f"--identity: cert.pem: {error}") from error
    if holder.role is not Role.CONTROLLER:
        raise Unusable(f"--identity: the certificate is that of {holder}, not of a controller")
    return holder


def joining_environment(
    settings: Settings, identity: LiveIdentity, at_hand: AtHand
) -> JoiningEnvironment:
    """Raises Unusable."""
    asked = settings.joining
    issuer, text = None, ""
    try:
        if asked.issuing is not None:
            valid = timedelta(days=asked.days)
            issuer = HostIssuer(asked.issuing, lambda: identity.current.ca, valid)
        if asked.agent_settings is not None:
            text = settings_for_agents(asked.agent_settings)
    except (CannotIssue, OSError, ValueError) as error:
        raise Unusable(str(error)) from error

    def authority() -> bytes:
        own = identity.current
        return digest(root_of(own.certificate, own.ca))

    here = [asked.advertise] if asked.listen else []
    return JoiningEnvironment(
        issuer,
        authority,
        lambda: [settings.advertise, *at_hand.addresses],
        lambda: [*here, *at_hand.join_addresses],
        text,
    )
