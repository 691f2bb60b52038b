"""Waits for parts of a sandbox: until they serve, end, or a deadline passes."""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.outcome import Unavailable
from fleetctl.sandbox.errors import SandboxError
from fleetctl.sandbox.processes.process import Process
from fleetctl.sandbox.state.identities import files_of
from megafleet.connection.cluster import Cluster

# Between two looks. A part that ends is noticed at once.
LOOK_SECONDS = 0.05
LONGEST_WORDS = 300
# etcd logs JSON with a level, Go and Python end with a panic or an exception, ours with a sentence.
_TELLING = re.compile(r'"level":"(?:error|fatal|panic)"|^panic: |^fleet-\w+: |^[\s|]*\w*Error: ')


def until(
    ready: Callable[[], bool], process: Process, seconds: float, log: Path, what: str
) -> None:
    """Returns once `ready()`. Raises SandboxError if the process ends before, or time is up."""
    deadline = time.monotonic() + seconds
    while not ready():
        if process.ends_within(LOOK_SECONDS):
            raise SandboxError(f"{process.part} ended before it {what}{_why(log)}")
        if time.monotonic() > deadline:
            raise SandboxError(
                f"{process.part} has not {what} after {seconds:.0f} s; its log is {log}"
            )


def etcd_is_healthy(address: str, identity: Path) -> bool:
    """Whether this member answers that the cluster has a leader and takes writes."""
    ca, certificate, key = files_of(identity)
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=2.0, context=context)
    try:
        connection.request("GET", "/health")
        return bool(json.loads(connection.getresponse().read()).get("health") == "true")
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()


def controller_serves(ready_file: Path, pid: int) -> bool:
    """Whether the controller of this process has written that it serves."""
    try:
        return bool(json.loads(ready_file.read_bytes()).get("pid") == pid)
    except (FileNotFoundError, ValueError):
        return False


def host_counts(link: Cluster) -> cluster.HostCounts | None:
    """How many hosts are live, as the controller counts; None while it does not answer."""
    try:
        return link.call(lambda stub: stub.Status, cluster.StatusRequest()).hosts
    except Unavailable:
        return None


def version(link: Cluster) -> cluster.VersionResponse | None:
    """Who this replica is and whether it leads; None if it does not answer."""
    try:
        return link.call(lambda stub: stub.Version, cluster.VersionRequest())
    except Unavailable:
        return None


def last_words(log: str) -> str:
    """The line of a log that says best why its process ended: the last that speaks of an error,
    else the last; empty for an empty log. Of JSON, the message and the error in it."""
    lines = [line for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if _TELLING.search(line)] or lines
    return _sentence(telling[-1])[:LONGEST_WORDS] if telling else ""


def _sentence(line: str) -> str:
    try:
        event = json.loads(line)
    except ValueError:
        return line.strip(" |")
    if not isinstance(event, dict):
        return line
    return ": ".join(str(event[key]) for key in ("msg", "event", "error") if key in event)


def _why(log: Path) -> str:
    try:
        words = last_words(log.read_text(errors="replace"))
    except FileNotFoundError:
        words = ""
    return f": {words} ({log})" if words else f"; its log {log} is empty"
