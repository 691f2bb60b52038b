"""Which domains that do not run are halted, and which suspended, by libvirt's own numbers."""

from __future__ import annotations

import libvirt
import pytest

from fleet_agent.core.model import Phase
from fleet_agent.drivers.libvirt.stalled import stalled_of


@pytest.mark.parametrize(
    ("reason", "resumable"),
    [
        ("IOERROR", True), ("UNKNOWN", False), ("WATCHDOG", False), ("CRASHED", False),
        ("POSTCOPY_FAILED", False),
    ],
)  # fmt: skip
def test_what_an_error_has_paused_is_halted(reason: str, resumable: bool) -> None:
    found = stalled_of(libvirt.VIR_DOMAIN_PAUSED, getattr(libvirt, f"VIR_DOMAIN_PAUSED_{reason}"))
    assert found is not None and found.phase is Phase.HALTED
    assert found.resumable is resumable and found.why
    assert ("I/O error" in found.why) is resumable


def test_what_a_person_has_paused_is_suspended() -> None:
    found = stalled_of(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)
    assert found is not None and found.phase is Phase.SUSPENDED and "virsh resume" in found.why


@pytest.mark.parametrize(
    "reason", ["MIGRATION", "SAVE", "DUMP", "FROM_SNAPSHOT", "SHUTTING_DOWN", "SNAPSHOT",
               "STARTING_UP", "POSTCOPY"],
)  # fmt: skip
def test_what_libvirt_pauses_for_its_own_ends_is_neither(reason: str) -> None:
    number = getattr(libvirt, f"VIR_DOMAIN_PAUSED_{reason}")
    assert stalled_of(libvirt.VIR_DOMAIN_PAUSED, number) is None


def test_a_crashed_domain_that_is_kept_is_halted_and_what_runs_is_neither() -> None:
    crashed = stalled_of(libvirt.VIR_DOMAIN_CRASHED, libvirt.VIR_DOMAIN_CRASHED_PANICKED)
    assert crashed is not None and crashed.phase is Phase.HALTED and not crashed.resumable
    for state in (
        libvirt.VIR_DOMAIN_RUNNING,
        libvirt.VIR_DOMAIN_BLOCKED,
        libvirt.VIR_DOMAIN_PMSUSPENDED,
    ):
        assert stalled_of(state, 0) is None
