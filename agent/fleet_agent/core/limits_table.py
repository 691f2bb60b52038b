"""The table: every limit of a dense dom0 that is known, those that break things first."""

from __future__ import annotations

from fleet_agent.core import limits_daemons, limits_kernel, limits_storage, limits_xen
from fleet_agent.core.limits import Limit

_ALL = (
    *limits_xen.LIMITS,
    *limits_daemons.LIMITS,
    *limits_kernel.LIMITS,
    *limits_storage.LIMITS,
)
LIMITS: tuple[Limit, ...] = tuple(sorted(_ALL, key=lambda one: one.advisory))
BY_NAME = {one.name: one for one in LIMITS}
