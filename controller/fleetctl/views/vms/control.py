"""What is done to chosen VMs, as text and as JSON. Pure: messages in, values out."""

from __future__ import annotations

from typing import Any

from fleet.v1 import cluster_pb2 as cluster
from fleetctl.output import counted, number
from fleetctl.views.hosts.hosts import ranges_count, ranges_text

_SHOWN = 6  # ranges in a line of text
_IS_SO = {"stop": "are stopped already", "start": "were not stopped"}
_LOSES = {"reimage": "what is on their disks is lost"}


def control_json(
    action: str, fleet: str, answer: cluster.ControlVmsResponse, outcome: str
) -> dict[str, Any]:
    """`indices` has the first thousand ranges."""
    return {
        "fleet": fleet or None,
        "action": action,
        "outcome": outcome,
        "vms": answer.vms,
        "hosts": answer.hosts,
        "indices": ranges_text(answer.indices),
        "token": answer.token,
        "at_once": answer.at_once or None,
    }


def control_text(action: str, answer: cluster.ControlVmsResponse) -> str:
    """reimage 250 VMs on 3 hosts: 0-99,300; what is on their disks is lost."""
    what = f"{action} {counted(answer.vms, 'VM')} on {counted(answer.hosts, 'host')}"
    shown = list(answer.indices)[:_SHOWN]
    more = " and more" if ranges_count(shown) < answer.vms else ""
    loss = f"; {_LOSES[action]}" if action in _LOSES else ""
    waves = f"; at most {number(answer.at_once)} are down at once" if answer.at_once else ""
    return f"{what}: {ranges_text(shown)}{more}{loss}{waves}"


def nothing_text(action: str) -> str:
    """Why nothing was done: what was chosen matches no placed VM, or none that it would change."""
    if action == "retry":
        return "nothing to retry: no VM that matches has failed"
    so = f", or those that do {_IS_SO[action]}" if action in _IS_SO else ""
    return f"nothing to {action}: no placed VM matches{so}"
