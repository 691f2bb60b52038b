"""Enums of the wire by their names for people, both ways: running is VM_STATE_RUNNING."""

from __future__ import annotations

from fleet.v1 import agent_pb2 as agent
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import types_pb2 as types
from fleetctl.output import STATES

UNKNOWN = "unknown"


def _upper(name: str | None) -> str:
    return (name or "unspecified").upper()


def vm_state(name: str | None) -> types.VmState.ValueType:
    """Of one of STATES; None: unspecified."""
    return types.VmState.Value(f"VM_STATE_{_upper(name)}")


def host_health(name: str | None) -> cluster.HostHealth.ValueType:
    """Of live, unreachable, suspect or lost; None: unspecified."""
    return cluster.HostHealth.Value(f"HOST_HEALTH_{_upper(name)}")


def top_order(name: str) -> agent.TopOrder.ValueType:
    """Of cpu, memory, network, block or name."""
    return agent.TopOrder.Value(f"TOP_ORDER_{_upper(name)}")


def rollout_action(name: str) -> cluster.RolloutRequest.Action.ValueType:
    """Of start, canary, promote, hold, pause, resume, abort, undo, back or show."""
    return cluster.RolloutRequest.Action.Value(f"ACTION_{_upper(name)}")


def drain_then(name: str | None) -> cluster.DrainThen.ValueType:
    """Of stop or force; None: unspecified."""
    return cluster.DrainThen.Value(f"DRAIN_THEN_{_upper(name)}")


def drain_end_name(value: int) -> str | None:
    """stop or force; None where there is no deadline, or an end that this fleetctl knows not."""
    ends = {int(cluster.DRAIN_THEN_STOP): "stop", int(cluster.DRAIN_THEN_FORCE): "force"}
    return ends.get(value)


def control_action(name: str) -> cluster.ControlVmsRequest.Action.ValueType:
    """Of restart, reimage, stop, start, retry, cancel_restart or cancel_reimage."""
    return cluster.ControlVmsRequest.Action.Value(f"ACTION_{_upper(name)}")


_STATE_NAMES = {int(vm_state(name)): name for name in STATES}
_HEALTH_NAMES = {
    int(value): name.removeprefix("HOST_HEALTH_").lower()
    for name, value in cluster.HostHealth.items()
}


def state_name(value: int) -> str:
    """Of a VmState; one that this fleetctl does not know is unknown."""
    return _STATE_NAMES.get(value, UNKNOWN)


def health_name(value: int) -> str:
    """Of a HostHealth; one that this fleetctl does not know is unknown."""
    return _HEALTH_NAMES.get(value, UNKNOWN)
