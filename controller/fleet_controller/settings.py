"""The controller's settings, read once from the command line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from fleet_controller.core.passes import MOVES_AT_ONCE


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
    moves_at_once: int
    ready_file: Path | None
    log_json: bool

    @property
    def etcd_endpoints(self) -> list[str]:
        return self.store.removeprefix("etcd://").split("/", 1)[0].split(",")

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
    add("--advertise", default="", metavar="HOST:PORT", help="where others reach it; as --listen")
    add("--identity", type=Path, required=True, help="folder with ca.pem, cert.pem and key.pem")
    add("--store", default="etcd://127.0.0.1:2379", help="etcd://HOST:PORT,...[/prefix] or memory:")
    add("--store-identity", type=Path, help="the same three files for etcd; without: no TLS")
    add("--replica", default="controller-1", help="this replica's name, unlike any other's")
    add("--lease-seconds", type=int, default=6, help="how soon another replica takes over")
    add(
        "--moves-at-once", type=int, default=MOVES_AT_ONCE, metavar="VMS",
        help="how many VMs hosts prepare at once for others that are drained",
    )  # fmt: skip
    add("--ready-file", type=Path, help="written as JSON once it serves")
    add("--log-json", action="store_true", help="log JSON lines")
    given = parser.parse_args(arguments)
    if given.store != "memory:" and not given.store.startswith("etcd://"):
        parser.error(f"--store {given.store!r} is neither memory: nor etcd://HOST:PORT")
    if not 3 <= given.lease_seconds <= 120:
        parser.error("--lease-seconds is from 3 to 120")
    if not 1 <= given.moves_at_once <= 1_000_000:
        parser.error("--moves-at-once is from 1 to 1000000")
    return Settings(
        listen=given.listen,
        advertise=given.advertise or given.listen,
        identity=given.identity,
        store=given.store,
        store_identity=given.store_identity,
        replica=given.replica,
        lease_seconds=given.lease_seconds,
        moves_at_once=given.moves_at_once,
        ready_file=given.ready_file,
        log_json=given.log_json,
    )
