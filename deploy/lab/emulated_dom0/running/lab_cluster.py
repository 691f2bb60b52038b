"""The controller and etcd that the lab's dom0 joins: a sandbox without hollow hosts, on this
machine, with its data in the lab's folder. It lives as long as the emulated machine does: each
start of that has a new, empty pool, of which no old intent must be expected to hold."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError
from ..folders import CHECKOUT, Folders

NAME = "lab"  # of the sandbox, and of fleetctl's context
HOST_ID = "dom0"
_FLEETCTL = CHECKOUT / ".venv" / "bin" / "fleetctl"
_UP_SECONDS = 300.0
_CALL_SECONDS = 120.0


@dataclass(frozen=True)
class Cluster:
    """`controller` is HOST:PORT on this machine; `folder` holds the sandbox's data."""

    controller: str
    folder: Path

    @property
    def port(self) -> int:
        return int(self.controller.rpartition(":")[2])


def cluster_up(folders: Folders) -> Cluster:
    """Start what of the cluster does not run; fleetctl's context `lab` means it from then on."""
    command = ["sandbox", "up", "--name", NAME, "--hosts", "0", "--output", "json"]
    seen = json.loads(_fleetctl(folders, *command, deadline=_UP_SECONDS))
    return Cluster(seen["endpoints"][0], Path(seen["folder"]))


def cluster_down(folders: Folders) -> None:
    """Stop it and drop its data, if there is any."""
    if (_state_home(folders) / "megafleet" / "sandbox" / NAME).exists():
        _fleetctl(folders, "sandbox", "down", "--name", NAME)


def issue_identity(folders: Folders, cluster: Cluster) -> dict[str, bytes]:
    """A certificate for the dom0's agent: contents of ca.pem, cert.pem and key.pem by name."""
    issue = ["certs", "host", HOST_ID, "--san", "127.0.0.1", "--out", str(folders.run / "identity")]
    _fleetctl(folders, *issue, "--ca", str(cluster.folder / "certificates"))
    folder = folders.run / "identity" / HOST_ID
    return {name: (folder / name).read_bytes() for name in ("ca.pem", "cert.pem", "key.pem")}


def host_state(folders: Folders) -> str:
    """How the controller sees the dom0: live, unreachable, ...; empty while it is not known."""
    hosts = json.loads(_fleetctl(folders, "--context", NAME, "hosts", "list", "--output", "json"))
    states = [str(host["health"]) for host in hosts["hosts"] if host["host"] == HOST_ID]
    return states[0] if states else ""


def _state_home(folders: Folders) -> Path:
    return folders.root / "cluster"


def _fleetctl(folders: Folders, *arguments: str, deadline: float = _CALL_SECONDS) -> str:
    environment = {**os.environ, "XDG_STATE_HOME": str(_state_home(folders))}
    try:
        done = subprocess.run(
            [_FLEETCTL, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=deadline,
            env=environment,
        )
    except FileNotFoundError as error:
        raise LabError(f"{_FLEETCTL} is missing; run: make setup") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"fleetctl {arguments[0]} did not end in {deadline:.0f} s") from error
    if done.returncode != 0:
        raise LabError(f"fleetctl {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout
