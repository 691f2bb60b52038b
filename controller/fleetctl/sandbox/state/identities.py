"""The certificates of a sandbox: one authority for its parties, another for etcd alone.

Some 150 us each: those of 4,480 hosts take less than a second, so they are made anew with each
sandbox and kept with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet.transport import Identity, Role
from fleetctl.local.certificate_authority import (
    CA_FILE,
    CERT_FILE,
    KEY_FILE,
    Authority,
    write_identity,
)
from fleetctl.local.key_files import write_private
from fleetctl.sandbox.state.record import LOOPBACK, EtcdMember, Record

LOOPBACK_NAMES = (LOOPBACK, "localhost")


@dataclass(frozen=True, slots=True)
class Identities:
    """Where which certificates lie, under the sandbox's `certificates` folder.

    Folders hold ca.pem, cert.pem and key.pem; `agents` holds ca.pem and `<host id>.pem` with key
    and certificate in one file.
    """

    root: Path

    @property
    def operator(self) -> Path:
        return self.root / "operator"

    @property
    def agents(self) -> Path:
        return self.root / "agents"

    @property
    def etcd_client(self) -> Path:
        return self.root / "etcd-client"

    def replica(self, name: str) -> Path:
        return self.root / name

    def member(self, name: str) -> Path:
        return self.root / name

    @property
    def real_host(self) -> Path:
        return self.root / "host"

    def agent(self, host: str) -> Path:
        return self.agents / f"{host}.pem"


def host_id(number: int) -> str:
    """The name of hollow host `number`, counted from 1, as fleet-hollow names its hosts."""
    return f"hollow-{number:05d}"


def issue(record: Record, identities: Identities) -> None:
    """All but the agents': those take the longest, and etcd can start meanwhile."""
    authority = Authority.create(f"Megafleet sandbox {record.name}")
    authority.save(identities.root)
    for replica in record.controllers:
        identity = authority.identity(Role.CONTROLLER, replica.name, LOOPBACK_NAMES)
        write_identity(identities.replica(replica.name), identity)
    write_identity(identities.operator, authority.identity(Role.OPERATOR, "sandbox"))
    if record.real:
        identity = authority.identity(Role.AGENT, record.real.host, LOOPBACK_NAMES)
        write_identity(identities.real_host, identity)
    if record.etcd:
        _issue_etcd(record.etcd, identities)


def _issue_etcd(members: list[EtcdMember], identities: Identities) -> None:
    """etcd trusts whoever its authority signed, so that has no other clients than ours."""
    authority = Authority.create("Megafleet sandbox etcd")
    holders = [(member.name, identities.member(member.name)) for member in members]
    for name, folder in (*holders, ("client", identities.etcd_client)):
        issued = authority.issue_server(name, LOOPBACK_NAMES)
        write_identity(folder, Identity(authority.certificate, issued.certificate, issued.key))


def agents_issued(identities: Identities) -> bool:
    """Whether every host has its certificate."""
    return (identities.agents / CA_FILE).exists()


def issue_agents(hosts: int, identities: Identities) -> None:
    """Those of hosts 1 to `hosts`. Raises OSError."""
    authority = Authority.load(identities.root)
    identities.agents.mkdir(parents=True, exist_ok=True, mode=0o700)
    for number in range(1, hosts + 1):
        host = host_id(number)
        issued = authority.issue(Role.AGENT, host, LOOPBACK_NAMES)
        write_private(identities.agent(host), issued.key + issued.certificate)
    # Last: it says that all are there.
    (identities.agents / CA_FILE).write_bytes(authority.certificate)


def files_of(folder: Path) -> tuple[str, str, str]:
    """Paths of the authority, the certificate and the key in a folder."""
    return str(folder / CA_FILE), str(folder / CERT_FILE), str(folder / KEY_FILE)
