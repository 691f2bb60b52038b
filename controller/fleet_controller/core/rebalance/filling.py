"""Amounts divided among many so that loads become level and as little as can be is moved.

As `placement.leveling`, over arrays, and for what is there already: of two divisions that are as
level as one another it is the one that differs least from how things are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def fill(base: Counts, most: Counts, have: Counts, amount: int) -> Counts:
    """How much each has of `amount` afterwards, with the lowest highest load. `base`: its load
    besides that; `most`: what it can hold of it; `have`: what it has of it now. Where all together
    cannot hold the amount, each holds its most."""
    most = np.minimum(most, amount)
    amount = min(amount, int(most.sum()))
    if amount <= 0:
        return np.zeros_like(base)
    low, high = int(base.min()), int((base + most).max())
    while low < high:  # the highest whole level that the amount can pay for
        middle = (low + high + 1) // 2
        if int(np.clip(middle - base, 0, most).sum()) > amount:
            high = middle - 1
        else:
            low = middle
    shares: Counts = np.clip(low - base, 0, most)
    if rest := amount - int(shares.sum()):
        may_have_one_more = np.flatnonzero((shares < most) & (base + shares <= low))
        # Those that have it first: what does not divide evenly moves nobody.
        keeps = have[may_have_one_more] > shares[may_have_one_more]
        shares[may_have_one_more[np.argsort(~keeps, kind="stable")[:rest]]] += 1
    return shares


def packed(most: Counts, loads: Counts, amount: int) -> Counts:
    """The fullest is filled before the next one is touched."""
    order = np.argsort(-loads, kind="stable")
    before = np.cumsum(most[order]) - most[order]
    shares = np.zeros_like(most)
    shares[order] = np.clip(amount - before, 0, most[order])
    return shares


def first_of(counts: Counts, amount: int) -> Counts:
    """So much of the counts in all, the first ones first."""
    before = np.cumsum(counts) - counts
    taken: Counts = np.clip(amount - before, 0, counts)
    return taken
