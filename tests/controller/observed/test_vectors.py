"""Observed states: counts kept as they change are those that counting would find."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet.v1 import types_pb2 as types
from fleet_controller.core.vm_states import DEFINED, PENDING, RUNNING, UNKNOWN
from fleet_controller.observed.vectors import (
    NO_HOST,
    STATES,
    FleetVector,
)

HIGHEST = 40


@dataclass
class Model:
    """The same, one VM at a time: index -> [host, generation, state]; and which are off."""

    vms: dict[int, list[int]] = field(default_factory=dict)
    off: set[int] = field(default_factory=set)

    def place(self, host: int, indices: IndexSet, generation: int, state: int) -> None:
        self.vms |= {index: [host, generation, state] for index in indices}
        self.off -= set(indices)

    def set_power(self, host: int, indices: IndexSet, on: bool) -> None:
        mine = {i for i in indices if self.vms.get(i, [NO_HOST])[0] == host}
        self.off = self.off - mine if on else self.off | mine

    def clear(self, host: int, indices: IndexSet) -> None:
        for index in indices:
            if self.vms.get(index, [NO_HOST])[0] == host:
                del self.vms[index]
                self.off.discard(index)

    def set_states(self, host: int, start: int, states: list[int]) -> None:
        for index, state in enumerate(states, start):
            if self.vms.get(index, [NO_HOST])[0] == host:
                self.vms[index][2] = state if 1 <= state <= UNKNOWN else UNKNOWN


ranges = st.lists(
    st.tuples(st.integers(0, HIGHEST), st.integers(1, 12)).map(lambda p: (p[0], p[0] + p[1])),
    max_size=3,
).map(IndexSet)
hosts = st.integers(0, 3)
known_states = st.integers(1, UNKNOWN)
actions = st.one_of(
    st.tuples(st.just("place"), hosts, ranges, st.integers(1, 4), known_states),
    st.tuples(st.just("clear"), hosts, ranges),
    st.tuples(st.just("set_power"), hosts, ranges, st.booleans()),
    st.tuples(
        st.just("set_states"),
        hosts,
        st.integers(0, HIGHEST + 20),
        st.lists(st.integers(0, 255), max_size=20),
    ),
    st.tuples(st.just("set_state"), hosts, ranges, known_states),
)


def check(vector: FleetVector, model: Model) -> None:
    states = Counter(state for _, _, state in model.vms.values())
    assert vector.counts() == [states[state] for state in range(STATES)]
    assert vector.placed == len(model.vms)
    generations = Counter(generation for _, generation, _ in model.vms.values())
    running = Counter(g for _, g, state in model.vms.values() if state == RUNNING)
    assert vector.by_generation() == {g: (n, running[g]) for g, n in generations.items()}
    assert vector.powered_off == len(model.off)
    assert {index for index in model.vms if vector.is_off(index)} == set(model.off)
    as_wanted = [
        state == (DEFINED if index in model.off else RUNNING)
        for index, (_, _, state) in model.vms.items()
    ]
    assert vector.as_wanted == sum(as_wanted)
    for generation in (1, 2):
        on = [i for i, vm in model.vms.items() if vm[1] == generation and i not in model.off]
        up = sum(model.vms[i][2] == RUNNING for i in on)
        assert vector.of_generation(generation, RUNNING) == up
    everything = IndexSet.span(0, HIGHEST + 30)
    mine = IndexSet.of(i for i, vm in model.vms.items() if vm[0] == 1)
    assert vector.held(1, everything) == mine
    assert vector.held(NO_HOST, everything) == everything - IndexSet.of(model.vms)
    assert vector.having(RUNNING) == IndexSet.of(
        i for i, vm in model.vms.items() if vm[2] == RUNNING
    )
    for index in range(len(vector.states)):
        host, generation, state = model.vms.get(index, [NO_HOST, 0, 0])
        assert (vector.hosts[index], vector.states[index]) == (host, state)
        assert vector.generation_of(index) == generation
    total = HIGHEST + 30
    for wanted in (None, RUNNING, UNKNOWN):
        for holder in (None, 1):
            matching = [
                index
                for index in range(total)
                if wanted is None or model.vms.get(index, [0, 0, 0])[2] == wanted
                if holder is None or model.vms.get(index, [NO_HOST])[0] == holder
            ]
            hosts = None if holder is None else [holder]
            assert list(vector.select(total, wanted, hosts, None)) == matching
            off = [index for index in matching if vector.is_off(index)]
            assert list(vector.select(total, wanted, hosts, None, off_only=True)) == off


@settings(max_examples=200, deadline=None)
@given(st.lists(actions, max_size=12))
def test_counts_are_those_of_a_recount_after_any_sequence(steps: list[tuple]) -> None:  # type: ignore[type-arg]
    vector, model = FleetVector(), Model()
    for name, host, *rest in steps:
        match name:
            case "place" | "clear" | "set_power":
                getattr(vector, name)(host, *rest)
                getattr(model, name)(host, *rest)
            case "set_states":
                start, states = rest
                vector.set_states(host, start, np.array(states, np.uint8))
                model.set_states(host, start, states)
            case _:
                indices, state = rest
                vector.set_state(host, indices, state)
                for index in indices:
                    model.set_states(host, index, [state])
        check(vector, model)


def test_an_empty_fleet_counts_nothing() -> None:
    vector = FleetVector()
    assert (vector.counts(), vector.by_generation(), vector.placed) == ([0] * STATES, {}, 0)
    assert (vector.generation_of(7), list(vector.select(0, None, None, None))) == (0, [])
    vector.place(1, IndexSet(), 1, PENDING)
    assert vector.placed == 0


def test_indices_that_no_host_has_are_listed_too() -> None:
    vector = FleetVector()
    vector.place(1, IndexSet.span(0, 3), 1, RUNNING)
    assert list(vector.select(5, None, None, None)) == [0, 1, 2, 3, 4]
    assert list(vector.select(5, 0, None, None)) == [3, 4]
    assert list(vector.select(5, None, None, IndexSet.span(2, 2**32))) == [2, 3, 4]
    assert list(vector.select(2, RUNNING, {1}, IndexSet.span(1, 9))) == [1]
    assert list(vector.select(5, None, {1, 2}, None)) == [0, 1, 2]
    assert list(vector.select(5, None, set(), None)) == []


def test_what_is_counted_within_some_indices() -> None:
    vector = FleetVector()
    vector.place(1, IndexSet.span(0, 10), 1, RUNNING)
    vector.set_state(1, IndexSet.span(5, 10), UNKNOWN)
    assert vector.count_within(IndexSet.span(3, 7), RUNNING) == 2
    assert vector.count_within(IndexSet.span(20, 30), RUNNING) == 0


def test_every_state_of_the_wire_has_its_place() -> None:
    assert max(types.VmState.values()) == UNKNOWN < STATES
