"""How a host stands by its silence, and how often hosts are to report."""

from __future__ import annotations

import pytest

from fleet_controller.core.host_loss.health import HealthTimes, health, pace_for
from fleet_controller.core.model import Health

TIMES = HealthTimes(suspect_after=60.0, missed_heartbeats=2.5)


@pytest.mark.parametrize(
    ("linked", "silent_for", "expected"),
    [
        (True, 0.0, Health.LIVE),
        (True, 25.0, Health.LIVE),
        (True, 25.1, Health.UNREACHABLE),
        (True, 61.0, Health.SUSPECT),
        (False, 0.0, Health.UNREACHABLE),
        (False, 59.9, Health.UNREACHABLE),
        (False, 60.0, Health.SUSPECT),
        (False, 1e9, Health.SUSPECT),
    ],
)
def test_silence_makes_a_host_suspect_and_never_lost(
    linked: bool, silent_for: float, expected: Health
) -> None:
    assert health(linked, silent_for, 10.0, TIMES) is expected


def test_a_large_fleet_reports_more_seldom_so_that_the_load_stays_bounded() -> None:
    for hosts in (1, 40, 448, 4_480, 20_000):
        pace = pace_for(hosts)
        assert hosts / pace.min_interval <= 400.1
        assert hosts / pace.heartbeat <= 200.1
    assert pace_for(1).min_interval == 0.1 and pace_for(1).heartbeat == 5.0
    assert pace_for(4_480).heartbeat > pace_for(448).heartbeat
