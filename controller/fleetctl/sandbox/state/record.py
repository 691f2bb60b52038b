"""What a sandbox was asked to be and is made of: one JSON file, written once, before any process.

Parts are lists, so that replicas of etcd and of the controller are further entries.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import msgspec

from fleetctl.sandbox.errors import SandboxError

SCHEMA = 1
# Where everything of a sandbox listens.
LOOPBACK = "127.0.0.1"
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")

Store = Literal["etcd", "memory"]
LibvirtDaemon = Literal["virtlogd", "libvirtd"]


class EtcdMember(msgspec.Struct, frozen=True):
    name: str
    client_port: int
    peer_port: int


class Replica(msgspec.Struct, frozen=True):
    """A controller and the port on which it serves. `metrics`: on which it serves those; 0: none,
    as of an earlier release."""

    name: str
    port: int
    metrics: int = 0


class HollowProcess(msgspec.Struct, frozen=True):
    """Hosts `first` to `last`, both included, in one process."""

    name: str
    first: int
    last: int


class RealHost(msgspec.Struct, frozen=True, kw_only=True):
    """This machine as the sandbox's one host: its name, its libvirt, how many VMs it takes, and
    what its fleet is called. `files` is the folder of what QEMU reads and writes; `daemons` are
    those of libvirt that the sandbox started. `why` so many VMs, as it was told."""

    host: str
    uri: str
    files: str
    guests: int
    fleet: str
    daemons: list[LibvirtDaemon] = []
    vms: int = 0
    why: str = ""
    # The agent's folder of VMs that are copies of a template; empty: of an earlier release.
    clones: str = ""

    def console_of(self, vm: str) -> Path:
        """Where what a VM prints is logged."""
        cloned = Path(self.clones or self.files) / vm / "console.log"
        return cloned if self.clones and cloned.exists() else self.consoles / f"{vm}.log"

    @property
    def guest(self) -> Path:
        return Path(self.files) / "guest"

    @property
    def storage(self) -> Path:
        return Path(self.files) / "storage"

    @property
    def consoles(self) -> Path:
        return Path(self.files) / "consoles"


class Settings(msgspec.Struct, frozen=True):
    """What may be asked for. None is not given: the default, or what the sandbox has. `real`: so
    many VMs on this machine, 0 for as many as fit; there are no hollow hosts then. `start`: how
    these come to run, as the fleet file says it."""

    hosts: int | None = None
    per_host: int | None = None
    profile: str | None = None
    seed: int | None = None
    hosts_per_rack: int | None = None
    store: Store | None = None
    controllers: int | None = None
    etcd: int | None = None
    real: int | None = None
    start: Literal["boot", "clone"] | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """`id` marks the processes. `asked` has every field. `reasons` say why it is less than
    it could be, for want of what. `kept` says that it was stopped to be continued."""

    schema: int = SCHEMA
    id: str
    name: str
    asked: Settings
    hosts: int
    store_version: str
    reasons: list[str]
    etcd: list[EtcdMember]
    controllers: list[Replica]
    hollow: list[HollowProcess]
    real: RealHost | None = None
    kept: bool = False
    # The context that was current before this sandbox's.
    previous_context: str = ""

    @property
    def store(self) -> Store:
        return "etcd" if self.etcd else "memory"

    @property
    def durable(self) -> bool:
        return bool(self.etcd)

    @property
    def endpoints(self) -> list[str]:
        return [f"{LOOPBACK}:{replica.port}" for replica in self.controllers]


def check_name(name: str) -> str:
    """The name, if it may be one. Raises SandboxError."""
    if not NAME.fullmatch(name):
        raise SandboxError(
            f"{name!r} cannot name a sandbox: lower-case letters, digits and hyphens, "
            f"at most 32, starting and ending with a letter or digit"
        )
    return name


def difference(record: Record, wanted: Settings) -> str:
    """The first given setting that is not what the sandbox has, as a sentence; empty: none."""
    for field in Settings.__struct_fields__:
        asked, has = getattr(wanted, field), getattr(record.asked, field)
        if has is None and field in ("controllers", "etcd"):
            has = 1  # one made before there could be more
        if asked is not None and asked != has and not (field == "hosts" and asked == record.hosts):
            return (
                f"sandbox '{record.name}' was made with --{field.replace('_', '-')} {has}, which "
                f"cannot become {asked}: 'fleetctl sandbox down --name {record.name}' removes it, "
                f"or --name makes another beside it"
            )
    return ""


def encode(record: Record) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record), indent=1)


def decode(content: bytes, where: str) -> Record:
    """Raises SandboxError if it is not a record of this version."""
    try:
        record = msgspec.json.decode(content, type=Record)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SandboxError(
            f"{where} is not readable ({error}): remove its folder once none of its processes runs"
        ) from error
    if record.schema != SCHEMA:
        raise SandboxError(
            f"{where} is of another version of fleetctl: stop the sandbox with that version"
        )
    return record
