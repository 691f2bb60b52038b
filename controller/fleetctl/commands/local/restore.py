"""fleetctl restore: a new etcd member of a backup, on the machine where it will run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetctl.cli.confirmation import confirm, plan_option, yes_option
from fleetctl.outcome import ExitCode, Misuse
from fleetctl.output import doing, note, say, say_json
from fleetctl.session import Session, output_option, pass_session

if TYPE_CHECKING:
    from fleetctl.local.etcd_member import MemberSettings

SETTINGS = Path("/etc/default/etcd")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--settings",
    type=click.Path(path_type=Path, dir_okay=False),
    default=SETTINGS,
    show_default=True,
    help="The environment file of etcd, which has what follows.",
)
@click.option("--data-dir", default="", metavar="FOLDER", help="Where etcd keeps its data.")
@click.option("--name", default="", metavar="NAME", help="Of this member.")
@click.option("--peer-urls", default="", metavar="URLS", help="Where the others reach it.")
@click.option(
    "--initial-cluster", default="", metavar="NAME=URL,...", help="All members of the new cluster."
)
@plan_option
@yes_option
@output_option
@pass_session
def restore(
    session: Session,
    file: Path,
    settings: Path,
    data_dir: str,
    name: str,
    peer_urls: str,
    initial_cluster: str,
    plan_only: bool,
    yes: bool,
) -> int:
    """Make a new etcd of a backup: to be run on each member, with the same file, all stopped.

    What etcd had there before is moved aside, not removed. What else it must know is in etcd's own
    settings, so that on a member set up by 'fleetctl cluster', or as docs/cluster-by-hand.md says,
    the file's name is enough. All members must be told the same: look at the plan.

    The order: stop all controllers and all etcd members; restore on each member; start etcd on
    all; start the controllers. They find the store older than what hosts have seen, and change
    nothing: VMs go on as they are. 'fleetctl status' says so, and 'fleetctl recover --plan' what
    to do next.
    """  # fmt: skip
    from fleetctl.local import etcd_member
    from fleetctl.local.snapshot_file import check

    given = {
        "data_dir": data_dir,
        "name": name,
        "peer_urls": peer_urls,
        "initial_cluster": initial_cluster,
    }
    member = etcd_member.member_of(_settings(settings), given, str(settings))
    etcd_member.refuse_running(member.data_dir)
    program = etcd_member.tool()
    with doing("checking the backup ..."):
        digest = check(file)
    aside = etcd_member.beside(member.data_dir, f"before-{datetime.now():%Y%m%d-%H%M%S}")
    line = etcd_member.command(program, file, member, member.data_dir, etcd_member.token_of(digest))
    if plan_only or not yes:
        note(_plan_text(member, aside, line))
    if plan_only:
        return ExitCode.DONE
    if not yes:
        confirm("restore", f"Make a new etcd in {member.data_dir}?", "nothing was restored")
    with doing("restoring ..."):
        etcd_member.restore(file.resolve(), member, digest, aside)
    _say(session, file, digest, member, aside if aside.exists() else None)
    return ExitCode.DONE


def _settings(path: Path) -> dict[str, str]:
    from fleetctl.local.etcd_member import settings_in

    try:
        return settings_in(path.read_text())
    except FileNotFoundError:
        if path != SETTINGS:
            raise
        return {}
    except ValueError as error:
        raise Misuse(f"{path} cannot be read as settings of etcd: {error}") from error


def _plan_text(member: MemberSettings, aside: Path, line: list[str]) -> str:
    import shlex

    there = member.data_dir.exists()
    moves = [f"moves   {member.data_dir} -> {aside}"] if there else []
    made = [f"makes   {member.data_dir}", f"with    {shlex.join(line)}"]
    return "\n".join([*moves, *made, _cluster_text(member)])


def _cluster_text(member: MemberSettings) -> str:
    """Whoever expects others in it sees that they are missing, before they form another."""
    if not member.others:
        return f"{member.name} is the only member of the new cluster"
    names = sorted([member.name, *member.others])
    return f"the new cluster has {len(names)} members: {', '.join(names)}"


def _say(
    session: Session, file: Path, digest: str, member: MemberSettings, aside: Path | None
) -> None:
    if session.json:
        result = {
            "file": str(file),
            "sha256": digest,
            "name": member.name,
            "data_dir": str(member.data_dir),
            "aside": str(aside) if aside else None,
            "others": member.others,
        }
        say_json(result)
        return
    say(f"{member.data_dir} is restored from {file}, as etcd member {member.name}")
    if aside:
        say(f"what was there is in {aside}: remove it when all is well")
    say(_cluster_text(member))
    if member.others:
        say(f"do the same, with the same file, on {', '.join(member.others)}; sha256 {digest}")
    say("then start etcd on all members, then the controllers, then: fleetctl recover --plan")
