"""The change deadline: a change may be begun for as long as somebody waits for it.

A call that lies in the socket of a stopped controller would else be carried out when the
controller wakes, whatever was asked for meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import grpc

from fleet.changes.change_deadline import CHANGE_DEADLINE_METADATA, format_deadline
from fleet.changes.change_id import CHANGE_METADATA
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub

Metadata: TypeAlias = tuple[tuple[str, str], ...]
# Of what changes nothing.
NO_CHANGE_DEADLINE: Metadata = ()


def change_metadata(
    stub: ClusterServiceStub, change: str, seconds: float, clock: Callable[[], float]
) -> tuple[Metadata, float]:
    """What a change of this id carries that is sent to this replica, and for how many seconds it
    may be waited for: what is left of `seconds`. Raises grpc.RpcError, having asked for no change.

    The leader read its clock before its answer arrived here. So whatever it begins before the
    deadline is begun while it is still waited for. An older controller knows no deadline.
    """
    began = clock()
    now: cluster.InstantResponse | None = None
    try:
        now = stub.Instant(cluster.InstantRequest(), timeout=seconds)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
    left = max(0.0, began + seconds - clock())
    named = ((CHANGE_METADATA, change),)
    if now is None:
        return named, left
    deadline = format_deadline(now.seconds + left, now.leadership)
    return (*named, (CHANGE_DEADLINE_METADATA, deadline)), left
