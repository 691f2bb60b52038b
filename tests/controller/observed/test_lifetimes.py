"""Since when VMs are as their hosts tell, and how often they began to run again."""

from __future__ import annotations

import numpy as np
import pytest

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.observed.vectors import FleetVector

PENDING, BOOTING = int(types.VM_STATE_PENDING), int(types.VM_STATE_BOOTING)
RUNNING, FAILED = int(types.VM_STATE_RUNNING), int(types.VM_STATE_FAILED)
UNKNOWN = int(types.VM_STATE_UNKNOWN)
HOST, OTHER = 1, 2


def told(vector: FleetVector, state: int, now: float, host: int = HOST) -> None:
    vector.set_states(host, 0, np.full(2, state, np.uint8), now)


def placed(state: int = PENDING, now: float = 100.0) -> FleetVector:
    vector = FleetVector()
    vector.place(HOST, IndexSet.span(0, 2), 1, state, now)
    return vector


def test_a_vm_is_in_its_state_since_its_host_has_told_it_first() -> None:
    vector = placed()
    assert vector.lifetimes.since(0) == 100
    told(vector, BOOTING, 103.0)
    told(vector, RUNNING, 105.5)
    told(vector, RUNNING, 400.0)
    assert vector.lifetimes.since(0) == 105 and vector.lifetimes.restarts(0) == 0


def test_what_was_so_before_the_leader_heard_of_it_has_no_age() -> None:
    vector = placed(UNKNOWN)
    assert vector.lifetimes.since(1) is None
    told(vector, RUNNING, 200.0)
    assert vector.lifetimes.since(1) is None
    told(vector, FAILED, 230.0)
    assert vector.lifetimes.since(1) == 230


def test_each_time_that_it_runs_again_is_a_restart() -> None:
    vector = placed()
    for at, state in enumerate([RUNNING, BOOTING, RUNNING, FAILED, BOOTING, RUNNING]):
        told(vector, state, 200.0 + at)
    assert vector.lifetimes.restarts(0) == 2 and vector.lifetimes.since(0) == 205


def test_a_host_that_is_not_heard_for_a_while_has_restarted_nothing() -> None:
    vector = placed()
    told(vector, RUNNING, 110.0)
    vector.set_state(HOST, IndexSet.span(0, 2), UNKNOWN)
    vector.set_state(HOST, IndexSet.span(0, 2), PENDING)
    told(vector, RUNNING, 300.0)
    assert vector.lifetimes.since(0) == 110 and vector.lifetimes.restarts(0) == 0


def test_another_host_says_nothing_of_it() -> None:
    vector = placed()
    told(vector, RUNNING, 110.0)
    told(vector, FAILED, 120.0, OTHER)
    assert vector.lifetimes.since(0) == 110


@pytest.mark.parametrize("generation", [1, 2])
def test_a_vm_that_is_made_anew_begins_anew(generation: int) -> None:
    vector = placed()
    for state in (RUNNING, BOOTING, RUNNING):
        told(vector, state, 110.0)
    vector.place(OTHER, IndexSet.span(0, 1), generation, PENDING, 150.0)
    assert (vector.lifetimes.since(0), vector.lifetimes.restarts(0)) == (150, 0)
    assert vector.lifetimes.restarts(1) == 1
    vector.clear(OTHER, IndexSet.span(0, 1))
    assert vector.lifetimes.since(0) is None


@pytest.mark.parametrize(
    ("then", "heard", "steady"),
    [
        (200.0, 150.0, 0),  # it runs since 250
        (250.0, 150.0, 0),  # to the second: never too early
        (251.0, 150.0, 2),
        (300.0, 299.0, 2),
        (300.0, 301.0, 0),  # its host was not heard all the while
    ],
)
def test_what_runs_without_a_break_does_so_in_sight(then: float, heard: float, steady: int) -> None:
    vector = placed()
    told(vector, RUNNING, 250.0)
    assert len(vector.running_since(then, [0.0, heard, 0.0])) == steady
    told(vector, FAILED, 310.0)
    assert not vector.running_since(600.0, [0.0, heard, 0.0])
    told(vector, RUNNING, 320.0)
    assert not vector.running_since(315.0, [0.0, heard, 0.0]), "it begins anew"
    vector.clear(HOST, IndexSet.span(0, 2))
    assert not vector.running_since(600.0, [])


def test_what_ran_before_this_leader_counts_from_when_its_host_was_heard() -> None:
    vector = placed(UNKNOWN)
    told(vector, RUNNING, 500.0)
    assert not vector.running_since(499.0, [0.0, 500.0])
    assert len(vector.running_since(500.0, [0.0, 500.0])) == 2
