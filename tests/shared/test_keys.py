"""Kin, epoch and term: one order of fields, to and from the wire."""

from __future__ import annotations

from fleet.keys import NO_EPOCH, NO_TERM, Epoch, Kin, Term
from fleet.v1 import agent_pb2 as wire
from fleet.v1 import types_pb2 as types


def test_a_kin_is_read_by_name_from_whatever_message_names_it() -> None:
    for message in (
        types.Shard(fleet_uid="u", birth=7, generation=2),
        wire.ShardReport(fleet_uid="u", birth=7, generation=2),
    ):
        assert Kin.of(message) == Kin(fleet_uid="u", generation=2, birth=7)


def test_terms_and_epochs_go_over_the_wire_and_compare_by_store_generation_first() -> None:
    assert Term.of(Term(2, 9).message()) == Term(2, 9)
    assert Epoch.of(Epoch(2, 9).message()) == Epoch(2, 9)
    assert NO_EPOCH < Epoch(1, 900) < Epoch(2, 5) and NO_TERM < Term(1, 1)


def test_they_are_written_as_operators_read_them() -> None:
    assert f"{Term(1, 5)} {Epoch(1, 10)}" == "(1, 5) (1, 10)"
