"""What an agent tells of its host before any driver has answered."""

from __future__ import annotations

from fleet_agent.daemon.facts_keeper import facts_at_start
from fleet_agent.daemon.settings import Settings


def test_a_host_has_all_its_labels_from_its_agents_first_word_on() -> None:
    """One that lost its accelerator's for a moment would lose its place in a fleet that asks."""
    asked = Settings(identity="/i", endpoints=("c:1",), labels={"rack": "r1", "accel": "mine"})
    assert facts_at_start(asked, {"accel": "kvm", "x": "y"}).labels == {
        "rack": "r1", "accel": "mine", "x": "y",
    }  # fmt: skip
