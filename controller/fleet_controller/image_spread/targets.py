"""The hosts that an operator means. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.model import HostRecord
from fleet_controller.core.refusals import Reason, Refused, known_host


def targets(
    request: cluster.SpreadImageRequest,
    hosts: Mapping[str, HostRecord],
    is_live: Callable[[str], bool],
) -> frozenset[str]:
    """Those named, live or not; or all live ones, or those of them with the labels. Raises
    Refused."""
    if bool(request.hosts) + bool(request.labels) + request.all != 1:
        raise Refused(Reason.BAD_QUERY, "name hosts, or labels, or all hosts: one of the three")
    if request.hosts:
        return frozenset(known_host(hosts, name).id for name in request.hosts)
    found = frozenset(
        name
        for name, record in hosts.items()
        if is_live(name)
        and all(record.labels.get(key) == value for key, value in request.labels.items())
    )
    if not found:
        labels = ", ".join(f"{key}={value}" for key, value in sorted(request.labels.items()))
        raise Refused(
            Reason.NO_SUCH_HOST, f"no live host is labelled {labels}" if labels else "no live host"
        )
    return found
