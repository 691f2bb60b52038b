"""Whether the store may be trusted to be the one that the hosts have been told from.

In one history of one store no host can have heard of a later term or assignment than the store
holds. Where one has, the store was set back or replaced, and what it wants may be old: changes are
frozen until an operator has said what is true. A host may lie: one is believed that proves what it
claims by a seal of the store, or many are that agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec

from fleet.keys import Epoch
from fleet_controller.core.model import Meta
from fleet_controller.core.refusals import Reason, Refused


class Freeze(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why nothing is changed, since when (seconds since 1970), and what an operator has confirmed
    so far: totals by fleet, and hosts that are gone. `believes_claims`: hosts are believed to be
    ahead of the store without proof, since many are, or since an operator says so."""

    reason: str
    since: float
    totals: Mapping[str, int] = {}
    absent: tuple[str, ...] = ()
    believes_claims: bool = False


# Hosts that claim something together, without proof, are believed from this share of all on. The
# product is to bear one in a hundred that lie in agreement; a store that was set back is noticed by
# nearly all. One host alone is never believed.
MANY_SHARE = 0.1


def are_many(claiming: int, known: int) -> bool:
    """Whether so many of the hosts that are known cannot be wrong together."""
    return claiming >= 2 and claiming >= known * MANY_SHARE


def replaced(meta: Meta, cluster: str) -> str:
    """Why this store is not the one that the record about itself was written in; empty: it is."""
    if not meta.cluster or meta.cluster == cluster:
        return ""
    return (
        f"the store is etcd cluster {cluster}, and its records were written in {meta.cluster}: it "
        "was restored from a backup"
    )


def is_ahead(epoch: Epoch, generation: int, known: int) -> bool:
    """Whether a host's assignment is newer than any that the store can have given it: `known` is
    the revision at which the host's key was last written or deleted, or, where it has never been
    seen, that at which the store was first read."""
    return epoch > (generation, known)


class EpochClaim(Enum):
    """What the epoch that a host speaks of says about the store."""

    FITS = "fits"  # the store can have given it
    AHEAD = "ahead"  # and that is proven: the store was set back
    UNPROVEN = "unproven"  # it would be ahead: the host is wrong, or the store is another
    OF_EARLIER_STORE = "of earlier store"  # and this one has given the host nothing


def claim_of(
    epoch: Epoch, generation: int, known: int, given: bool, proves: Callable[[], bool]
) -> EpochClaim:
    """A host says which assignment it has. `generation`, `known`: as is_ahead has them; `given`:
    whether the store has an assignment for the host; `proves`: whether the host proves what it
    says, asked only where that matters."""
    if is_ahead(epoch, generation, known):
        return EpochClaim.AHEAD if proves() else EpochClaim.UNPROVEN
    if not given and 0 < epoch.store_generation < generation:
        return EpochClaim.OF_EARLIER_STORE
    return EpochClaim.FITS


def ahead_reason(host: str, epoch: Epoch, generation: int, known: int) -> str:
    return (
        f"host {host} holds the assignment of epoch {_text(epoch)}, and the store knows of none "
        f"after {_text(Epoch(generation, known))}: it was set back to an older state, or is another"
    )


def unproven_reason(host: str, epoch: Epoch, generation: int, known: int) -> str:
    return (
        f"host {host} claims an assignment of epoch {_text(epoch)}, and proves nothing of it; the "
        f"store knows of none after {_text(Epoch(generation, known))}"
    )


def many_reason(claiming: int, known: int, example: str) -> str:
    return (
        f"{claiming:,} of {known:,} hosts claim to know more than the store, and it has not made "
        f"what would prove it: it is another, or was set back to before. {example}"
    )


def refusal(reason: str) -> Refused:
    """Of a change, while changes are frozen."""
    return Refused(
        Reason.CHANGES_FROZEN,
        f"changes are frozen, and VMs go on as they are: {reason}. "
        "'fleetctl recover --plan' shows what to do",
    )


def _text(epoch: Epoch) -> str:
    return f"{epoch.store_generation}.{epoch.revision}"
