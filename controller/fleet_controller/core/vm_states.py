"""The states of VMs as numbers, as in fleet.v1.VmState: reports hold one byte a VM."""

from __future__ import annotations

from fleet.v1 import types_pb2 as types

UNPLACED = 0
PENDING = int(types.VM_STATE_PENDING)
DEFINED = int(types.VM_STATE_DEFINED)
BOOTING = int(types.VM_STATE_BOOTING)
RUNNING = int(types.VM_STATE_RUNNING)
STOPPING = int(types.VM_STATE_STOPPING)
FAILED = int(types.VM_STATE_FAILED)
UNKNOWN = int(types.VM_STATE_UNKNOWN)
