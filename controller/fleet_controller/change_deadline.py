"""The change deadline of the call under way: after it nothing of the call is begun.

It belongs to one call. A change may have to wait after its call arrived, for another change for
instance, and that may last longer than the caller waits.
"""

from __future__ import annotations

import math
from contextvars import ContextVar

from fleet_controller.core.refusals import Reason, Refused

_deadline = ContextVar("change_deadline", default=math.inf)


def set_change_deadline(seconds: float) -> None:
    """For the call under way: a moment on the leader's monotonic clock."""
    _deadline.set(seconds)


def check_change_deadline(now: float) -> None:
    """Raises Refused when the deadline has passed; asked for again, it is another call."""
    if not now <= _deadline.get():
        raise Refused(
            Reason.CHANGE_DEADLINE_PASSED,
            "this came later than it was waited for, so nothing was changed; ask for it again",
        )
