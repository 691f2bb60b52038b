"""How far hosts are believed about the guests that they admit."""

from __future__ import annotations

import pytest

from fleet.v1 import types_pb2 as types
from fleet_controller.core.host_claims import (
    MOST_GUESTS,
    ORDINARY_GUESTS,
    admitted_guests,
    believed,
    usual_guests,
    void_claim,
)
from fleet_controller.core.hosts import announced
from fleet_controller.core.model import Capacity, HostRecord
from fleet_controller.mirror.guest_claims import GuestClaims
from fleet_controller.store import keys
from fleet_controller.store.codec import decode, encode

VAST = 2**32 - 1


def record(guests: int, name: str = "h", max_guests: int = 0, awaits: bool = False) -> HostRecord:
    capacity = Capacity(guests, memory_bytes=4)
    return HostRecord(name, "a:1", capacity=capacity, max_guests=max_guests, awaits_approval=awaits)


@pytest.mark.parametrize(
    ("claimed", "bound", "usual", "counts"),
    [
        (250, 0, 250, 250),
        (1000, 0, 250, 1000),
        (1001, 0, 250, ORDINARY_GUESTS),
        (VAST, 0, 250, ORDINARY_GUESTS),
        (1201, 0, 300, 300),
        (MOST_GUESTS, 0, 0, MOST_GUESTS),  # too few others to say
        (VAST, 0, 0, ORDINARY_GUESTS),
        (VAST, 0, 9_000, 9_000),
        (ORDINARY_GUESTS, 0, 2, ORDINARY_GUESTS),  # a large one in a lab of small ones
        (VAST, 4000, 250, 4000),
        (250, 4000, 250, 250),
        (250, 10, 250, 10),
        (0, 10, 250, 0),
    ],
)
def test_a_claim_counts_up_to_an_operators_bound_or_if_hosts_like_it_have_as_many(
    claimed: int, bound: int, usual: int, counts: int
) -> None:
    host = record(claimed, max_guests=bound)
    assert admitted_guests(host, usual) == counts
    assert believed(host, usual).capacity == Capacity(counts, memory_bytes=4)


def test_a_claim_beyond_is_told_with_what_to_do() -> None:
    told = void_claim(record(VAST, "evil"), 250)
    assert told.startswith("evil claims 4,294,967,295 guests, and 256 count (hosts usually have")
    assert "fleetctl hosts bound evil --max-guests N" in told
    assert void_claim(record(250), 250) == void_claim(record(VAST, max_guests=9), 250) == ""


def test_what_is_usual_follows_the_hosts_and_a_few_liars_do_not_move_it() -> None:
    claims = GuestClaims()
    for number in range(4):
        claims.note(f"h{number}", record(100))
    assert claims.usual == 0, "too few"
    claims.note("h4", record(100))
    for number in range(3):
        claims.note(f"liar-{number}", record(VAST))
    assert claims.usual == 100
    assert sorted(claims.above(1000)) == ["liar-0", "liar-1", "liar-2"]
    claims.note("waits", record(VAST, awaits=True))
    claims.note("closed", record(0))
    for number in range(3):
        claims.note(f"liar-{number}", None)
    assert (claims.usual, list(claims.above(1000))) == (100, [])
    for number in range(5):
        claims.note(f"h{number}", record(50))
    assert claims.usual == 50
    assert usual_guests([]) == 0


@pytest.mark.parametrize("field", [one.name for one in types.Capacity.DESCRIPTOR.fields])
def test_whatever_a_host_claims_its_record_can_be_read_again(field: str) -> None:
    facts = types.HostFacts(incarnation="i")
    extreme = "x" * 255 if field == "binding_limit" else 2**32 - 1
    setattr(facts.capacity, field, 2**64 - 1 if field == "memory_bytes" else extreme)
    made = announced(None, "h1", "h1:1", facts, live=False)
    assert decode(HostRecord, keys.host("h1"), encode(made)) == made
