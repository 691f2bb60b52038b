"""Which hosts get no further VMs because too many fail there."""

from __future__ import annotations

import pytest

from fleet_controller.core.host_loss.quarantine import (
    FailureCount,
    Patient,
    QuarantineSettings,
    sick,
)

SETTINGS = QuarantineSettings(least=10, share=0.5)
USERS = {"u": 10, "v": 10}


def patient(name: str, *failures: tuple[str, int], assigned: int = 40, uid: str = "u") -> Patient:
    found = tuple(FailureCount(uid, kind, count, "why") for kind, count in failures)
    return Patient(name, assigned, found)


@pytest.mark.parametrize(("failed", "ill"), [(19, False), (20, True)])
def test_the_share_of_failing_vms_decides(failed: int, ill: bool) -> None:
    assert bool(sick([patient("h", ("no_memory", failed))], USERS, SETTINGS)) is ill


@pytest.mark.parametrize(("failed", "ill"), [(9, False), (10, True)])
def test_few_failures_prove_nothing(failed: int, ill: bool) -> None:
    few = [patient("h", ("no_memory", failed), assigned=10)]
    assert bool(sick(few, USERS, SETTINGS)) is ill


def test_failures_of_all_kinds_add_up_and_the_worst_is_named() -> None:
    found = sick([patient("h", ("busy", 8), ("no_memory", 14))], USERS, SETTINGS)
    assert found == {"h": "22 of 40 VMs fail, most with no_memory: why"}


@pytest.mark.parametrize(("hosts", "ill"), [(5, 5), (6, 0)])
def test_what_fails_on_most_hosts_of_a_fleet_is_the_fleets_own_fault(hosts: int, ill: int) -> None:
    everywhere = [patient(f"h{n}", ("image_missing", 40)) for n in range(hosts)]
    assert len(sick(everywhere, USERS, SETTINGS)) == ill


def test_a_fleets_fault_hides_no_hosts_own() -> None:
    most = [patient(f"h{n}", ("image_missing", 40)) for n in range(9)]
    one = patient("h9", ("image_missing", 20), ("no_memory", 20))
    assert sick([*most, one], USERS, SETTINGS).keys() == {"h9"}


def test_a_missing_image_of_one_fleet_blames_no_host_of_few() -> None:
    only = [patient(f"h{n}", ("image_missing", 40), uid="w") for n in range(2)]
    assert sick(only, USERS | {"w": 2}, SETTINGS) == {}


def test_a_driver_that_does_not_work_is_not_about_vms() -> None:
    assert sick([patient("h", ("driver", 100), uid="")], USERS, SETTINGS) == {}


def test_it_can_be_switched_off() -> None:
    ill = [patient("h", ("no_memory", 40))]
    assert sick(ill, USERS, QuarantineSettings(least=0)) == {}
