"""The controller's settings, read once from the command line."""

from __future__ import annotations

import argparse
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path

from fleet.certificates.host_issuer import HOST_DAYS
from fleet.endpoints import MAX_PORT, dialled, is_every_address, listened
from fleet_controller.core.host_loss.loss import LossSettings
from fleet_controller.core.host_loss.quarantine import QuarantineSettings
from fleet_controller.core.passes import MOVES_AT_ONCE
from fleet_controller.core.recovery.recovery import RECOVER_AFTER_SECONDS
from fleet_controller.store.etcd.wire import parse_endpoint

MAX_AGENT_SETTINGS = 16 * 1024


@dataclass(frozen=True, slots=True)
class MetricsSettings:
    """`listen`: HOST:PORT; empty: nothing is served. `agents_port`: on which agents serve theirs.
    `each_host`: with series of each host."""

    listen: str
    agents_port: int
    each_host: bool


@dataclass(frozen=True, slots=True)
class JoiningSettings:
    """`listen`: where machines join by a token, HOST:PORT; empty: nowhere. `advertise`: where they
    reach that. `issuing`: folder of the key that signs hosts' certificates. `days`: how long those
    are good. `agent_settings`: a file of settings for agents that join."""

    listen: str
    advertise: str
    issuing: Path | None
    days: float
    agent_settings: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """`store` is `memory:` or `etcd://HOST:PORT[,HOST:PORT...][/prefix]`."""

    listen: str
    advertise: str
    identity: Path
    store: str
    store_identity: Path | None
    replica: str
    lease_seconds: int
    recover_after: float
    moves_at_once: int
    image_rate: int
    image_fleet_rate: int
    ready_file: Path | None
    log_json: bool
    approve_hosts: bool
    joining: JoiningSettings
    loss: LossSettings
    quarantine: QuarantineSettings
    metrics: MetricsSettings

    @property
    def etcd_endpoints(self) -> list[str]:
        return _etcd_endpoints(self.store)

    @property
    def etcd_prefix(self) -> str:
        _, _, prefix = self.store.removeprefix("etcd://").partition("/")
        return f"/{prefix.strip('/') or 'megafleet'}/"


def parse(arguments: list[str] | None = None) -> Settings:
    """From the command line; exits with status 2 and one sentence when it is wrong."""
    parser = argparse.ArgumentParser(
        "fleet-controller", description="Divides fleets among hosts and keeps them that way."
    )
    add = parser.add_argument
    add("--listen", default="127.0.0.1:7440", metavar="HOST:PORT", help="where to serve")
    add(
        "--advertise", default="", metavar="HOST:PORT",
        help="where others reach it; as --listen, unless that is every address",
    )  # fmt: skip
    add("--identity", type=Path, required=True, help="folder with ca.pem, cert.pem and key.pem")
    add("--store", default="etcd://127.0.0.1:2379", help="etcd://HOST:PORT,...[/prefix] or memory:")
    add("--store-identity", type=Path, help="the same three files for etcd; without: no TLS")
    add("--replica", default="controller-1", help="this replica's name, unlike any other's")
    add("--lease-seconds", type=int, default=6, help="how soon another replica takes over")
    add(
        "--recover-after", type=_amount, default=RECOVER_AFTER_SECONDS, metavar="SECONDS",
        help="of leading, before what hosts have is adopted: orders of former leaders have ended",
    )  # fmt: skip
    add(
        "--moves-at-once", type=int, default=MOVES_AT_ONCE, metavar="VMS",
        help="how many VMs hosts prepare at once for others that are drained",
    )  # fmt: skip
    add(
        "--image-rate", type=int, default=0, metavar="BYTES",
        help="that a host fetches of images a second at most, unless told otherwise; 0: no bound",
    )  # fmt: skip
    add(
        "--image-fleet-rate", type=int, default=0, metavar="BYTES",
        help="that all hosts together fetch of one image a second at most; 0: no bound",
    )  # fmt: skip
    add("--ready-file", type=Path, help="written as JSON once it serves")
    add("--log-json", action="store_true", help="log JSON lines")
    add(
        "--approve-hosts", action="store_true",
        help="a host that is new gets nothing before 'fleetctl hosts approve'",
    )  # fmt: skip
    _add_joining(parser)
    _add_verdicts(parser)
    _add_metrics(parser)
    given = parser.parse_args(arguments)
    if given.store != "memory:" and not given.store.startswith("etcd://"):
        parser.error(f"--store {given.store!r} is neither memory: nor etcd://HOST:PORT")
    if wrong := _wrong_endpoint(given):
        parser.error(wrong)
    if given.quarantine_vms < 0:
        parser.error("--quarantine-vms is 0 or more")
    if not 3 <= given.lease_seconds <= 120:
        parser.error("--lease-seconds is from 3 to 120")
    if not 1 <= given.moves_at_once <= 1_000_000:
        parser.error("--moves-at-once is from 1 to 1000000")
    if min(given.image_rate, given.image_fleet_rate) < 0:
        parser.error("--image-rate and --image-fleet-rate are 0 or more bytes")
    return Settings(
        listen=given.listen,
        advertise=given.advertise or given.listen,
        identity=given.identity,
        store=given.store,
        store_identity=given.store_identity,
        replica=given.replica,
        lease_seconds=given.lease_seconds,
        recover_after=given.recover_after,
        moves_at_once=given.moves_at_once,
        image_rate=given.image_rate,
        image_fleet_rate=given.image_fleet_rate,
        ready_file=given.ready_file,
        log_json=given.log_json,
        approve_hosts=given.approve_hosts,
        joining=JoiningSettings(
            listen=given.join_listen,
            advertise=given.join_advertise or given.join_listen,
            issuing=given.issuing,
            days=given.host_certificate_days,
            agent_settings=given.agent_settings,
        ),
        loss=LossSettings(
            lost_after=given.lost_after,
            budget=given.replace_per_minute,
            rack_label=given.rack_label,
            rack_share=given.breaker_rack_share,
            fleet_share=given.breaker_fleet_share,
            window=given.breaker_window,
        ),
        quarantine=QuarantineSettings(
            least=given.quarantine_vms,
            share=given.quarantine_share,
            after=given.quarantine_after,
        ),
        metrics=MetricsSettings(
            given.metrics_listen, given.agents_metrics_port, given.metrics_each_host
        ),
    )


def _wrong_endpoint(given: argparse.Namespace) -> str:
    """What is wrong with the first wrong one, in a sentence; empty: nothing."""
    option = "--listen"
    try:
        listened(given.listen)
        option = "--metrics-listen"
        if given.metrics_listen:
            listened(given.metrics_listen)
        option = "--join-listen"
        if given.join_listen:
            listened(given.join_listen)
        option = "--join-advertise"
        if given.join_advertise:
            dialled(given.join_advertise)
        option = "--advertise"
        if given.advertise:
            dialled(given.advertise)
        option = "--store"
        for endpoint in _etcd_endpoints(given.store):
            parse_endpoint(endpoint)
    except ValueError as bad:
        return f"{option}: {bad}"
    if not given.advertise and is_every_address(given.listen):
        return (
            f"--listen {given.listen}: nobody can dial every address; say with --advertise "
            "HOST:PORT where fleetctl, agents and other replicas reach this controller"
        )
    return _wrong_joining(given)


def _wrong_joining(given: argparse.Namespace) -> str:
    if given.join_listen and given.issuing is None:
        return (
            "--join-listen: hosts that join are given certificates: say with --issuing FOLDER with "
            "which key ('fleetctl certs issuing' makes one)"
        )
    if given.join_listen and not given.join_advertise and is_every_address(given.join_listen):
        return (
            f"--join-listen {given.join_listen}: nobody can dial every address; say with "
            "--join-advertise HOST:PORT where machines that join reach this controller"
        )
    if not 0 < given.host_certificate_days <= 3650:
        return "--host-certificate-days is above 0, and at most 3650"
    return ""


def _etcd_endpoints(store: str) -> list[str]:
    if store == "memory:":
        return []
    return store.removeprefix("etcd://").split("/", 1)[0].split(",")


def _add_verdicts(parser: argparse.ArgumentParser) -> None:
    """When hosts are declared lost, and when they get no further VMs."""
    group = parser.add_argument_group("hosts that fail")
    add, loss, quarantine = group.add_argument, LossSettings(), QuarantineSettings()

    def number(name: str, default: float, metavar: str, text: str) -> None:
        add(name, type=_amount, default=default, metavar=metavar, help=text)

    def share(name: str, default: float, text: str) -> None:
        add(name, type=_share, default=default, metavar="SHARE", help=text)

    number("--lost-after", loss.lost_after, "SECONDS", "silence that makes a host lost; 0: none")
    number(
        "--replace-per-minute", loss.budget, "HOSTS",
        "hosts declared lost a minute at most, and that many at once; 0: no bound",
    )  # fmt: skip
    add(
        "--rack-label", default=loss.rack_label, metavar="LABEL", help="what hosts fail together by"
    )
    share("--breaker-rack-share", loss.rack_share, "of a rack, gone: none of it is declared lost")
    share("--breaker-fleet-share", loss.fleet_share, "of all hosts, gone: none is declared lost")
    number("--breaker-window", loss.window, "SECONDS", "how long a lost host counts as gone")
    share("--quarantine-share", quarantine.share, "of a host's VMs, failing: it gets no more")
    add(
        "--quarantine-vms", type=int, default=quarantine.least, metavar="VMS",
        help="and no fewer than so many; 0: no quarantine",
    )  # fmt: skip
    number("--quarantine-after", quarantine.after, "SECONDS", "and for so long")


def _add_joining(parser: argparse.ArgumentParser) -> None:
    """How machines become hosts."""
    add = parser.add_argument_group("hosts that join by a token").add_argument
    add(
        "--issuing", type=Path, metavar="FOLDER",
        help="with issuing.pem and issuing-key.pem: signs and renews certificates of hosts",
    )  # fmt: skip
    add(
        "--join-listen", default="", metavar="HOST:PORT",
        help="where machines without a certificate may join; empty: nowhere",
    )  # fmt: skip
    add(
        "--join-advertise", default="", metavar="HOST:PORT",
        help="where they reach that; as --join-listen, unless that is every address",
    )  # fmt: skip
    add(
        "--host-certificate-days", type=_amount, default=HOST_DAYS, metavar="DAYS",
        help="how long certificates are good that are signed here; they renew themselves",
    )  # fmt: skip
    add(
        "--agent-settings", type=Path, metavar="FILE",
        help="TOML that agents of hosts that join start from; their own file comes first",
    )  # fmt: skip


def _add_metrics(parser: argparse.ArgumentParser) -> None:
    """What Prometheus is shown."""
    add = parser.add_argument_group("metrics").add_argument
    add(
        "--metrics-listen", default="127.0.0.1:7442", metavar="HOST:PORT",
        help="where /metrics is served, without TLS and to anybody; empty: nowhere",
    )  # fmt: skip
    add(
        "--agents-metrics-port", type=_port, default=7443, metavar="PORT",
        help="on which agents serve theirs, as /hosts tells Prometheus",
    )  # fmt: skip
    add("--metrics-each-host", action="store_true", help="three series of each host more")


def _port(text: str) -> int:
    """For argparse: a port that can be dialled."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to {MAX_PORT}")
    return int(text)


def _amount(text: str) -> float:
    """For argparse: a number of at least 0."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return value


def _share(text: str) -> float:
    """For argparse: a number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share from 0 to 1")
    return value


def _number(text: str) -> float:
    """Not a number where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def settings_for_agents(file: Path) -> str:
    """What is in the file. Raises OSError, and ValueError with one sentence for what is no TOML."""
    data = file.read_bytes()
    if len(data) > MAX_AGENT_SETTINGS:
        raise ValueError(f"--agent-settings {file}: at most {MAX_AGENT_SETTINGS:,} bytes")
    try:
        tomllib.loads(text := data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"--agent-settings {file}: {error}") from error
    return text
