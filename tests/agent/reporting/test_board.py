"""The state board against a plain dictionary."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.ranges import IndexSet
from fleet_agent.core.model import VmState
from fleet_agent.reporting.board import Board, KinStates
from fleet_agent.reporting.report_stream import Pace, ReportStream
from tests.agent.agent_host import states_in
from tests.doubles.assignments import kin

sets = st.sets(st.integers(0, 30), max_size=20)
states = st.sampled_from(list(VmState))
KIN = kin(10)


def values(board: KinStates) -> dict[int, int]:
    return {
        run.start + offset: state
        for run in board.runs(board.indices)
        for offset, state in enumerate(run.states)
    }


@settings(deadline=None)
@given(sets, st.lists(st.tuples(sets, states)), sets)
def test_states_are_those_last_put_and_survive_a_resize(
    members: set[int], puts: list[tuple[set[int], VmState]], others: set[int]
) -> None:
    board = KinStates(IndexSet.of(members))
    expected = dict.fromkeys(members, 0)
    for chosen, state in puts:
        changed = IndexSet(board.set_state(IndexSet.of(chosen), state))
        assert {n for n in chosen & members if expected[n] != state} <= set(changed)
        assert set(changed) <= chosen & members
        expected.update(dict.fromkeys(chosen & members, int(state)))
    assert values(board) == expected
    for state in VmState:
        assert set(board.having(state)) == {n for n, have in expected.items() if have == state}
    resized = board.resized(IndexSet.of(others))
    assert values(resized) == {n: expected.get(n, 0) for n in others}


Described = dict[int, VmState]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from([10, 20]), st.dictionaries(st.integers(0, 12), states)),
            st.booleans(),
        )
    )
)
def test_a_reader_always_ends_up_knowing_the_board(
    story: list[tuple[dict[int, Described], bool]],
) -> None:
    board = Board()
    reports = ReportStream(board, Pace(), lambda: 0.0)
    told = [reports._sent(reports._full(), 0.0)]
    now: dict[int, Described] = {}
    for now, reads in story:
        board.describe(
            {
                kin(birth): [
                    (state, IndexSet.of(n for n, have in described.items() if have == state))
                    for state in set(described.values())
                ]
                for birth, described in now.items()
                if described
            }
        )
        if reads:
            told.append(reports._sent(reports._delta(), 0.0))
    told.append(reports._sent(reports._delta(), 0.0))
    expected = {
        (KIN.fleet_uid, birth, n): int(state)
        for birth, described in now.items()
        for n, state in described.items()
    }
    assert states_in(told) == expected
