"""How a host stands, from how long it has been silent: live, unreachable, suspect.

`lost` is a verdict, never a consequence of time alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet_controller.core.model import Health


@dataclass(frozen=True, slots=True)
class HealthTimes:
    """Seconds. A report is missed after `missed_heartbeats` heartbeats of silence."""

    suspect_after: float = 60.0
    missed_heartbeats: float = 2.5


def health(linked: bool, silent_for: float, heartbeat: float, times: HealthTimes) -> Health:
    """`silent_for`: seconds since the host was last heard (or since the leader began)."""
    if linked and silent_for <= heartbeat * times.missed_heartbeats:
        return Health.LIVE
    return Health.UNREACHABLE if silent_for < times.suspect_after else Health.SUSPECT


@dataclass(frozen=True, slots=True)
class Pace:
    """How often an agent may report: seconds between two reports while things change, and
    the silence after which it says that it is there."""

    min_interval: float
    heartbeat: float


# Reports a second that one controller takes from all agents together. One costs about
# 0.25 ms of a core here, so these are about 10 % and 5 % of one.
_BUSY_REPORTS_PER_SECOND = 400.0
_IDLE_REPORTS_PER_SECOND = 200.0


def pace_for(hosts: int) -> Pace:
    """Sparser as the fleet grows, so that the controller's load stays bounded."""
    return Pace(
        min_interval=max(0.1, hosts / _BUSY_REPORTS_PER_SECOND),
        heartbeat=max(5.0, hosts / _IDLE_REPORTS_PER_SECOND),
    )
