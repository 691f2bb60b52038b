"""Until when the call under way may be begun: it is in time, or nothing of it is done.

Of a call by itself: what is awaited between its arrival and what it changes, such as another
change, may take longer than whoever asked waits.
"""

from __future__ import annotations

import math
from contextvars import ContextVar

from fleet_controller.core.refusals import Reason, Refused

_before = ContextVar("before", default=math.inf)


def bound(seconds: float) -> None:
    """The call under way is too late after this moment on the leader's monotonic clock."""
    _before.set(seconds)


def raise_if_late(now: float) -> None:
    """Raises Refused with LATE. Asked for again, it is another call."""
    if not now <= _before.get():
        raise Refused(
            Reason.CHANGE_DEADLINE_PASSED,
            "this came later than it was waited for, so nothing was changed; ask for it again",
        )
