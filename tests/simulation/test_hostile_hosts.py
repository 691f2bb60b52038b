"""A host that lies hurts nobody but itself: whatever of the lies that the product withstands it
tells, the others' VMs and changes and the leader's memory stay as they are."""

from __future__ import annotations

from random import Random

import pytest

from fleet.v1 import types_pb2 as types
from tests.simulation.doubles.cluster import Shape
from tests.simulation.doubles.lies.table import LIES, TOLD_TODAY, WITHSTOOD_NOT_YET
from tests.simulation.doubles.tongue import Knowledge, Saying
from tests.simulation.scenario import Scenario

SHAPE = Shape(minutes=2.0)
PLAYS = 3


@pytest.mark.parametrize("lie", TOLD_TODAY)
def test_one_host_that_lies_hurts_nobody_but_itself(lie: str) -> None:
    for seed in range(PLAYS):
        scenario = Scenario.of(seed, SHAPE, (lie,))
        assert lie in {act.what for act in scenario.acts}
        assert not scenario.play().failure, f"seed {seed}"


def test_two_of_201_hosts_that_lie_in_agreement_hurt_nobody_else() -> None:
    shape = Shape(hosts=201, per_host=4, minutes=1.5, hosts_per_rack=40)
    scenario = Scenario.of(3, shape, ("turn_hostile", "scale"))
    assert "turn_hostile" in {act.what for act in scenario.acts}
    outcome = scenario.play()
    assert not outcome.failure


def test_each_field_of_what_a_host_announces_is_lied_about() -> None:
    """A field that is added has a lie too, or nobody knows what a hostile host does by it."""
    lied_about: set[str] = set()
    for lie in LIES.values():
        for seed in range(3):
            facts = types.HostFacts()
            for said in lie.announces(Knowledge("h1", Random(seed)), Saying("a:1", facts)):
                lied_about |= {field.name for field, _ in said.facts.ListFields()}
    assert lied_about == set(types.HostFacts.DESCRIPTOR.fields_by_name)


def test_what_is_not_withstood_yet_is_a_lie() -> None:
    assert WITHSTOOD_NOT_YET.keys() <= LIES.keys()
    assert {*TOLD_TODAY, *WITHSTOOD_NOT_YET} == LIES.keys()
