"""The agent's settings: a TOML file, then flags, read once.

Endpoints and a certificate are enough; everything else has a default. The file, whole:

    identity = "/etc/megafleet/identity"    # folder with ca.pem, cert.pem, key.pem
    endpoints = ["controller-1:7440"]
    listen = "0.0.0.0:7441"
    advertise = ""                           # empty: this host's address towards the controllers
    ledger = "/var/lib/megafleet/ledger"
    guests = 250
    labels = { rack = "r01" }
    kernel_folders = ["/boot", "/var/lib/megafleet/kernels"]  # told to placement, file by file
    upgrade_command = []                     # run with a release for its last word; []: none;
                                             # absent: the package's own, where this is one
    [hypervisor]
    uri = "xen:///system"
    start_threads = 4
    console_log_bytes = 1048576             # kept of each guest's console; 0: all
    accelerator = "auto"                    # of QEMU: kvm where it works, else tcg; or one of both
    trial_kernel = ""                       # what KVM is tried with; empty: the newest in /boot
    [storage]
    kind = "auto"                            # or zfs, files, reflink, overlay
    parent = ""                              # a dataset, or a folder; empty: tank, or a folder
    threads = 16
    [timing]                                 # seconds
    audit = 60.0
    call = 60.0
    per_vm = 5.0
    batch_size = 256
    reboot_grace = 300.0                     # until fleets with on_loss: wait start unasked
    [images]
    kept_days = 14.0                         # of an image from other hosts, unused; 0: for ever
    free_share = 0.1                         # of the pool; below it unused ones go sooner
    [metrics]
    listen = "127.0.0.1:7443"                # /metrics, without TLS and to anybody; empty: nowhere
    [log]
    level = "info"
    json = true                              # absent: JSON unless stderr is a terminal
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from fleet.endpoints import BadEndpoint, dialled, listened
from fleet.labels import label_problem
from fleet_agent.controllers.known_controllers import FILE as KNOWN_CONTROLLERS
from fleet_agent.controllers.known_controllers import stored
from fleet_agent.daemon.joined_settings import below, joined_settings
from fleet_agent.daemon.logs import LEVELS
from fleet_agent.joining.token_sources import is_invited, kernel_command_line

DEFAULT_FILE = Path("/etc/megafleet/agent.toml")
# Below its environment, where that is one of a package.
PACKAGES_UPGRADE = "bin/upgrade-agent"
MIN_LOG_BYTES = 64 * 1024

Positive = Annotated[float, msgspec.Meta(gt=0)]
LogBytes = Annotated[int, msgspec.Meta(ge=0, le=1024**4)]
Count = Annotated[int, msgspec.Meta(ge=1, le=65536)]


class BadSettings(ValueError):
    """One sentence: the file or flag, the key, and what is allowed."""


class Hypervisor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """libvirt."""

    uri: str = "xen:///system"
    start_threads: Count = 4
    console_log: str = ""  # a path with {name}; empty: the driver's default
    console_log_bytes: LogBytes = 1024 * 1024
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    trial_kernel: str = ""


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`parent` is a dataset for zfs, a folder for the others. `files`: reflink where the file
    system has it, else overlays on QEMU and copies on Xen. `reflink`: else copies. `hold_udev`:
    whether udev's queue is held while zfs clones many."""

    kind: Literal["auto", "zfs", "files", "reflink", "overlay"] = "auto"
    parent: str = ""
    threads: Count = 16
    hold_udev: bool = True


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds, and VMs in a batch. A driver call may take `call` and `per_vm` for each VM."""

    audit: Positive = 60.0
    call: Positive = 60.0
    per_vm: Positive = 5.0
    batch_size: Count = 256
    reboot_grace: Positive = 300.0


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long images that came from other hosts are kept while nothing uses them."""

    kept_days: Annotated[float, msgspec.Meta(ge=0)] = 14.0
    free_share: Annotated[float, msgspec.Meta(ge=0, le=0.9)] = 0.1


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What Prometheus is shown."""

    listen: str = "127.0.0.1:7443"


class Log(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    json: bool | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it, as in the file."""

    identity: str = "/etc/megafleet/identity"
    endpoints: tuple[str, ...] = ()
    listen: str = "0.0.0.0:7441"
    advertise: str = ""
    ledger: str = "/var/lib/megafleet/ledger"
    guests: Count = 250
    labels: dict[str, str] = {}
    kernel_folders: Annotated[tuple[str, ...], msgspec.Meta(max_length=16)] = (
        "/boot",
        "/var/lib/megafleet/kernels",
    )
    upgrade_command: Annotated[tuple[str, ...], msgspec.Meta(max_length=32)] | None = None
    hypervisor: Hypervisor = Hypervisor()
    storage: Storage = Storage()
    timing: Timing = Timing()
    images: Images = Images()
    metrics: Metrics = Metrics()
    log: Log = Log()


def parser(*, add_help: bool = True) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        add_help=add_help,
        prog="fleet-agent",
        description="Makes this dom0's assignment true, and keeps it so.",
        epilog=f"Flags win over the file. Without --config, {DEFAULT_FILE} is read if it is there. "
        "'fleet-agent join --help': how a machine becomes a host by a token.",
    )
    add = made.add_argument
    add("--config", type=Path, metavar="FILE", help="TOML")
    add("--identity", metavar="FOLDER", help="with ca.pem, cert.pem and key.pem")
    add("--endpoints", metavar="HOST:PORT,...", help="the controllers")
    add("--listen", metavar="HOST:PORT")
    add("--advertise", metavar="HOST:PORT", help="where controllers reach this host")
    add("--ledger", metavar="FILE")
    add("--guests", type=int, metavar="N", help="VMs this host takes at most")
    add("--label", action="append", default=[], metavar="KEY=VALUE")
    add("--hypervisor", metavar="URI", help="of libvirt")
    add("--storage", metavar="KIND:PARENT", help="zfs:DATASET or files:FOLDER")
    add("--audit", type=float, metavar="SECONDS")
    add("--batch-size", type=int, metavar="VMS")
    add("--metrics-listen", metavar="HOST:PORT", help="where /metrics is served; empty: nowhere")
    add("--log-level", choices=LEVELS)
    add("--log-json", action="store_true", default=None)
    return made


def load(arguments: Sequence[str] | None = None) -> Settings:
    """From the file, the flags, and what the host was told when it joined. Raises BadSettings;
    wrong flags end the process."""
    invited = is_invited(kernel_command_line())
    return of_options(parser().parse_args(arguments), joins=invited)


def of_options(options: argparse.Namespace, *, joins: bool = False) -> Settings:
    """As `load`. `joins`: of a machine that is about to join, and knows no controllers yet."""
    tree = _read(options.config)
    _merge(tree, options)
    own = _converted(tree, options.config)
    settings = _converted(below(tree, joined_settings(Path(own.identity))), options.config)
    _check(settings, joins=joins or bool(stored(controllers_file(settings))))
    return settings


def upgrade_command(settings: Settings) -> tuple[str, ...]:
    """Empty: this agent cannot be told to upgrade."""
    if settings.upgrade_command is not None:
        return settings.upgrade_command
    own = Path(sys.prefix) / PACKAGES_UPGRADE
    return (str(own),) if os.access(own, os.X_OK) else ()


def controllers_file(settings: Settings) -> Path:
    """Where the controllers are kept as they name themselves."""
    return Path(settings.ledger).with_name(KNOWN_CONTROLLERS)


def _converted(tree: dict[str, object], config: Path | None) -> Settings:
    try:
        return msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        where = config or DEFAULT_FILE
        raise BadSettings(f"{where}, with the flags given: {error}") from error


def _read(path: Path | None) -> dict[str, object]:
    if path is None and not DEFAULT_FILE.exists():
        return {}
    path = path or DEFAULT_FILE
    try:
        data = path.read_bytes()
        msgspec.toml.decode(data, type=Settings)
        return msgspec.toml.decode(data, type=dict[str, object])
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}") from error
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise BadSettings(f"{path}: {error}") from error


# Flags, and where each belongs in the tree.
_PLACES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("identity", ("identity",)),
    ("listen", ("listen",)),
    ("advertise", ("advertise",)),
    ("ledger", ("ledger",)),
    ("guests", ("guests",)),
    ("hypervisor", ("hypervisor", "uri")),
    ("audit", ("timing", "audit")),
    ("batch_size", ("timing", "batch_size")),
    ("metrics_listen", ("metrics", "listen")),
    ("log_level", ("log", "level")),
    ("log_json", ("log", "json")),
)


def _merge(tree: dict[str, object], options: argparse.Namespace) -> None:
    for flag, place in _PLACES:
        value = getattr(options, flag)
        if value is not None:
            _put(tree, place, value)
    if options.endpoints is not None:
        tree["endpoints"] = options.endpoints.split(",")
    if options.storage is not None:
        kind, colon, parent = options.storage.partition(":")
        if not colon:
            raise BadSettings(f"--storage {options.storage!r} is not KIND:PARENT")
        _put(tree, ("storage", "kind"), kind)
        _put(tree, ("storage", "parent"), parent)
    for label in options.label:
        key, equals, value = label.partition("=")
        if not equals or not key:
            raise BadSettings(f"--label {label!r} is not KEY=VALUE")
        _put(tree, ("labels", key), value)


def _put(tree: dict[str, object], place: tuple[str, ...], value: object) -> None:
    for name in place[:-1]:
        branch = tree.setdefault(name, {})
        assert isinstance(branch, dict)
        tree = branch
    tree[place[-1]] = value


NO_CONTROLLERS = (
    "no controllers: set endpoints in the file, or --endpoints HOST:PORT,..., or join by a token "
    "(fleet-agent join)"
)


def _check(settings: Settings, *, joins: bool) -> None:
    """`joins`: the controllers need not be in the settings."""
    if not settings.endpoints and not joins:
        raise BadSettings(NO_CONTROLLERS)
    try:
        for served in (settings.listen, *filter(None, [settings.metrics.listen])):
            listened(served)
        for address in (*settings.endpoints, *filter(None, [settings.advertise])):
            dialled(address)
    except BadEndpoint as bad:
        raise BadSettings(str(bad)) from None
    for key, value in settings.labels.items():
        if problem := label_problem(key, value):
            raise BadSettings(problem)
    if 0 < settings.hypervisor.console_log_bytes < MIN_LOG_BYTES:
        raise BadSettings(
            f"hypervisor.console_log_bytes is 0 or at least {MIN_LOG_BYTES}: less would not hold "
            "a failed guest's last lines"
        )
