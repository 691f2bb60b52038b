"""A new etcd member made of a backup, on the machine where it will run.

The tool that does it is etcd's own: etcdutl, or etcdctl before etcd 3.5. What was there before is
moved aside, never removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleetctl.local.key_files import hand_over
from fleetctl.outcome import Failed, Misuse

# A snapshot of ten megabytes takes a second; of some gigabytes, on a slow disk, minutes.
RESTORE_SECONDS = 1800.0
_VARIABLES = {
    "name": "ETCD_NAME",
    "data_dir": "ETCD_DATA_DIR",
    "peer_urls": "ETCD_INITIAL_ADVERTISE_PEER_URLS",
    "initial_cluster": "ETCD_INITIAL_CLUSTER",
}
# All that a member of etcd has is in this folder of its data folder.
_CONTENT = "member"
_LINE = re.compile(r"\s*(?:export\s+)?(ETCD_[A-Z_]+)=(.*)")


@dataclass(frozen=True, slots=True)
class MemberSettings:
    """What etcd calls it: its name, its folder, its peers' way to it, and all members."""

    name: str
    data_dir: Path
    peer_urls: str
    initial_cluster: str

    @property
    def others(self) -> list[str]:
        """The names of the cluster's other members."""
        named = [one.partition("=")[0] for one in self.initial_cluster.split(",")]
        return [one for one in named if one != self.name]


def member_of(settings: Mapping[str, str], given: Mapping[str, str], where: str) -> MemberSettings:
    """From etcd's settings, and what was said on the command line, which wins. Raises Misuse
    naming what is missing; `where` the settings come from."""
    found = {key: given.get(key) or settings.get(name, "") for key, name in _VARIABLES.items()}
    missing = [f"--{key.replace('_', '-')}" for key, value in found.items() if not value]
    if missing:
        raise Misuse(f"{', '.join(missing)}: neither given nor in {where}")
    member = MemberSettings(
        found["name"], Path(found["data_dir"]), found["peer_urls"], found["initial_cluster"]
    )
    if f"{member.name}=" not in f",{member.initial_cluster}".replace(",", "\n"):
        raise Misuse(f"{member.name} is none of the members in {member.initial_cluster!r}")
    _check_members(member)
    return member


def _check_members(member: MemberSettings) -> None:
    """As etcd does only once it starts, when what was there is aside already. Raises Misuse."""
    listed = [one.partition("=") for one in member.initial_cluster.split(",")]
    own = {url for name, _, url in listed if name == member.name}
    told = set(member.peer_urls.split(","))
    if own != told:
        raise Misuse(
            f"{member.name} is at {', '.join(sorted(own))} in --initial-cluster, and at"
            f" {', '.join(sorted(told))} by --peer-urls: all members are told the same"
        )
    urls = [url for _, _, url in listed]
    if twice := next((url for url in urls if urls.count(url) > 1), ""):
        raise Misuse(f"two members are at {twice} in --initial-cluster")


def settings_in(text: str) -> dict[str, str]:
    """The ETCD_ variables of an environment file, as systemd and shells read it."""
    found = {}
    for line in text.splitlines():
        if match := _LINE.fullmatch(line):
            words = shlex.split(match[2], comments=True)
            found[match[1]] = words[0] if words else ""
    return found


def tool(which: Callable[[str], str | None] = shutil.which) -> list[str]:
    """The program that restores. Raises Failed."""
    for name in ("etcdutl", "etcdctl"):
        if found := which(name):
            return [found, "snapshot", "restore"]
    raise Failed(
        "neither etcdutl nor etcdctl is on this machine: install Debian's package etcd-client"
    )


def command(
    program: list[str], file: Path, member: MemberSettings, into: Path, token: str
) -> list[str]:
    return [
        *program,
        str(file),
        f"--name={member.name}",
        f"--data-dir={into}",
        f"--initial-cluster={member.initial_cluster}",
        f"--initial-advertise-peer-urls={member.peer_urls}",
        f"--initial-cluster-token={token}",
    ]


def token_of(digest: str) -> str:
    """All members of one restored cluster have the same, and no cluster of before has it: so
    none of them takes the others for what they were, and controllers see another cluster."""
    return f"megafleet-restored-{digest[:16]}"


def refuse_running(data_dir: Path) -> None:
    """An etcd that runs holds a lock on its database. Raises Failed."""
    database = data_dir / "member" / "snap" / "db"
    try:
        with database.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return
    except BlockingIOError as error:
        raise Failed(
            f"an etcd is running on {data_dir}: stop it on every member first "
            "(systemctl stop etcd), and the controllers as well"
        ) from error


def restore(file: Path, member: MemberSettings, digest: str, aside: Path) -> None:
    """Make the member's folder of the file; what was there goes `aside`. Raises Failed, OSError."""
    draft = beside(member.data_dir, "restoring")
    if draft.exists():
        shutil.rmtree(draft)
    line = command(tool(), file, member, draft, token_of(digest))
    try:
        made = subprocess.run(
            line, env={**os.environ, "ETCDCTL_API": "3"}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", timeout=RESTORE_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{line[0]} did not end within {RESTORE_SECONDS:.0f} s") from error
    if made.returncode:
        last = (made.stderr.strip() or made.stdout.strip()).splitlines()[-1:]
        raise Failed(f"{line[0]} could not restore {file}: {' '.join(last)[:400]}")
    _hand_over(draft, member.data_dir if member.data_dir.exists() else member.data_dir.parent)
    move_aside(member.data_dir, aside)
    if os.path.ismount(member.data_dir):
        (draft / _CONTENT).rename(member.data_dir / _CONTENT)
        draft.rmdir()
    else:
        draft.rename(member.data_dir)


def beside(data_dir: Path, word: str) -> Path:
    """A folder on the same file system, for what was in this one or is to be. Beside a mount point
    another file system begins: there it lies within."""
    if os.path.ismount(data_dir):
        return data_dir / word
    return data_dir.with_name(f"{data_dir.name}.{word}")


def move_aside(data_dir: Path, aside: Path) -> None:
    """What etcd has in its folder, to a folder that `beside` has named. Raises OSError."""
    if not os.path.ismount(data_dir):
        if data_dir.exists():
            data_dir.rename(aside)
        return
    if (data_dir / _CONTENT).exists():
        aside.mkdir(mode=0o700)
        (data_dir / _CONTENT).rename(aside / _CONTENT)


def _hand_over(folder: Path, like: Path) -> None:
    """To whoever owns the other: etcd runs as a user of its own."""
    owner = like.stat()
    if os.geteuid() != 0:
        return
    hand_over(folder, owner.st_uid, owner.st_gid)
