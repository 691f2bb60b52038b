"""The line by which a VM says on its console that it is ready."""

from __future__ import annotations

from fleet.texts.guest_patterns import BadPattern, GuestPattern, guest_pattern
from fleet_agent.drivers.lanes import ActFailed


def console_pattern(text: str) -> GuestPattern:
    """Compiled. Raises ActFailed."""
    try:
        return guest_pattern(text)
    except BadPattern as error:
        raise ActFailed(
            "bad_spec",
            f"the console pattern is no regular expression of RE2: {error}",
            retry=False,
        ) from error
