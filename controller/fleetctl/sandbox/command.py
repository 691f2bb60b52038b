"""fleetctl sandbox up, status, down, demo."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from fleetctl.cli.help_page import OrderedGroup
from fleetctl.output import counted, say, say_json
from fleetctl.sandbox.state.context import DEFAULT_NAME
from fleetctl.session import Session, output_option, pass_session

if TYPE_CHECKING:
    from fleetctl.sandbox.state.folder import Folder
    from fleetctl.sandbox.state.record import Record

MOST_REPLICAS = 5

name_option = click.option(
    "--name", default=DEFAULT_NAME, show_default=True, help="Which sandbox; also its context."
)
real_option = click.option(
    "--real",
    metavar="[VMS]",
    type=click.IntRange(0, 1000),
    is_flag=False,
    flag_value="0",
    default=None,
    help="This machine as the host, with so many real VMs; as many as it bears without a number.",
)

start_option = click.option(
    "--start",
    type=click.Choice(["boot", "clone"]),
    help="How real VMs come to run: each boots, or is a copy of one that has; clone.",
)


@click.group(cls=OrderedGroup)
def sandbox() -> None:
    """A whole cluster on this machine: etcd, controllers, hollow hosts.

    Everything listens on loopback, on free ports, with certificates of its own. Its data lies
    in the user's state folder; nothing of the machine's own etcd is touched.
    """


@sandbox.command()
@name_option
@click.option(
    "--hosts",
    type=click.IntRange(0, 100_000),
    help="Hollow hosts; 4,480, or what fits here. 0: a cluster for hosts that announce themselves.",
)
@click.option("--per-host", type=click.IntRange(1, 10_000), help="VMs a host admits; 250.")
@click.option("--profile", help="How long its drivers take: instant, dom0 or a TOML file.")
@click.option("--seed", type=click.IntRange(0), help="Of latencies and faults; 1.")
@click.option("--hosts-per-rack", type=click.IntRange(1), help="For their label 'rack'; 40.")
@click.option(
    "--store",
    type=click.Choice(["auto", "etcd", "memory"]),
    default="auto",
    help="auto: etcd if it is installed, else memory, which is not durable.",
)
@click.option(
    "--controllers",
    type=click.IntRange(1, MOST_REPLICAS),
    help="Replicas of the controller; 1. One leads, each of them answers.",
)
@click.option("--etcd", type=click.Choice(["1", "3", "5"]), help="Members of etcd; 1.")
@real_option
@start_option
@output_option
@click.pass_context
def up(
    ctx: click.Context,
    name: str,
    hosts: int | None,
    per_host: int | None,
    profile: str | None,
    seed: int | None,
    hosts_per_rack: int | None,
    store: str,
    controllers: int | None,
    etcd: str | None,
    real: int | None,
    start: Literal["boot", "clone"] | None,
) -> None:
    """Starts the sandbox, or what of it has died; wakes what is stopped by a signal. Returns when
    all hosts are live.

    With --real this machine is its one host, whose VMs are real: small Linux kernels in QEMU, with
    KVM where it works. It returns when they run. A sandbox keeps its settings until it is taken
    down; what runs is adopted by the next up.
    """
    session = ctx.find_root().ensure_object(Session)
    check_real(real, {"--hosts": hosts, "--per-host": per_host, "--profile": profile,
                      "--seed": seed, "--hosts-per-rack": hosts_per_rack})  # fmt: skip
    check_start(real, start)
    from fleetctl.sandbox.lifecycle import up as bring_up
    from fleetctl.sandbox.phases import Phases
    from fleetctl.sandbox.report import as_json, report_of
    from fleetctl.sandbox.state.folder import Folder
    from fleetctl.sandbox.state.record import Settings

    wanted = Settings(
        hosts=hosts,
        per_host=per_host,
        profile=checked_profile(profile),
        seed=seed,
        hosts_per_rack=hosts_per_rack,
        store="etcd" if store == "etcd" else "memory" if store == "memory" else None,
        controllers=controllers,
        etcd=int(etcd) if etcd else None,
        real=real,
        start=start,
    )
    phases = Phases()
    folder = Folder.of(name, os.environ)
    with naming(folder.path), folder.locked():
        record = bring_up(folder, wanted, phases)
        if record.real:
            record = booted(ctx, folder, record)
    if session.json:
        say_json(as_json(report_of(folder)))
    else:
        size = f"{counted(record.hosts, 'host')} of {record.asked.per_host} VMs"
        if record.real:
            size = f"this machine, {record.real.uri}, at most {record.real.guests} VMs"
        say(f"sandbox '{name}' is up: {size}, {record.store_version} ({phases.total():.1f} s)")


@sandbox.command()
@name_option
@output_option
@pass_session
def status(session: Session, name: str) -> None:
    """Its processes, hosts and store. A sandbox is up, degraded or down."""
    from fleetctl.sandbox.report import as_json, as_text, report_of
    from fleetctl.sandbox.state.folder import Folder

    seen = report_of(Folder.of(name, os.environ))
    if session.json:
        say_json(as_json(seen))
    else:
        say(as_text(seen))


@sandbox.command()
@name_option
@click.option("--keep", is_flag=True, help="Keep its state for the next up.")
def down(name: str, keep: bool) -> None:
    """Stops all its processes and removes its state and its context."""
    from fleetctl.sandbox.lifecycle import down as bring_down
    from fleetctl.sandbox.phases import Phases
    from fleetctl.sandbox.state.folder import Folder

    folder = Folder.of(name, os.environ)
    if not folder.path.exists():
        say(f"there is no sandbox '{name}'")
        return
    with naming(folder.path), folder.locked():
        record = folder.load()
        bring_down(folder, Phases(), keep=keep)
    goes_on = ", and its VMs go on" if keep and record is not None and record.real else ""
    say(f"sandbox '{name}' is down; its state is {'kept' if keep else 'removed'}{goes_on}")


@sandbox.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@name_option
def restore(file: Path, name: str) -> None:
    """Sets its etcd back to a backup, while its hosts and their VMs go on.

    They are ahead of the store then: try 'fleetctl recover --plan'.
    """
    from fleetctl.sandbox.phases import Phases
    from fleetctl.sandbox.restoring import restore as set_back
    from fleetctl.sandbox.state.folder import Folder

    folder = Folder.of(name, os.environ)
    with naming(folder.path), folder.locked():
        set_back(folder, file, Phases())
    say(f"sandbox '{name}' is back as of {file}; go on with 'fleetctl recover --plan'")


@sandbox.command()
@click.option("--hosts", type=click.IntRange(1, 100_000), help="4,480, or what fits here.")
@click.option("--per-host", type=click.IntRange(1, 10_000), help="VMs a host admits; 250.")
@click.option("--total", type=click.IntRange(1), help="1,000,000, or what fits the hosts.")
@click.option("--profile", help="As for up.")
@real_option
@start_option
@click.pass_context
def demo(
    ctx: click.Context,
    hosts: int | None,
    per_host: int | None,
    total: int | None,
    profile: str | None,
    real: int | None,
    start: Literal["boot", "clone"] | None,
) -> None:
    """A sandbox, a sample fleet in it, and a million VMs; or with --real as many real ones as this
    machine bears, one of which is killed and mended.

    At a terminal the sandbox then stays up until Ctrl-C; else it is stopped.
    """
    check_real(real, {"--hosts": hosts, "--per-host": per_host, "--total": total,
                      "--profile": profile})  # fmt: skip
    check_start(real, start)
    from fleetctl.sandbox.demo import run
    from fleetctl.sandbox.state.folder import base_folder
    from fleetctl.sandbox.state.record import Settings

    wanted = Settings(
        hosts=hosts, per_host=per_host, profile=checked_profile(profile), real=real, start=start
    )
    with naming(base_folder(os.environ)):
        run(ctx, wanted, total, stay=sys.stdin.isatty() and sys.stdout.isatty())


def booted(ctx: click.Context, folder: Folder, record: Record) -> Record:
    """With its VMs. What is said of it on the way is no part of the answer in JSON."""
    from fleetctl.sandbox.booting import boot

    session = ctx.find_root().ensure_object(Session)
    asked, session.listing.output = session.listing.output, "table"
    try:
        with redirect_stdout(sys.stderr) if asked == "json" else nullcontext():
            return boot(ctx, folder, record)
    finally:
        session.listing.output = asked


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """A full disk, or a folder that may not be written, is named in one sentence."""
    from fleetctl.sandbox.errors import SandboxError

    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise SandboxError(f"cannot write {where}: {error.strerror or error}") from error


def check_real(real: int | None, hollow: Mapping[str, object]) -> None:
    """Options of hollow hosts say nothing of a real one. Raises UsageError."""
    given = [option for option, value in hollow.items() if value is not None]
    if real is not None and given:
        raise click.UsageError(f"{given[0]} is for hollow hosts, and --real has none: leave it out")


def check_start(real: int | None, start: str | None) -> None:
    """Raises UsageError."""
    if start is not None and real is None:
        raise click.UsageError("--start is for real VMs: give --real too, or leave it out")


def checked_profile(profile: str | None) -> str | None:
    """A named profile as it is, a file's with its whole path. Raises UsageError."""
    if profile is None or profile in {"instant", "dom0"}:
        return profile
    if not Path(profile).is_file():
        raise click.UsageError(
            f"--profile {profile}: neither 'instant' nor 'dom0', nor a file that exists"
        )
    return str(Path(profile).resolve())
