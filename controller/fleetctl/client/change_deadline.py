"""Until when a change may be begun: for as long as it is waited for.

A call that lies in the socket of a stopped controller would else be carried out when that wakes,
whatever was asked for meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import grpc

from fleet.transport import BEFORE_METADATA
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub

Metadata: TypeAlias = tuple[tuple[str, str], ...]
# Of what changes nothing.
UNBOUNDED: Metadata = ()


def bounded(
    stub: ClusterServiceStub, seconds: float, clock: Callable[[], float]
) -> tuple[Metadata, float]:
    """What a change to be made at this replica carries, and for how long it may be waited for:
    what is left of so many seconds. Raises grpc.RpcError, having asked for no change.

    The leader read its clock before its answer was here, so what it begins within that bound is
    begun before nobody waits any longer. Older controllers know no bounds.
    """
    began = clock()
    now: cluster.InstantResponse | None = None
    try:
        now = stub.Instant(cluster.InstantRequest(), timeout=seconds)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
            raise
    left = max(0.0, began + seconds - clock())
    if now is None:
        return UNBOUNDED, left
    return ((BEFORE_METADATA, f"{now.seconds + left:.3f} {now.leadership}"),), left
