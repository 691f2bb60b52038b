"""fleetctl cluster status: members of etcd, controllers, certificates, the last backup."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fleetctl.commands.founding.options import root_option
from fleetctl.outcome import ExitCode, Trouble
from fleetctl.output import byte_text, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from fleet.certificates.certificate_dates import CertificateFile
    from fleetctl.founding.quorum import EtcdMember

# A certificate that ends sooner is told.
_SOON_DAYS = 30
_AUTHORITY, _ETCD_AUTHORITY = "authority", "authority of etcd"


@click.command()
@root_option
@cluster_options
@pass_session
def status(session: Session, root: Path) -> int:
    """Show members of etcd, controllers, certificates here, and the last backup from here.

    Each member of etcd and each controller is asked by itself. The exit code is 1 while a member
    or a controller does not answer.
    """  # fmt: skip
    members, etcd_trouble = _members(root)
    controllers = _controllers(session)
    certificates = _certificates(root)
    backup, etcd_root = _last_backup()
    if session.json:
        shown = {
            "members": [_member_json(one) for one in members],
            "may_fail": _spare(members),
            "trouble": etcd_trouble or None,
            "controllers": controllers,
            "certificates": [
                {"file": str(one.file), "expires_unix": one.expires} for one in certificates
            ],
            "backup": backup,
        }
        say_json(shown)
    else:
        say("\n".join(_lines(members, etcd_trouble, controllers, certificates)))
        say("\n".join(["backup", f"  {_backup_line(backup, etcd_root)}"]))
    whole = not etcd_trouble and all(one.answers for one in members)
    return (
        ExitCode.DONE if whole and all(one["version"] for one in controllers) else ExitCode.FAILED
    )


def _members(root: Path) -> tuple[list[EtcdMember], str]:
    from fleetctl.founding.etcd_admin import EtcdAdmin
    from fleetctl.founding.founder import Founder
    from fleetctl.founding.replica import store_clients

    try:
        identity = Founder.here().root_of_etcd()
        with EtcdAdmin(store_clients(root), identity) as etcd:
            return etcd.members(), ""
    except Trouble as error:
        return [], error.message


def _controllers(session: Session) -> list[dict[str, Any]]:
    """Each endpoint of the context, asked by itself."""
    from fleet.v1 import cluster_pb2
    from megafleet.connection.cluster import Cluster
    from megafleet.contexts import Selection, resolve

    flags = Selection(session.context, session.endpoints, session.identity)
    try:
        target = resolve(flags)
    except Trouble as error:
        return [_controller_json("", error.message)]
    found = []
    for endpoint in target.endpoints:
        from dataclasses import replace

        one = Cluster(replace(target, endpoints=(endpoint,)), 3.0)
        try:
            answer = one.call(lambda stub: stub.Version, cluster_pb2.VersionRequest())
        except Trouble as error:
            found.append(_controller_json(endpoint, error.message))
        else:
            found.append(
                _controller_json(endpoint, "", answer.replica, answer.version, answer.leader)
            )
    return found


def _controller_json(
    endpoint: str, problem: str, name: str = "", version: str = "", leads: bool = False
) -> dict[str, Any]:
    return {
        "endpoint": endpoint,
        "name": name or None,
        "version": version or None,
        "leads": leads,
        "problem": problem or None,
    }


def _certificates(root: Path) -> list[CertificateFile]:
    from fleet.certificates.certificate_dates import certificate_file, certificate_files
    from fleet.certificates.host_issuer import ISSUING_FILE
    from fleetctl.founding.founder import Founder
    from fleetctl.founding.machine import Machine

    machine, founder = Machine(root), Founder.here()
    folders = (
        (machine.controller, "controller", _AUTHORITY),
        (machine.etcd, "etcd member", _ETCD_AUTHORITY),
        (machine.etcd_client, "controller for etcd", _ETCD_AUTHORITY),
        (founder.operator, "operator", _AUTHORITY),
        (founder.etcd_root, "etcd's root", _ETCD_AUTHORITY),
    )
    found = [
        one
        for folder, what, authority in folders
        for one in certificate_files(folder, what, authority)
    ]
    found += certificate_file(machine.issuing / ISSUING_FILE, "hosts' issuing key")
    # Each authority lies in several folders: the first is told.
    seen: dict[tuple[str, int], CertificateFile] = {}
    for one in found:
        seen.setdefault((one.what, one.expires), one)
    return list(seen.values())


def _last_backup() -> tuple[dict[str, Any] | None, bool]:
    """And whether etcd gives it to its root alone, whose credentials are here."""
    from fleetctl.founding.founder import Founder
    from fleetctl.local.last_backup import read_last

    founder = Founder.here()
    return read_last(founder.folder), founder.etcd_root.exists()


def _spare(members: list[EtcdMember]) -> int | None:
    from fleetctl.founding.quorum import may_fail

    return may_fail(members) if members else None


def _member_json(one: EtcdMember) -> dict[str, Any]:
    return {
        "id": f"{one.id:x}",
        "name": one.name or None,
        "peer_url": one.peer_url,
        "client_url": one.client_url or None,
        "learner": one.learner,
        "leads": one.leads,
        "version": one.version or None,
        "bytes_used": one.bytes_used,
        "problem": one.problem or None,
    }


def _lines(
    members: list[EtcdMember],
    trouble: str,
    controllers: list[dict[str, Any]],
    certificates: list[CertificateFile],
) -> list[str]:
    lines = ["etcd"]
    if trouble:
        lines.append(f"  {trouble}")
    behind = max((one.index for one in members), default=0)
    for member in members:
        lines.append(f"  {_member_line(member, behind)}")
    if members:
        lines.append(f"  {_quorum_line(members)}")
    lines.append("controllers")
    for one in controllers:
        said = one["problem"] or f"{one['version']}{'  leads' if one['leads'] else ''}"
        lines.append(f"  {one['name'] or '-':<20} {one['endpoint'] or '-':<24} {said}")
    lines.append("certificates")
    now = datetime.now(UTC)
    for kept in certificates:
        days = (kept.certificate.not_after - now).days
        mark = f"  {_how_to_renew(kept.what)}" if days < _SOON_DAYS else ""
        lines.append(f"  {kept.what:<20} {days:>5} d  {kept.file}{mark}")
    return lines


def _how_to_renew(what: str) -> str:
    if what == _AUTHORITY:
        return "replace it: fleetctl certs rotate"
    return "ends soon" if what == _ETCD_AUTHORITY else "renew it: fleetctl cluster renew"


def _member_line(member: EtcdMember, newest: int) -> str:
    place = "learner" if member.learner else "leads" if member.leads else "votes"
    if not member.answers:
        return f"{member.shown:<20} {place:<8} {member.problem}"
    lag = newest - member.index
    said = f"{member.version}  {byte_text(member.bytes_used)}"
    late = f"  {lag:,} entries behind" if lag > 100 else ""
    return f"{member.shown:<20} {place:<8} {member.client_url}  {said}{late}"


def _quorum_line(members: list[EtcdMember]) -> str:
    spare = _spare(members) or 0
    if spare < 0:
        return "no quorum: nothing can be changed until more members answer"
    return f"{spare} more may fail" if spare else "none may fail: nothing could be changed then"


def _backup_line(backup: dict[str, Any] | None, etcd_root: bool) -> str:
    from fleetctl.output import ago

    if backup is None:
        how = "fleetctl backup FILE --etcd-root" if etcd_root else "fleetctl backup FILE"
        return f"none was taken from here: {how}"
    passed = max(0.0, datetime.now(UTC).timestamp() - float(backup["taken_unix"]))
    return f"{backup['file']}  {byte_text(int(backup['bytes']))}  {ago(passed)}"
