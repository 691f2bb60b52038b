"""What a seal proves, and what it does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.keys import Epoch, Term
from fleet.v1 import types_pb2 as types
from fleet_controller.core.recovery.seals import SealKey, Seals, new_seal_key

SEALS = Seals(SealKey("5e" * 32))
OTHER = Seals(SealKey("5f" * 32))
EPOCH = Epoch(1, 600)
DATA = b"an assignment"


def test_what_a_leader_of_the_store_has_said_is_proven() -> None:
    assert SEALS.prove_term(SEALS.term(Term(1, 7)))
    assert SEALS.prove_epoch("h1", SEALS.epoch("h1", EPOCH))
    assert SEALS.prove_assignment("h1", EPOCH, DATA, SEALS.assignment("h1", EPOCH, DATA))


@pytest.mark.parametrize(
    "forge",
    [
        lambda said: setattr(said, "revision", 601),
        lambda said: setattr(said, "store_generation", 2),
        lambda said: setattr(said, "seal", b""),
        lambda said: setattr(said, "seal", said.seal[:-1]),
        lambda said: setattr(said, "seal", bytes(16)),
    ],
)
def test_a_changed_claim_proves_nothing(forge: Callable[[types.Epoch], None]) -> None:
    said = SEALS.epoch("h1", EPOCH)
    forge(said)
    assert not SEALS.prove_epoch("h1", said)


def test_a_seal_proves_nothing_for_another_host_another_kind_or_another_store() -> None:
    said = SEALS.epoch("h1", EPOCH)
    assert not SEALS.prove_epoch("h2", said)
    assert not OTHER.prove_epoch("h1", said)
    assert not SEALS.prove_term(types.Term(store_generation=1, revision=600, seal=said.seal))
    seal = SEALS.assignment("h1", EPOCH, DATA)
    assert not SEALS.prove_assignment("h1", EPOCH, DATA + b"!", seal)
    assert not SEALS.prove_assignment("h1", Epoch(1, 601), DATA, seal)


def test_a_host_name_cannot_be_cut_into_another_claim() -> None:
    one, other = SEALS.epoch("h1", Epoch(11, 1)), SEALS.epoch("h11", Epoch(1, 1))
    assert one.seal != other.seal


def test_without_a_key_nothing_is_sealed_and_nothing_is_proven() -> None:
    none = Seals(None)
    assert not none.term(Term(1, 7)).seal
    assert not none.prove_term(none.term(Term(1, 7)))
    assert not none.prove_assignment("h1", EPOCH, DATA, b"")


def test_each_new_key_is_another() -> None:
    assert new_seal_key() != new_seal_key()
    Seals(new_seal_key())
