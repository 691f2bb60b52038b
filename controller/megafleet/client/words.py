"""Words for what the wire has numbers for: states of VMs, health of hosts, what is done to VMs.

Each is a text as well: `vm.state == "running"`. A newer controller may say what this release has no
word for: that is UNKNOWN.
"""

from __future__ import annotations

from enum import StrEnum

from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types


class VmState(StrEnum):
    PENDING = "pending"
    CLONING = "cloning"
    DEFINED = "defined"
    BOOTING = "booting"
    RUNNING = "running"
    STOPPING = "stopping"
    FAILED = "failed"
    UNKNOWN = "unknown"


class HostHealth(StrEnum):
    LIVE = "live"
    UNREACHABLE = "unreachable"
    SUSPECT = "suspect"
    LOST = "lost"
    UNKNOWN = "unknown"


class VmAction(StrEnum):
    RESTART = "restart"
    REIMAGE = "reimage"
    STOP = "stop"
    START = "start"
    RETRY = "retry"


def vm_state(number: int) -> VmState:
    return _STATES.get(number, VmState.UNKNOWN)


def state_number(state: VmState | str | None) -> types.VmState.ValueType:
    """None: all of them. Raises ValueError for a word that is no state."""
    return types.VmState.Value(f"VM_STATE_{VmState(state).name}" if state else _ANY_STATE)


def host_health(number: int) -> HostHealth:
    return _HEALTHS.get(number, HostHealth.UNKNOWN)


def health_number(health: HostHealth | str | None) -> cluster.HostHealth.ValueType:
    """None: all of them. Raises ValueError for a word that is none, or for `unknown`."""
    return cluster.HostHealth.Value(
        f"HOST_HEALTH_{HostHealth(health).name}" if health else _ANY_HEALTH
    )


def action_number(action: VmAction | str) -> cluster.ControlVmsRequest.Action.ValueType:
    """Raises ValueError for a word that is no action."""
    return cluster.ControlVmsRequest.Action.Value(f"ACTION_{VmAction(action).name}")


_ANY_STATE, _ANY_HEALTH = "VM_STATE_UNSPECIFIED", "HOST_HEALTH_UNSPECIFIED"
_STATES: dict[int, VmState] = {types.VmState.Value(f"VM_STATE_{one.name}"): one for one in VmState}
_HEALTHS: dict[int, HostHealth] = {
    cluster.HostHealth.Value(f"HOST_HEALTH_{one.name}"): one
    for one in HostHealth
    if one is not HostHealth.UNKNOWN
}
