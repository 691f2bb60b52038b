"""Which processes make a sandbox, and their command lines. Pure."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.identities import Identities, files_of
from fleetctl.sandbox.state.record import (
    LOOPBACK,
    EtcdMember,
    HollowProcess,
    LibvirtDaemon,
    Record,
    Replica,
)

# Room for the intent of a fleet many times over: a scale of 4,480 hosts writes some 2 MB.
ETCD_QUOTA_BYTES = 1 << 30
# Revisions older than this are compacted away; watches resume from far less.
ETCD_KEEPS = "10m"
# The name of the part that is a real host's agent.
AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Part:
    """One process to be: `kind` is etcd, controller, hollow, agent or libvirt; `address` is where
    it serves, empty for hosts, which tell the controller."""

    name: str
    kind: str
    argv: Sequence[str]
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


def parts_of(record: Record, folder: Folder, etcd: Path | None) -> list[Part]:
    """In the order in which they are started. Raises SandboxError if a program is missing."""
    identities = Identities(folder.certificates)
    parts = [daemon_part(name) for name in record.real.daemons] if record.real else []
    if record.etcd:
        if etcd is None:
            raise SandboxError(
                "etcd is not on the PATH any more, and this sandbox keeps its store in it: "
                "install the Debian package etcd-server again"
            )
        parts += [_etcd(member, record, folder, identities, etcd) for member in record.etcd]
    parts += [_controller(replica, record, folder, identities) for replica in record.controllers]
    parts += [_hollow(process, record, folder, identities) for process in record.hollow]
    if record.real:
        parts.append(_agent(folder))
    return parts


def program(name: str) -> str:
    """One of our console scripts: beside this interpreter, else on the PATH."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SandboxError(f"{name} is not installed beside {sys.executable}: run 'make setup'")
    return found


def listing_socket(folder: Folder, part: str) -> Path | None:
    """Where a process of hollow hosts lists what its drivers hold; None if the path would be too
    long for a socket's (unix(7): 108 bytes with the ending zero)."""
    path = folder.state_of(part) / "listing.sock"
    return path if len(os.fsencode(path)) < 108 else None


def _listing(socket: Path | None) -> tuple[str, ...]:
    return ("--listing", str(socket)) if socket else ()


def _etcd(
    member: EtcdMember, record: Record, folder: Folder, identities: Identities, binary: Path
) -> Part:
    ca, certificate, key = files_of(identities.member(member.name))
    client = f"https://{LOOPBACK}:{member.client_port}"
    peer = f"https://{LOOPBACK}:{member.peer_port}"
    cluster = ",".join(f"{one.name}=https://{LOOPBACK}:{one.peer_port}" for one in record.etcd)
    return Part(
        member.name,
        "etcd",
        (
            str(binary),
            f"--name={member.name}",
            f"--data-dir={folder.state_of(member.name)}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={cluster}",
            "--initial-cluster-state=new",
            f"--initial-cluster-token={record.id}",
            "--client-cert-auth",
            f"--trusted-ca-file={ca}",
            f"--cert-file={certificate}",
            f"--key-file={key}",
            "--peer-client-cert-auth",
            f"--peer-trusted-ca-file={ca}",
            f"--peer-cert-file={certificate}",
            f"--peer-key-file={key}",
            f"--quota-backend-bytes={ETCD_QUOTA_BYTES}",
            "--auto-compaction-mode=periodic",
            f"--auto-compaction-retention={ETCD_KEEPS}",
            "--logger=zap",
            "--log-level=warn",
        ),
        f"{LOOPBACK}:{member.client_port}",
        _etcd_environment(platform.machine()),
    )


def _etcd_environment(machine: str) -> dict[str, str]:
    """etcd 3.4 starts on other machines than amd64 only if their name is given back to it."""
    go_names = {"aarch64": "arm64", "i686": "386", "armv7l": "arm"}
    if machine in {"x86_64", "amd64"}:
        return {}
    return {"ETCD_UNSUPPORTED_ARCH": go_names.get(machine, machine)}


def _store_arguments(record: Record, identities: Identities) -> tuple[str, ...]:
    if not record.etcd:
        return ("--store", "memory:")
    members = ",".join(f"{LOOPBACK}:{member.client_port}" for member in record.etcd)
    return ("--store", f"etcd://{members}", "--store-identity", str(identities.etcd_client))


def _controller(replica: Replica, record: Record, folder: Folder, identities: Identities) -> Part:
    address = f"{LOOPBACK}:{replica.port}"
    return Part(
        replica.name,
        "controller",
        (
            program("fleet-controller"),
            *("--listen", address),
            *("--advertise", address),
            *("--identity", str(identities.replica(replica.name))),
            *_store_arguments(record, identities),
            *("--replica", replica.name),
            *("--recover-after", "0"),  # on loopback no order is held back
            *("--ready-file", str(folder.ready_file(replica.name))),
            *("--metrics-listen", f"{LOOPBACK}:{replica.metrics}" if replica.metrics else ""),
        ),
        address,
    )


def _hollow(process: HollowProcess, record: Record, folder: Folder, identities: Identities) -> Part:
    asked = record.asked
    return Part(
        process.name,
        "hollow",
        (
            program("fleet-hollow"),
            *("--hosts", f"{process.first}-{process.last}"),
            *("--per-host", str(asked.per_host)),
            *("--profile", str(asked.profile)),
            *("--seed", str(asked.seed)),
            *("--racks", str(asked.hosts_per_rack)),
            *("--certificates", str(identities.agents)),
            *("--endpoints", ",".join(record.endpoints)),
            *("--state", str(folder.state_of(process.name))),
            *_listing(listing_socket(folder, process.name)),
        ),
    )


def daemon_part(name: LibvirtDaemon) -> Part:
    """In the foreground, with the machine's own settings of it."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    found = shutil.which(name, path=path)
    if found is None:
        raise SandboxError(f"{name} is not installed any more: 'fleetctl sandbox up' installs it")
    return Part(name, "libvirt", (found,))


def _agent(folder: Folder) -> Part:
    state = folder.state_of(AGENT)
    return Part(
        AGENT,
        "agent",
        (program("fleet-agent"), "--config", str(state / "agent.toml")),
        environment={
            # Lent to it where its own interpreter has no binding of libvirt.
            **({"PYTHONPATH": str(folder.binding)} if any_file(folder.binding) else {}),
            "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin",
        },
    )


def any_file(folder: Path) -> bool:
    """Whether the folder is there and has something in it."""
    return folder.is_dir() and any(folder.iterdir())


def agent_settings(record: Record, folder: Folder) -> str:
    """The agent's settings file. Whatever lies in /etc/megafleet is another agent's."""
    real, state = record.real, folder.state_of(AGENT)
    assert real is not None

    def line(key: str, value: object) -> str:
        return f"{key} = {json.dumps(value)}"

    return "\n".join(
        (
            line("identity", str(Identities(folder.certificates).real_host)),
            line("endpoints", record.endpoints),
            line("listen", f"{LOOPBACK}:0"),
            line("ledger", str(state / "ledger")),
            line("guests", real.guests),
            "[hypervisor]",
            line("uri", real.uri),
            line("console_log", str(real.consoles / "{name}.log")),
            # The guest's own: those in /boot are not everybody's to read, nor on every machine.
            line("trial_kernel", str(real.guest / "vmlinuz")),
            "[storage]",
            line("kind", "files"),
            line("parent", str(real.storage)),
            "",
        )
    )
