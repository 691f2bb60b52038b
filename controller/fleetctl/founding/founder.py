"""What whoever founded a cluster keeps beside fleetctl's contexts: both authorities, the key by
which controllers sign hosts, the credentials of etcd's root, and their own certificate.

It is what makes anybody anything in this cluster, and belongs on a trusted machine alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fleet.certificates.certificate import read_certificate
from fleet.certificates.host_issuer import ISSUING_FILE, ISSUING_KEY_FILE
from fleet.peers import NoRole, holder_of
from fleet.private_file import read_private, said_of
from fleet.transport import Identity, Role
from fleetctl.founding.machine import CONTROLLER_USER
from fleetctl.founding.replica import Replica
from fleetctl.local.authority_rotation import TRUST_FILE
from fleetctl.local.certificate_authority import (
    CA_FILE,
    CERT_FILE,
    VALID,
    Authority,
    AuthorityError,
    Issued,
    write_identity,
    write_issuing,
)
from fleetctl.outcome import Failed
from megafleet.contexts import config_file

# etcd takes a user's name from the common name of a certificate.
ETCD_ROOT, ETCD_CLIENT = "root", CONTROLLER_USER


@dataclass(frozen=True, slots=True)
class Founder:
    """`folder`: where the contexts file is."""

    folder: Path

    @classmethod
    def here(cls) -> Founder:
        """Beside the contexts file that is in use."""
        return cls(config_file(os.environ).parent)

    @property
    def authority(self) -> Path:
        return self.folder / "ca"

    @property
    def issuing(self) -> Path:
        return self.folder / "issuing"

    @property
    def etcd_authority(self) -> Path:
        return self.folder / "etcd-ca"

    @property
    def etcd_root(self) -> Path:
        return self.folder / "etcd-root"

    @property
    def operator(self) -> Path:
        return self.folder / "operator"

    def make(self, operator: str) -> list[str]:
        """Whatever of it is not there; what was made, in words. Raises Failed."""
        made = []
        # etcd's first: an authority without it is not by this.
        for folder, name in (
            (self.etcd_authority, "Megafleet etcd"),
            (self.authority, "Megafleet"),
        ):
            if not (folder / CA_FILE).exists():
                Authority.create(name).save(folder)
                made.append(f"authority {name!r} in {folder}")
        if not (self.issuing / ISSUING_FILE).exists():
            made.append(self._make_issuing_key())
        if not (self.etcd_root / CERT_FILE).exists():
            made.append(self._make_etcd_root())
        if not (self.operator / CERT_FILE).exists():
            made.append(self._make_operator(operator))
        return made

    def renew(self) -> list[str]:
        """All of it anew but the authorities, with the operator's name as it was. Raises Failed."""
        try:
            operator = holder_of(read_certificate((self.operator / CERT_FILE).read_bytes())).name
        except (OSError, ValueError, NoRole) as error:
            raise Failed(
                "the certificate of the cluster's first operator cannot be read "
                f"({said_of(error)}): run this as who ran 'fleetctl cluster init', on that machine"
            ) from error
        return [
            self._make_issuing_key(),
            self._make_etcd_root(),
            self._make_operator(operator),
        ]

    def _make_issuing_key(self) -> str:
        with _as_failure():
            write_issuing(self.issuing, _load(self.authority).issue_issuing(VALID))
        return f"key by which controllers sign hosts in {self.issuing}"

    def _make_etcd_root(self) -> str:
        write_identity(self.etcd_root, self._client_of_etcd(ETCD_ROOT))
        return f"credentials of etcd's root in {self.etcd_root}"

    def _make_operator(self, name: str) -> str:
        with _as_failure():
            made = _load(self.authority).identity(Role.OPERATOR, name)
        write_identity(self.operator, self._trusting(made))
        return f"certificate of operator {name} in {self.operator}"

    def identities(self, replica: Replica) -> dict[str, Identity]:
        """What a machine of the control plane holds, by its folder in /etc/megafleet. Raises
        Failed."""
        etcd = _load(self.etcd_authority)
        fleet = _load(self.authority)
        with _as_failure():
            member = etcd.issue_server(replica.name, replica.names)
            controller = fleet.identity(Role.CONTROLLER, replica.name, replica.names)
        return {
            "controller": self._trusting(controller),
            "etcd": Identity(etcd.certificate, member.certificate, member.key),
            "etcd-client": self._client_of_etcd(ETCD_CLIENT),
        }

    def issuing_key(self) -> Issued:
        """The same for each controller: hosts renew where another one signs. Raises Failed."""
        try:
            key = read_private(self.issuing / ISSUING_KEY_FILE)
            return Issued((self.issuing / ISSUING_FILE).read_bytes(), key)
        except OSError as error:
            raise Failed(
                f"the key by which controllers sign hosts cannot be read ({said_of(error)}): copy "
                f"the folder /etc/megafleet/issuing of a controller to {self.issuing}, or make "
                f"another with 'fleetctl certs issuing --out {self.issuing}'"
            ) from error

    def root_of_etcd(self) -> Identity:
        """Raises Failed."""
        try:
            return Identity.load(self.etcd_root)
        except OSError as error:
            raise Failed(
                f"the credentials of etcd's root are not here ({said_of(error)}): "
                "run this as who ran 'fleetctl cluster init', on that machine"
            ) from error

    def _trusting(self, made: Identity) -> Identity:
        """It trusts two authorities while one is being replaced by the other."""
        try:
            return replace(made, ca=(self.authority / TRUST_FILE).read_bytes())
        except FileNotFoundError:
            return made

    def _client_of_etcd(self, user: str) -> Identity:
        authority = _load(self.etcd_authority)
        with _as_failure():
            issued = authority.issue_client(user)
        return Identity(authority.certificate, issued.certificate, issued.key)


@contextmanager
def _as_failure() -> Iterator[None]:
    try:
        yield
    except AuthorityError as error:
        raise Failed(str(error)) from error


def _load(folder: Path) -> Authority:
    try:
        return Authority.load(folder)
    except AuthorityError as error:
        raise Failed(
            f"{error}; 'fleetctl cluster' needs both authorities of who founded the cluster"
        ) from error
