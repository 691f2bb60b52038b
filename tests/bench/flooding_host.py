"""One hostile host as a process. It joins and behaves until it reads a line; then it reports as
fast as anybody reads, what no host can have, and announces itself over and over, each time with
other and longer words.

python -m tests.bench.flooding_host IDENTITY ENDPOINT NAME
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import grpc

from fleet.transport import CONTROLLER_NAME, Identity, channel_options
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleet.v1.cluster_pb2_grpc import ClusterServiceStub

RANGES = 20_000  # a host that holds 250 VMs has at most 250
TEXT = 250  # characters: as long as a record may have them, so that none is refused for it
LABELS = 60
_HEARTBEAT = 1.0  # seconds, while it behaves

_floods = threading.Event()


def _watched(
    requests: Iterator[wire.WatchRequest], context: grpc.ServicerContext
) -> Iterator[wire.Report]:
    spans = [types.IndexRange(start=2 * n, stop=2 * n + 1) for n in range(RANGES)]
    orphans = [wire.Orphans(fleet_uid="flood", birth=1, ranges=spans)]
    for number in count(1):
        if not context.is_active():
            return
        report = wire.Report(sequence=number, full=number == 1, converged=True)
        if number == 1 or not _floods.wait(_HEARTBEAT):
            yield report
            continue
        if number % 50 == 1:
            report.orphans_set = True
            report.orphans.extend(orphans)
        report.released.extend(range(number * 100, number * 100 + 100))
        yield report


def _assigned(request: wire.AssignRequest, context: grpc.ServicerContext) -> wire.AssignResponse:
    """Whatever it is."""
    return wire.AssignResponse(epoch=request.epoch)


def _handler() -> grpc.GenericRpcHandler:
    calls: dict[str, Any] = {
        "Watch": grpc.stream_stream_rpc_method_handler(
            _watched, wire.WatchRequest.FromString, wire.Report.SerializeToString
        ),
        "Assign": grpc.unary_unary_rpc_method_handler(
            _assigned, wire.AssignRequest.FromString, wire.AssignResponse.SerializeToString
        ),
    }
    return grpc.method_handlers_generic_handler("fleet.v1.AgentService", calls)


def main() -> None:
    """Until killed. Prints `joined` once it is known and serves."""
    folder, endpoint, name = sys.argv[1:]
    # It would have a machine of its own: here it takes only what the others leave.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    identity = Identity.load(Path(folder))
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((_handler(),))
    port = server.add_secure_port("127.0.0.1:0", identity.for_server())
    server.start()
    channel = grpc.secure_channel(
        endpoint, identity.for_channel(), channel_options(CONTROLLER_NAME)
    )
    stub = ClusterServiceStub(channel)
    facts = types.HostFacts(
        machine_id="m", boot_id="b", incarnation=name, capacity=types.Capacity(guests=1)
    )
    stub.Announce(cluster.AnnounceRequest(address=f"127.0.0.1:{port}", facts=facts), timeout=10)
    print("joined", flush=True)
    sys.stdin.readline()
    _floods.set()
    for _ in range(4):
        threading.Thread(target=_announce, args=(stub, port, name), daemon=True).start()
    server.wait_for_termination()


def _announce(stub: ClusterServiceStub, port: int, name: str) -> None:
    for number in count(1):
        facts = types.HostFacts(
            machine_id="m", boot_id="b", incarnation=name, agent_version=f"{number}" * 20,
            hypervisor="x" * TEXT, storage="y" * TEXT, capacity=types.Capacity(guests=1),
            labels={f"label-{one}": "z" * TEXT for one in range(LABELS)},
        )  # fmt: skip
        request = cluster.AnnounceRequest(address=f"127.0.0.1:{port}", facts=facts)
        try:
            stub.Announce(request, timeout=10)
        except grpc.RpcError:
            threading.Event().wait(0.05)  # refused, or nobody leads: at once again


if __name__ == "__main__":
    main()
