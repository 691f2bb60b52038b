"""One cluster for many calls: what is shared by them, and what each of them has of its own."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from megafleet.connection.cancellation import Cancellation
from megafleet.connection.cluster import Cluster
from megafleet.connection.replicas.replicas import Replicas
from megafleet.contexts import ClusterContext, Selection, resolve
from megafleet.deadlines import CHANGE_TIMEOUT, READ_TIMEOUT
from megafleet.errors import Failed


@dataclass(slots=True)
class Link:
    """May be used by several threads. `timeout`, `change_timeout`: seconds, where a call is given
    none; `stale`: whether answers of the past will do while no controller leads."""

    context: ClusterContext
    timeout: float = READ_TIMEOUT
    change_timeout: float = CHANGE_TIMEOUT
    stale: bool = False
    _replicas: Replicas = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _under_way: set[Cancellation] = field(default_factory=set)
    _closed: bool = False
    _pid: int = field(default_factory=os.getpid)

    def __post_init__(self) -> None:
        self._replicas = Replicas(self.context, monotonic)

    def begin(self, timeout: float | None) -> Cluster:
        """For one call, or one list, with all that it takes; to be given to `end`. Raises
        Failed."""
        if self._pid != os.getpid():
            raise Failed(
                "this client was made before the process forked, and its connections stayed there: "
                "connect anew in each process"
            )
        cluster = Cluster(
            self.context,
            self.timeout if timeout is None else timeout,
            self.change_timeout if timeout is None else timeout,
            recalled=self.stale,
            replicas=self._replicas,
        )
        with self._lock:
            if self._closed:
                raise Failed("this client is closed")
            self._under_way.add(cluster.cancellation)
        return cluster

    def end(self, cluster: Cluster) -> None:
        with self._lock:
            self._under_way.discard(cluster.cancellation)

    def close(self) -> None:
        """What is under way ends. May be called again."""
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        for cancellation in under_way:
            cancellation.cancel()
        if self._pid == os.getpid():
            self._replicas.close()


def linked(
    context: str | ClusterContext | None,
    endpoints: Sequence[str],
    identity: str | os.PathLike[str] | None,
    timeout: float,
    change_timeout: float,
    stale: bool,
    environment: Mapping[str, str] | None = None,
) -> Link:
    """To the cluster that is named; as fleetctl finds it where nothing names one: the environment,
    then the current context. Raises InvalidArgument, Unreachable."""
    if not isinstance(context, ClusterContext):
        listed = (endpoints,) if isinstance(endpoints, str) else tuple(endpoints)
        folder = str(Path(identity)) if identity is not None else ""
        selection = Selection(context or "", listed, folder)
        context = resolve(selection, os.environ if environment is None else environment)
    return Link(context, timeout, change_timeout, stale)
