"""How far a host is believed about itself: what of the guests that it claims counts.

An agent says how many guests its dom0 admits, and nobody can check it from outside. So what counts
is bounded: by an operator's word where there is one, and otherwise by what hosts like it have.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import structs

from fleet_controller.core.model import HostRecord

# No dom0 is believed more: the densest on record ran some thousands.
MOST_GUESTS = 10_000
# What any dom0 is believed, whatever others have: the default setting of an agent is 250.
ORDINARY_GUESTS = 256
# As many hosts are needed before one is judged by the others.
SEVERAL = 5
# How much more than the others' median a host is believed.
TIMES_USUAL = 4


def usual_guests(claims: Sequence[int]) -> int:
    """The median of what hosts claim, sorted; 0 where they are too few to say."""
    return claims[len(claims) // 2] if len(claims) >= SEVERAL else 0


def most_guests(usual: int) -> int:
    """What a host is believed that no operator has bounded. `usual`: as usual_guests says."""
    return min(max(ORDINARY_GUESTS, TIMES_USUAL * usual) if usual else MOST_GUESTS, MOST_GUESTS)


def admitted_guests(record: HostRecord, usual: int) -> int:
    """How many guests of those that the host claims count. A claim that nobody believes counts no
    more than what is usual, so that the most unlikely one gains nothing."""
    claimed = record.capacity.guests
    if record.max_guests:
        return min(claimed, record.max_guests)
    return claimed if claimed <= most_guests(usual) else max(ORDINARY_GUESTS, usual)


def believed(record: HostRecord, usual: int) -> HostRecord:
    """The record with as many guests as count; the same one where all do."""
    admitted = admitted_guests(record, usual)
    if admitted == record.capacity.guests:
        return record
    return structs.replace(record, capacity=structs.replace(record.capacity, guests=admitted))


def void_claim(record: HostRecord, usual: int) -> str:
    """One sentence about a claim of which a part does not count, where no operator has bounded
    it; empty for any other."""
    admitted, claimed = admitted_guests(record, usual), record.capacity.guests
    if record.max_guests or admitted == claimed:
        return ""
    most = most_guests(usual)
    few = f"hosts usually have {usual:,}, and no host is believed more than {most:,}"
    why = few if usual else f"no host is believed more than {most:,}"
    return (
        f"{record.id} claims {claimed:,} guests, and {admitted:,} count ({why}); 'fleetctl hosts "
        f"bound {record.id} --max-guests N' says how many it may have"
    )
