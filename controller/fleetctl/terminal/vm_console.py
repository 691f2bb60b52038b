"""The console of one VM at a terminal, found by fleet and index."""

from __future__ import annotations

from fleet.v1 import agent_pb2, cluster_pb2
from fleetctl.outcome import Failed
from fleetctl.terminal.console_session import AtTerminal
from fleetctl.views.vms.console import escape_byte
from fleetctl.views.vms.vms import fleet_of
from megafleet.connection.cluster import Cluster
from megafleet.connection.console_call import ConsoleCall

# Shown when a console is opened, so that a prompt printed before is seen.
LAST_BYTES = 1024
ESCAPE = "^]"


def console_of(connection: Cluster, fleet: str, index: int) -> tuple[str, agent_pb2.ConsoleInput]:
    """The VM's name, and the beginning of what names it to its host. Raises Trouble."""
    request = cluster_pb2.GetVmRequest(fleet=fleet, index=index)
    detail = connection.call(lambda stub: stub.GetVm, request)
    name = fleet_of(detail.fleet).domain_name(index)
    if not detail.host:
        why = f": {detail.unplaced_reason}" if detail.unplaced_reason else ""
        raise Failed(f"{name} is on no host and has no console{why}")
    address = agent_pb2.VmAddress(fleet_uid=detail.fleet.uid, index=index)
    return name, agent_pb2.ConsoleInput(vm=address)


def at_console(connection: Cluster, fleet: str, index: int) -> str:
    """People type at it until the escape. Its name. Raises Trouble."""
    name, first = console_of(connection, fleet, index)
    first.log_bytes = LAST_BYTES
    with ConsoleCall(connection, name, first) as call:
        AtTerminal(call, name, escape_byte(ESCAPE), read_only=False).run()
    return name
