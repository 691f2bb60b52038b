"""Sharing an amount so that loads become as level as they can."""

from __future__ import annotations

from collections.abc import Sequence


def level(loads: Sequence[int], rooms: Sequence[int], amount: int) -> list[int]:
    """How much each takes of `amount`, given what it has and how much more it can hold.

    The result is the one with the lowest highest load: whoever has least is filled first.
    What does not divide evenly goes to the earliest, one each. When `amount` exceeds all rooms
    together, every room is filled; the caller sees the rest in the sum.
    """
    amount = min(amount, sum(rooms))
    if amount <= 0:
        return [0] * len(loads)
    low, high = min(loads), max(map(sum, zip(loads, rooms, strict=True)))
    while low < high:  # the highest whole level that `amount` can pay for
        middle = (low + high + 1) // 2
        if (
            sum(_share(load, room, middle) for load, room in zip(loads, rooms, strict=True))
            > amount
        ):
            high = middle - 1
        else:
            low = middle
    shares = [_share(load, room, low) for load, room in zip(loads, rooms, strict=True)]
    rest = amount - sum(shares)
    for position, (load, room) in enumerate(zip(loads, rooms, strict=True)):
        if rest == 0:
            break
        if shares[position] < room and load + shares[position] <= low:
            shares[position] += 1
            rest -= 1
    return shares


def pack(rooms: Sequence[int], amount: int) -> list[int]:
    """How much each takes when the earliest is filled before the next is touched."""
    shares = []
    for room in rooms:
        shares.append(min(room, amount))
        amount -= shares[-1]
    return shares


def _share(load: int, room: int, target: int) -> int:
    return min(room, max(0, target - load))
