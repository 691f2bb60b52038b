"""The table: every limit of a dense dom0 that is known, those that break things first."""

from __future__ import annotations

from fleet_agent.core.limits import daemons as limits_daemons
from fleet_agent.core.limits import kernel as limits_kernel
from fleet_agent.core.limits import qemu as limits_qemu
from fleet_agent.core.limits import storage as limits_storage
from fleet_agent.core.limits import xen as limits_xen
from fleet_agent.core.limits.verdicts import Limit

_ALL = (
    *limits_xen.LIMITS,
    *limits_qemu.LIMITS,
    *limits_daemons.LIMITS,
    *limits_kernel.LIMITS,
    *limits_storage.LIMITS,
)
LIMITS: tuple[Limit, ...] = tuple(sorted(_ALL, key=lambda one: one.advisory))
BY_NAME = {one.name: one for one in LIMITS}
