"""fleetctl backup: the store as a file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fleetctl.outcome import Misuse
from fleetctl.output import byte_text, duration, note, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

if TYPE_CHECKING:
    from megafleet.connection.cluster import Cluster

ROOT = Path("/")
# Of a snapshot: bytes, whether they are its first ones, and how many it has in all.
Chunk = tuple[bytes, bool, int]


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option(
    "--etcd-root", is_flag=True,
    help="From etcd itself, as its root: where 'cluster init' was run.",
)  # fmt: skip
@cluster_options
@pass_session
def backup(session: Session, file: Path, force: bool, etcd_root: bool) -> None:
    """Copy the store into a file: which hosts, fleets, totals and assignments there are.

    It is etcd's own snapshot: 'fleetctl restore' and 'etcdctl snapshot restore' make a new etcd of
    it. It is written to FILE.part, and has its name once it is whole and on disk. Keep it on
    another machine. Operators alone may take one: it holds all that this etcd holds.

    Where etcd's access control is on, as 'fleetctl cluster init' has it, etcd gives its snapshot to
    its root alone, and no controller is that: give --etcd-root, on the machine where init was run.
    """  # fmt: skip
    if str(file) == "-":
        raise Misuse(
            "a backup goes into a file of its own, which is renamed once it is whole: no -"
        )
    chunks = _from_etcd() if etcd_root else _from_controllers(session.cluster)
    from fleetctl.founding.founder import Founder
    from fleetctl.local.last_backup import note_last
    from fleetctl.local.snapshot_file import SnapshotFile
    from fleetctl.terminal.progress_line import ThrottledLines

    started = time.monotonic()
    with SnapshotFile(file, force=force) as made:
        lines = ThrottledLines(note, started)
        for data, begins, total in chunks:
            if begins and made.size:
                made.restart()  # another controller has begun anew
            made.add(data)
            now = time.monotonic()
            lines.show(_copied(made.size, total, now - started), now)
        digest = made.finish()
    note_last(Founder.here().folder, file, made.size, digest, time.time())
    if session.json:
        say_json({"file": str(file), "bytes": made.size, "sha256": digest})
        return
    took = duration(time.monotonic() - started)
    say(f"{file}: {byte_text(made.size)} ({made.size:,} bytes) in {took}\nsha256 {digest}")


def _from_controllers(connection: Cluster) -> Iterator[Chunk]:
    from fleet.v1 import cluster_pb2

    for chunk in connection.follow(lambda stub: stub.Backup, cluster_pb2.BackupRequest()):
        yield chunk.data, chunk.offset == 0, chunk.total_bytes


def _from_etcd() -> Iterator[Chunk]:
    """With the credentials that whoever founded the cluster keeps. Raises Trouble."""
    from fleetctl.founding.etcd_admin import EtcdAdmin
    from fleetctl.founding.founder import Founder
    from fleetctl.founding.replica import store_clients

    identity = Founder.here().root_of_etcd()
    done = 0
    with EtcdAdmin(store_clients(ROOT), identity) as etcd:
        for data, left in etcd.snapshot():
            yield data, done == 0, done + len(data) + left
            done += len(data)


def _copied(done: int, total: int, seconds: float) -> str:
    """How many bytes are in the file; `total` is 0 while it is not known."""
    of = f" of {byte_text(total)} ({done / total:.0%})" if total else ""
    return f"copying the store, {byte_text(done)}{of}, {duration(seconds)}"
