"""fleetctl support bundle: one archive of all that tells how a cluster stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import click

from fleetctl.cli.confirmation import plan_option_with
from fleetctl.outcome import Trouble
from fleetctl.output import byte_text, counted, doing, note, say, say_json
from fleetctl.session import Session, cluster_options, pass_session

MOST_HOSTS = 50


@click.group()
def support() -> None:
    """What is handed to whoever helps."""


@support.command("bundle")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--hosts", type=click.IntRange(0, MOST_HOSTS), default=3, show_default=True,
    help="Of so many hosts what they run and their limits: those in trouble first.",
)  # fmt: skip
@click.option(
    "--metrics", metavar="URL", multiple=True,
    help="Also the metrics of a controller or an agent; may be given several times.",
)  # fmt: skip
@click.option(
    "--logs", metavar="PATH", multiple=True, type=click.Path(path_type=Path),
    help="Also the end of a log file, or of each in a folder; may be given several times.",
)  # fmt: skip
@click.option(
    "--anonymous", is_flag=True,
    help="Replace addresses, and names of fleets, hosts, labels and people, each always alike.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@plan_option_with("List what would be in it, and write nothing.")
@cluster_options
@pass_session
def bundle(
    session: Session,
    file: Path,
    hosts: int,
    metrics: tuple[str, ...],
    logs: tuple[Path, ...],
    anonymous: bool,
    force: bool,
    plan_only: bool,
) -> None:
    """Write an archive (tar.gz) of how the cluster stands.

    It has versions, status, fleets, hosts, events, history, and the limits of some hosts; where
    systemd runs this machine, also its journal of Megafleet's units. Keys, tokens and passwords are
    never in it, nor what fleet files hand to their VMs. What could not be had is named in its
    manifest.json. The file has its name once it is whole.
    """
    connection = session.cluster
    from fleetctl.support.archive import anonymity_of, check_free, gathered, write_bundle
    from fleetctl.support.logs import log_parts
    from fleetctl.support.metrics import metrics_parts
    from fleetctl.support.parts import chosen_hosts, parts_of

    read_here = [*metrics_parts(metrics), *log_parts(logs)]
    with doing("choosing hosts ..."):
        chosen = chosen_hosts(connection, hosts)
    parts = [*parts_of(connection, chosen), *read_here]
    if plan_only:
        if session.json:
            say_json({"files": [{"name": one.name, "says": one.says} for one in parts]})
        else:
            from fleetctl.tables.listing import table

            say(table(("FILE", "WHAT"), [(one.name, one.says) for one in parts]))
        return
    check_free(file, force=force)
    known = _known_names(session) if anonymous else {}
    found, missing = gathered(parts, lambda says: note(f"asking for {says}"))
    anonymity = anonymity_of(found, known) if anonymous else None
    files = write_bundle(file, found, missing, anonymity, force=force)
    size = file.stat().st_size
    if session.json:
        listed = [{"name": name, "bytes": count} for name, count in files]
        say_json({"file": str(file), "bytes": size, "files": listed, "missing": missing})
        return
    for name, why in missing.items():
        note(f"without {name}: {why}")
    say(f"{file}: {byte_text(size)}, {counted(len(files), 'file')}")


def _known_names(session: Session) -> Mapping[str, Iterable[str]]:
    """Those that are not known would stay. Raises Trouble."""
    from fleetctl.support.parts import known_names

    try:
        with doing("asking for names ..."):
            return known_names(session.cluster)
    except Trouble as trouble:
        sentence = (
            "nothing is written: --anonymous needs the names of all hosts and fleets, and they "
            f"could not be had: {trouble.message}"
        )
        raise type(trouble)(sentence, reason=trouble.reason) from trouble
