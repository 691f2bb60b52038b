"""A template with nothing wrong, for tests to spoil."""

from __future__ import annotations

from fleet.v1 import types_pb2 as types

MIB = 2**20


def good() -> types.FleetSpec:
    return types.FleetSpec(
        image=types.Image(name="golden", snapshot="1"),
        memory_bytes=256 * MIB,
        vcpus=1,
        boot=types.Boot(kernel="/boot/vmlinuz", cmdline="name={name} mac={mac} i={index}"),
        disk=types.Disk(target="xvda"),
        readiness=types.Readiness(domain_active=True, timeout_seconds=60),
        admission=types.Admission(parallel=250),
        placement=types.Placement(
            policy=types.Placement.POLICY_SPREAD, spread_label="rack", selector={"zone": "a"}
        ),
        on_loss=types.ON_LOSS_REPLACE,
    )
