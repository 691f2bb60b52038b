"""Plans a new sandbox: what was asked, what the machine admits, which ports, which processes."""

from __future__ import annotations

import secrets

from msgspec.structs import replace

from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.planning.machine import Machine, etcd_version, free_ports, is_free
from fleetctl.sandbox.planning.sizing import (
    DEFAULT_HOSTS,
    DEFAULT_HOSTS_A_RACK,
    DEFAULT_PER_HOST,
    Size,
    fit,
)
from fleetctl.sandbox.state.record import EtcdMember, HollowProcess, Record, Replica, Settings


def plan(name: str, wanted: Settings, machine: Machine) -> Record:
    """A new sandbox, as asked for and as this machine admits. Raises SandboxError."""
    asked = Settings(
        hosts=DEFAULT_HOSTS if wanted.hosts is None else wanted.hosts,
        per_host=wanted.per_host or DEFAULT_PER_HOST,
        profile=wanted.profile or "instant",
        seed=wanted.seed if wanted.seed is not None else 1,
        hosts_per_rack=wanted.hosts_per_rack or DEFAULT_HOSTS_A_RACK,
        store=wanted.store or ("etcd" if machine.etcd else "memory"),
        controllers=wanted.controllers or 1,
        etcd=wanted.etcd or 1,
    )
    if wanted.real is not None:
        # This machine is the one host; how many VMs is decided with it.
        asked = replace(asked, real=wanted.real, hosts=0, start=wanted.start or "clone")
    assert asked.hosts is not None
    if asked.store == "etcd" and machine.etcd is None:
        raise SandboxError(
            "etcd is not installed: install the Debian package etcd-server, or take "
            "--store memory, which is not durable"
        )
    if asked.store == "memory" and max(asked.controllers or 1, asked.etcd or 1) > 1:
        raise SandboxError(
            "a store in memory is in one controller alone: several controllers or members of "
            "etcd take --store etcd, and the Debian package etcd-server"
        )
    size = fit(asked.hosts, machine)
    reasons = list(size.reasons)
    if machine.etcd is None and wanted.store is None:
        reasons.append(
            "the store is in memory and not durable: etcd is not installed "
            "(Debian package etcd-server)"
        )
    return _record(name, asked, size, reasons, machine)


def _record(name: str, asked: Settings, size: Size, reasons: list[str], machine: Machine) -> Record:
    etcd: list[EtcdMember] = []
    members, replicas = asked.etcd or 1, asked.controllers or 1
    ports = iter(free_ports(2 * members + 2 * replicas))
    version = "memory (not durable)"
    if asked.store == "etcd" and machine.etcd is not None:
        etcd = [EtcdMember(f"etcd-{n}", next(ports), next(ports)) for n in range(1, members + 1)]
        version = f"etcd {etcd_version(machine.etcd)}"
    return Record(
        id=secrets.token_hex(8),
        name=name,
        asked=asked,
        hosts=size.hosts,
        store_version=version,
        reasons=reasons,
        etcd=etcd,
        controllers=[
            Replica(f"controller-{n}", next(ports), next(ports)) for n in range(1, replicas + 1)
        ],
        hollow=[
            HollowProcess(f"hollow-{number}", first, last)
            for number, (first, last) in enumerate(size.processes, start=1)
        ],
    )


def with_free_ports(record: Record) -> Record:
    """The same sandbox, none of whose processes runs, where others have taken ports of it.

    etcd keeps its peers' ports: they are in its data.
    """
    taken = [one.name for one in record.controllers if not is_free(one.port)]
    taken += [one.name for one in record.etcd if not is_free(one.client_port)]
    shown = [one.name for one in record.controllers if one.metrics and not is_free(one.metrics)]
    found = free_ports(len(taken) + len(shown))
    ports = dict(zip(taken, found[: len(taken)], strict=True))
    metrics = dict(zip(shown, found[len(taken) :], strict=True))
    controllers = [
        replace(
            one,
            port=ports.get(one.name, one.port),
            metrics=metrics.get(one.name, one.metrics),
        )
        for one in record.controllers
    ]
    members = [
        replace(one, client_port=ports.get(one.name, one.client_port)) for one in record.etcd
    ]
    return replace(record, controllers=controllers, etcd=members)
