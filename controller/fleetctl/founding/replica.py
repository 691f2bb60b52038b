"""One machine of the control plane, and its settings files as text.

Each machine runs a controller and a member of etcd, under one name.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from fleetctl.founding.machine import Machine
from fleetctl.local.etcd_member import settings_in
from fleetctl.outcome import Failed

TOKEN = "megafleet"
JOIN_PORT = 7444
_ADVERTISED = re.compile(r"^ADVERTISE=[\"']?([^\s\"']+)", re.MULTILINE)
_JOIN_ADVERTISED = re.compile(r"^OPTIONS=.*--join-advertise[ =]([^\s\"']+)", re.MULTILINE)
# What a shell that reads settings takes for nothing but itself.
_PLAIN = re.compile(r"[A-Za-z0-9._:/\[\]-]+")
_PREFACE = "# Written by 'fleetctl cluster'. It rewrites no line but {kept}.\n"


@dataclass(frozen=True, slots=True)
class Replica:
    """`address`: of the machine, an IP address or a name; ports of its servers."""

    name: str
    address: str
    port: int = 7440
    client_port: int = 2379
    peer_port: int = 2380
    join_port: int = JOIN_PORT

    @property
    def shown(self) -> str:
        ports = (self.port, self.client_port, self.peer_port, self.join_port)
        return f"{self.name} at {self.address} (ports {', '.join(map(str, ports))})"

    @property
    def endpoint(self) -> str:
        return endpoint(self.address, self.port)

    @property
    def join_endpoint(self) -> str:
        """Where machines join as hosts."""
        return endpoint(self.address, self.join_port)

    @property
    def client(self) -> str:
        return endpoint(self.address, self.client_port)

    @property
    def client_url(self) -> str:
        return f"https://{self.client}"

    @property
    def peer_url(self) -> str:
        return f"https://{endpoint(self.address, self.peer_port)}"

    @property
    def names(self) -> tuple[str, ...]:
        """What its certificates say besides its name."""
        return tuple(dict.fromkeys((self.address, "127.0.0.1", "localhost")))

    @property
    def on_loopback(self) -> bool:
        try:
            return ipaddress.ip_address(self.address).is_loopback
        except ValueError:
            return self.address == "localhost"

    @property
    def bound(self) -> str:
        """Where its etcd listens: etcd takes no name for that, but localhost."""
        try:
            ipaddress.ip_address(self.address)
        except ValueError:
            return self.address if self.on_loopback else "0.0.0.0"
        return self.address


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def etcd_text(machine: Machine, replica: Replica, others: Mapping[str, str], state: str) -> str:
    """Of /etc/default/etcd. `others`: peer URLs by name. `state`: new or existing."""
    at = replica.bound
    listen = [f"https://{endpoint(at, replica.client_port)}"]
    if at == replica.address and not replica.on_loopback:
        listen.append(f"https://127.0.0.1:{replica.client_port}")
    cluster = {**others, replica.name: replica.peer_url}
    files = {
        f"{side}{key}": str(machine.etcd / name)
        for side in ("ETCD_", "ETCD_PEER_")
        for key, name in (
            ("TRUSTED_CA_FILE", "ca.pem"),
            ("CERT_FILE", "cert.pem"),
            ("KEY_FILE", "key.pem"),
        )
    }
    return _text(
        {
            "ETCD_NAME": replica.name,
            "ETCD_DATA_DIR": str(machine.etcd_data),
            "ETCD_LISTEN_CLIENT_URLS": ",".join(listen),
            "ETCD_ADVERTISE_CLIENT_URLS": replica.client_url,
            "ETCD_LISTEN_PEER_URLS": f"https://{endpoint(at, replica.peer_port)}",
            "ETCD_INITIAL_ADVERTISE_PEER_URLS": replica.peer_url,
            "ETCD_INITIAL_CLUSTER": ",".join(f"{name}={url}" for name, url in cluster.items()),
            "ETCD_INITIAL_CLUSTER_STATE": state,
            "ETCD_INITIAL_CLUSTER_TOKEN": TOKEN,
            # Whoever its authority signed is a client: it signs for nobody else.
            "ETCD_CLIENT_CERT_AUTH": "true",
            "ETCD_PEER_CLIENT_CERT_AUTH": "true",
            **files,
            "ETCD_QUOTA_BACKEND_BYTES": str(2 << 30),
            "ETCD_AUTO_COMPACTION_MODE": "periodic",
            "ETCD_AUTO_COMPACTION_RETENTION": "1h",
            "ETCD_LOGGER": "zap",
            "ETCD_LOG_LEVEL": "warn",
        },
        "ETCD_INITIAL_CLUSTER",
    )


def controller_text(machine: Machine, replica: Replica, clients: Iterable[str]) -> str:
    """Of controller.env. `clients`: where members of etcd are."""

    def listen(port: int) -> str:
        every = "::" if ":" in replica.address else "0.0.0.0"
        return endpoint(replica.address if replica.on_loopback else every, port)

    joining = f"--issuing {machine.issuing} --join-listen {listen(replica.join_port)}"
    return _text(
        {
            "REPLICA": replica.name,
            "LISTEN": listen(replica.port),
            "ADVERTISE": replica.endpoint,
            "IDENTITY": str(machine.controller),
            "STORE": store_of(clients),
            "STORE_IDENTITY": str(machine.etcd_client),
            # In quotes: a shell reads it too.
            "OPTIONS": f'"{joining} --join-advertise {replica.join_endpoint}"',
        },
        "STORE",
    )


def written(machine: Machine) -> Replica | None:
    """Which one the settings files here are of; None where they are of none."""
    try:
        etcd = settings_in(machine.etcd_settings.read_text())
        controller = machine.controller_settings.read_text()
    except FileNotFoundError:
        return None
    advertised = _ADVERTISED.search(controller)
    joining = _JOIN_ADVERTISED.search(controller)
    try:
        address, port = _split(advertised[1] if advertised else "")
        return Replica(
            etcd["ETCD_NAME"],
            address,
            port,
            _split(etcd["ETCD_ADVERTISE_CLIENT_URLS"])[1],
            _split(etcd["ETCD_INITIAL_ADVERTISE_PEER_URLS"])[1],
            _split(joining[1])[1] if joining else JOIN_PORT,
        )
    except (KeyError, ValueError):
        return None


def address_in(url: str) -> str:
    """Of a URL of etcd. Raises ValueError."""
    return _split(url)[0]


def _split(text: str) -> tuple[str, int]:
    """Address and port of an endpoint, or of a URL of one. Raises ValueError."""
    host, _, port = text.removeprefix("https://").rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def store_of(clients: Iterable[str]) -> str:
    return f"etcd://{','.join(dict.fromkeys(clients))}"


def clients_in(text: str) -> list[str]:
    """Where members of etcd are, from controller.env; without the prefix that may follow."""
    for line in text.splitlines():
        if line.startswith("STORE=etcd://"):
            listed = line.removeprefix("STORE=etcd://").strip("\"'").partition("/")[0]
            return [one for one in listed.split(",") if one]
    return []


def store_clients(root: Path) -> list[str]:
    """Where members of etcd are, as the controller below this folder is told. Raises Failed."""
    file = Machine(root).controller_settings
    try:
        clients = clients_in(file.read_text())
    except FileNotFoundError as error:
        raise Failed(
            f"{file} is not there: this machine is no controller. Run this where 'fleetctl cluster "
            "init' was run"
        ) from error
    if not clients:
        raise Failed(f"{file} names no etcd in its line STORE=")
    return clients


def with_clients(text: str, clients: Iterable[str]) -> str:
    """controller.env with other members of etcd, and nothing else changed."""
    wanted = f"STORE={store_of(clients)}"
    lines = []
    for line in text.splitlines():
        if line.startswith("STORE=etcd://"):
            _, slash, prefix = line.removeprefix("STORE=etcd://").partition("/")
            line = f"{wanted}{slash}{prefix}"
        lines.append(line)
    return "\n".join(lines) + "\n"


def with_members(text: str, members: Mapping[str, str]) -> str:
    """/etc/default/etcd with other members (peer URLs by name), and nothing else changed. etcd
    reads them only where it has no data yet; a restore makes its new cluster of them. Raises
    Failed for names that a shell, which reads the file too, might not take as they are."""
    for name, url in members.items():
        if not (_PLAIN.fullmatch(name) and _PLAIN.fullmatch(url)):
            raise Failed(
                f"the member of etcd {name[:60]!r} at {url[:60]!r} has a name or an address that "
                "is not written into settings: look at 'fleetctl cluster status'"
            )
    listed = ",".join(f"{name}={url}" for name, url in sorted(members.items()))
    lines = [
        f"ETCD_INITIAL_CLUSTER={listed}" if line.startswith("ETCD_INITIAL_CLUSTER=") else line
        for line in text.splitlines()
    ]
    return "\n".join(lines) + "\n"


def is_ours(text: str, data: PurePath) -> bool:
    """Whether settings of etcd are ours, or say nothing, as Debian's package leaves them."""
    settings = settings_in(text)
    return not settings or settings.get("ETCD_DATA_DIR") == str(data)


def _text(settings: Mapping[str, str], kept: str) -> str:
    lines = [f"{key}={value}" for key, value in settings.items()]
    return _PREFACE.format(kept=kept) + "\n".join(lines) + "\n"
