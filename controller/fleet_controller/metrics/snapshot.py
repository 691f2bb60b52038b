"""What the metrics of one controller are made from: plain data, not changed any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.store.health import StoreHealth


@dataclass(frozen=True, slots=True)
class HostSample:
    """One host, where each is shown. `report_age`: seconds; below 0: never heard."""

    id: str
    live: bool
    report_age: float
    assigned: int


@dataclass(frozen=True, slots=True)
class ClusterSample:
    """What the leader knows. `versions`: hosts by their agents' version. `host_certificate_end`:
    of the host whose certificate ends first, in seconds since 1970; 0: none is known.
    `seconds`: that the reading took. `boots`: VMs that took up to so many seconds from their start
    until they were ready; `boot_seconds`: of all together. `watchers`: streams of VM states that it
    sends."""

    status: cluster.StatusResponse
    capacity: int
    versions: Mapping[str, int]
    host_certificate_end: int
    hosts: tuple[HostSample, ...]
    seconds: float
    boots: Sequence[tuple[str, float]] = ()
    boot_seconds: float = 0.0
    watchers: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One replica. `term`: of the leader that it knows of; 0: none. `certificates`: when its own
    end, by what they are. `events`: how often each kind was told since it began. `backup`: when
    the store was last copied through it, in seconds since 1970; 0: never. `cluster`: None unless
    it leads."""

    replica: str
    version: str
    durable: bool
    term: int
    certificates: Mapping[str, int] = field(default_factory=dict)
    store: StoreHealth | None = None
    store_age: float = 0.0
    events: Mapping[str, int] = field(default_factory=dict)
    backup: float = 0.0
    cluster: ClusterSample | None = None
