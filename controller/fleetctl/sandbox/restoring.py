"""A sandbox's store made anew of a backup, while its hosts go on."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from fleetctl.local import etcd_member
from fleetctl.local.snapshot_file import check
from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.lifecycle import up
from fleetctl.sandbox.phases import Phases
from fleetctl.sandbox.processes.process import find, stop
from fleetctl.sandbox.state.folder import Folder
from fleetctl.sandbox.state.record import LOOPBACK, EtcdMember, Record, Settings


def restore(folder: Folder, file: Path, phases: Phases) -> None:
    """Its controllers and etcd stop, etcd is restored, and all comes up again; its folder being
    held. Its hosts stay as they are: they are ahead of the store then. Raises Failed, OSError."""
    record = folder.load()
    if record is None or not record.etcd:
        raise SandboxError(f"there is no sandbox '{folder.name}' with an etcd: see 'sandbox up'")
    digest = check(file)
    with phases.phase("controllers and etcd stop"):
        running = find(record.id)
        stop([one for one in running if one.part in {c.name for c in record.controllers}])
        stop([one for one in running if one.part in {m.name for m in record.etcd}])
    stamp = f"{datetime.now():%Y%m%d-%H%M%S}"
    with phases.phase("etcd is restored"):
        for member in record.etcd:
            made = _member(member, record, folder)
            aside = made.data_dir.with_name(f"{member.name}.before-{stamp}")
            etcd_member.restore(file.resolve(), made, digest, aside)
    up(folder, Settings(), phases)


def _member(member: EtcdMember, record: Record, folder: Folder) -> etcd_member.MemberSettings:
    """As the process of this member is started: see sandbox/processes/parts.py."""

    def url(one: EtcdMember) -> str:
        return f"https://{LOOPBACK}:{one.peer_port}"

    members = ",".join(f"{one.name}={url(one)}" for one in record.etcd)
    return etcd_member.MemberSettings(
        member.name, folder.state_of(member.name), url(member), members
    )
