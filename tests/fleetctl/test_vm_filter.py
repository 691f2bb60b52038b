"""Which VMs are listed, as it is typed."""

from __future__ import annotations

import pytest

from fleet.ranges import IndexSet
from fleetctl.outcome import Misuse
from fleetctl.ui.background import AGAIN, Age, pause_after
from fleetctl.ui.vm_filter import VmFilter, vm_filter


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("", VmFilter()),
        ("failed", VmFilter(state="failed")),
        ("stopped host=h1", VmFilter(stopped=True, host="h1")),
        ("0-99,300", VmFilter(indices=IndexSet([(0, 100), (300, 301)]))),
        ("spv-7", VmFilter(indices=IndexSet.of([7]))),
        ("rack=r7 zone=a running", VmFilter("running", selector={"rack": "r7", "zone": "a"})),
    ],
)
def test_words_are_states_ranges_names_hosts_and_labels(typed: str, meant: VmFilter) -> None:
    assert vm_filter(typed, "spv") == meant


@pytest.mark.parametrize("typed", ["nonsense", "web-7", "9-x", "=x", "spv-99999999999", "9" * 300])
def test_what_cannot_be_meant_is_refused_in_a_sentence(typed: str) -> None:
    with pytest.raises(Misuse) as refused:
        vm_filter(typed, "spv")
    assert "\n" not in refused.value.message and len(refused.value.message) < 300


def test_what_is_shown_is_told_to_be_old_once_it_was_to_be_newer() -> None:
    age = Age()
    assert age.text(0.0) == ""
    age.answered(10.0, pause_after(0.01))
    assert age.text(13.0) == "" and "old; asking" in age.text(17.0)
    age.failed("no controller answers", lost=True)
    assert age.text(22.0) == "no controller answers; what is shown is 12 s old; trying again"
    age.answered(30.0)
    assert age.text(30.0) == "" and AGAIN <= pause_after(100.0) <= 20.0
