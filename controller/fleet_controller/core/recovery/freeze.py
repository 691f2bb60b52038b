"""Whether the store may be trusted to be the one that the hosts have been told from.

In one history of one store no host can have heard of a later term or assignment than the store
holds. Where one has, the store was set back or replaced, and what it wants may be old: changes are
frozen until an operator has said what is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import msgspec

from fleet.keys import Epoch
from fleet_controller.core.model import Meta
from fleet_controller.core.refusals import Reason, Refused


class Freeze(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why nothing is changed, since when (seconds since 1970), and what an operator has confirmed
    so far: totals by fleet, and hosts that are gone."""

    reason: str
    since: float
    totals: Mapping[str, int] = {}
    absent: tuple[str, ...] = ()


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
    AHEAD = "ahead"  # the store was set back, or is another
    OF_EARLIER_STORE = "of earlier store"  # and this one has given the host nothing


def claim_of(epoch: Epoch, generation: int, known: int, given: bool) -> EpochClaim:
    """A host says which assignment it has. `generation`, `known`: as is_ahead has them; `given`:
    whether the store has an assignment for the host."""
    if is_ahead(epoch, generation, known):
        return EpochClaim.AHEAD
    if not given and 0 < epoch.store_generation < generation:
        return EpochClaim.OF_EARLIER_STORE
    return EpochClaim.FITS


def ahead_reason(host: str, epoch: Epoch, generation: int, known: int) -> str:
    return (
        f"host {host} holds the assignment of epoch {_text(epoch)}, and the store knows of none "
        f"after {_text(Epoch(generation, known))}: it was set back to an older state, or is another"
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
