"""fleetctl backup: the store as a file."""

from __future__ import annotations

import time
from pathlib import Path

import click

from fleetctl.outcome import Misuse
from fleetctl.output import byte_text, duration, note, say, say_json
from fleetctl.session import Session, cluster_options, pass_session


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@cluster_options
@pass_session
def backup(session: Session, file: Path, force: bool) -> None:
    """Copy the store into a file: which hosts, fleets, totals and assignments there are.

    It is etcd's own snapshot: 'fleetctl restore' and 'etcdctl snapshot restore' make a new etcd of
    it. It is written to FILE.part, and has its name once it is whole and on disk. Keep it on
    another machine. Operators alone may take one: it holds all that this etcd holds.
    """  # fmt: skip
    if str(file) == "-":
        raise Misuse(
            "a backup goes into a file of its own, which is renamed once it is whole: no -"
        )
    connection = session.cluster
    from fleet.v1 import cluster_pb2
    from fleetctl.local.snapshot_file import SnapshotFile
    from fleetctl.terminal.progress_line import ThrottledLines

    started = time.monotonic()
    with SnapshotFile(file, force=force) as made:
        lines = ThrottledLines(note, started)
        for chunk in connection.follow(lambda stub: stub.Backup, cluster_pb2.BackupRequest()):
            if chunk.offset == 0 and made.size:
                made.restart()  # another controller has begun anew
            made.add(chunk.data)
            now = time.monotonic()
            lines.show(_copied(made.size, chunk.total_bytes, now - started), now)
        digest = made.finish()
    if session.json:
        say_json({"file": str(file), "bytes": made.size, "sha256": digest})
        return
    took = duration(time.monotonic() - started)
    say(f"{file}: {byte_text(made.size)} ({made.size:,} bytes) in {took}\nsha256 {digest}")


def _copied(done: int, total: int, seconds: float) -> str:
    """How many bytes are in the file; `total` is 0 while it is not known."""
    of = f" of {byte_text(total)} ({done / total:.0%})" if total else ""
    return f"copying the store, {byte_text(done)}{of}, {duration(seconds)}"
