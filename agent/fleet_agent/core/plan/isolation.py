"""What may be brought up, and what must be stopped, while no controller is heard.

An agent without a controller keeps its assignment true, with three exceptions. After a reboot of
the dom0 others may run its VMs by now: it starts none before its assignment comes again, but for
those of fleets that wait for lost hosts, after a grace. And a fleet may ask for its VMs to be
stopped once no controller was heard for so long: the one guarantee against running twice. So a
controller's word alone starts none of these again: it may have given them to others, and says by
the assignment whether it has. And a ledger that is older than what exists was put back: what it
wants may run elsewhere by now.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.keys import Kin
from fleet.v1 import types_pb2 as types
from fleet_agent.core.assignment import Assignment


@dataclass(frozen=True, slots=True)
class Contact:
    """What the agent has heard. Seconds, of one monotonic clock."""

    awaits_assign: bool  # the dom0 has rebooted since it was assigned anything
    since_start: float  # of this process of the agent
    silent: float | None  # since a controller was heard; None: never by this process
    ledger_is_old: bool = False  # what exists was made under a newer assignment than it holds
    # It was silent for a fleet's time since it was assigned anything, or does not know.
    was_isolated: bool = False


@dataclass(frozen=True, slots=True)
class StartPermit:
    """Which kins may be started. Of `held` nothing is started; `isolated` are stopped as well.
    `changes_in`: seconds until this may be otherwise though nothing happens; None: never.
    `adopts_only`: besides that nothing is started, stopped or removed."""

    held: frozenset[Kin] = frozenset()
    isolated: frozenset[Kin] = frozenset()
    changes_in: float | None = None
    adopts_only: bool = False


def start_permit(assignment: Assignment, contact: Contact, reboot_grace: float) -> StartPermit:
    """The permit for all kins of the assignment. `reboot_grace`: seconds."""
    held, isolated = set(), set()
    waits: list[float] = []
    for shard in assignment.shards:
        spec = assignment.specs[shard.kin.fleet_uid, shard.kin.generation]
        graced = spec.on_loss == types.ON_LOSS_WAIT and not contact.ledger_is_old
        if contact.awaits_assign and not (graced and contact.since_start >= reboot_grace):
            held.add(shard.kin)
            waits += [reboot_grace - contact.since_start] if graced else []
        if limit := spec.on_isolation_stop_after_seconds:
            silent = contact.since_start if contact.silent is None else contact.silent
            if silent >= limit:
                isolated.add(shard.kin)
            else:
                waits.append(limit - silent)
            # An agent that was restarted meanwhile does not know how long nobody was heard.
            if silent >= limit or contact.silent is None or contact.was_isolated:
                held.add(shard.kin)
    changes_in = min(waits, default=None)
    return StartPermit(frozenset(held), frozenset(isolated), changes_in, contact.ledger_is_old)


def shortest_limit(assignment: Assignment) -> float | None:
    """The fewest seconds without a controller after which any fleet's VMs are stopped."""
    limits = (spec.on_isolation_stop_after_seconds for spec in assignment.specs.values())
    return min((limit for limit in limits if limit), default=None)
