"""Records of schedules that nobody understands: nothing is carried out of them, and nothing else
is touched."""

from __future__ import annotations

import pytest

from fleet_controller.core.model import FleetRecord
from fleet_controller.core.schedules.record import ScheduleRecord, TimedTotal, Unfit
from fleet_controller.mirror.records import delete_schedule, put_fleet, put_schedule
from fleet_controller.mirror.state import ClusterState
from fleet_controller.store import keys

UID = "25c44139-6bc1-4832-8497-397d31e1af45"
SPV = FleetRecord("spv", UID, 1, total=5)
RECORD = ScheduleRecord(
    UID, 7.5, "operator/me", "operator/you", TimedTotal(9.0, 5, "operator/you"), Unfit(9, 7.0, "no")
)


def test_what_is_written_of_schedules_is_what_is_read() -> None:
    state = ClusterState()
    state.written([put_schedule(RECORD)], 1)
    assert state.schedules == {UID: RECORD}
    state.written([delete_schedule(UID)], 2)
    assert not state.schedules


@pytest.mark.parametrize(
    "value",
    [
        b"rubbish",
        b'{"fleet":"another","done_until":1}',
        b'{"fleet":"%s","done_until":-1}' % UID.encode(),
        b'{"fleet":"%s","done_until":1e300}' % UID.encode(),
        b'{"fleet":"%s","done_until":"NaN"}' % UID.encode(),
        b'{"fleet":"%s","done_until":1,"timed":{"until":1,"then":-1}}' % UID.encode(),
        b'{"fleet":"%s","done_until":1,"unfit":{"total":99999999999,"at":1,"why":""}}'
        % UID.encode(),
    ],
)
def test_a_record_that_does_not_read_takes_out_the_schedule_alone(value: bytes) -> None:
    state = ClusterState()
    state.written([put_fleet(SPV), put_schedule(RECORD)], 1)
    state.apply(keys.schedule(UID), value, 2)
    assert UID not in state.schedules and state.fleets == {"spv": SPV}
    assert "is not followed" in state.broken.why_no_schedule(UID)
    state.written([put_schedule(RECORD)], 3)
    assert state.schedules == {UID: RECORD} and not state.broken.why_no_schedule(UID)
