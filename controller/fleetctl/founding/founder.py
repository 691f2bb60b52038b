"""What whoever founded a cluster keeps beside fleetctl's contexts: both authorities, the key by
which controllers sign hosts, the credentials of etcd's root, and their own certificate.

It is what makes anybody anything in this cluster, and belongs on a trusted machine alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.certificates.host_issuer import ISSUING_FILE, ISSUING_KEY_FILE
from fleet.private_file import read_private
from fleet.transport import Identity, Role
from fleetctl.founding.machine import CONTROLLER_USER
from fleetctl.founding.replica import Replica
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

# etcd takes a user's name from the common name of a certificate.
ETCD_ROOT, ETCD_CLIENT = "root", CONTROLLER_USER


@dataclass(frozen=True, slots=True)
class Founder:
    """`folder`: where the contexts file is."""

    folder: Path

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
        """Whatever of it is not there; what was made, in words."""
        made = []
        for folder, name in (
            (self.authority, "Megafleet"),
            (self.etcd_authority, "Megafleet etcd"),
        ):
            if not (folder / CA_FILE).exists():
                Authority.create(name).save(folder)
                made.append(f"authority {name!r} in {folder}")
        if not (self.issuing / ISSUING_FILE).exists():
            write_issuing(self.issuing, _issuing_of(_load(self.authority)))
            made.append(f"key by which controllers sign hosts in {self.issuing}")
        if not (self.etcd_root / CERT_FILE).exists():
            write_identity(self.etcd_root, self._client_of_etcd(ETCD_ROOT))
            made.append(f"credentials of etcd's root in {self.etcd_root}")
        if not (self.operator / CERT_FILE).exists():
            identity = _load(self.authority).identity(Role.OPERATOR, operator)
            write_identity(self.operator, identity)
            made.append(f"certificate of operator {operator} in {self.operator}")
        return made

    def identities(self, replica: Replica) -> dict[str, Identity]:
        """What a machine of the control plane holds, by its folder in /etc/megafleet."""
        authority = _load(self.etcd_authority)
        member = authority.issue_server(replica.name, replica.names)
        return {
            "controller": _load(self.authority).identity(
                Role.CONTROLLER, replica.name, replica.names
            ),
            "etcd": Identity(authority.certificate, member.certificate, member.key),
            "etcd-client": self._client_of_etcd(ETCD_CLIENT),
        }

    def issuing_key(self) -> Issued:
        """The same for each controller: hosts renew where another one signs. Raises Failed."""
        try:
            key = read_private(self.issuing / ISSUING_KEY_FILE)
            return Issued((self.issuing / ISSUING_FILE).read_bytes(), key)
        except OSError as error:
            raise Failed(
                f"the key by which controllers sign hosts cannot be read ({error}): copy the "
                f"folder /etc/megafleet/issuing of a controller to {self.issuing}, or make another "
                f"with 'fleetctl certs issuing --out {self.issuing}'"
            ) from error

    def root_of_etcd(self) -> Identity:
        """Raises Failed."""
        try:
            return Identity.load(self.etcd_root)
        except OSError as error:
            raise Failed(
                f"the credentials of etcd's root are not here ({error}): run this as who ran "
                "'fleetctl cluster init', on that machine"
            ) from error

    def _client_of_etcd(self, user: str) -> Identity:
        authority = _load(self.etcd_authority)
        issued = authority.issue_client(user)
        return Identity(authority.certificate, issued.certificate, issued.key)


def _issuing_of(authority: Authority) -> Issued:
    try:
        return authority.issue_issuing(VALID)
    except AuthorityError as error:
        raise Failed(str(error)) from error


def _load(folder: Path) -> Authority:
    try:
        return Authority.load(folder)
    except AuthorityError as error:
        raise Failed(
            f"{error}; 'fleetctl cluster' needs both authorities of who founded the cluster"
        ) from error
