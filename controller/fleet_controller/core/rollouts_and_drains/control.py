"""Restarting, making anew, stopping, starting, retrying VMs, decided: the shards that change.

A shard is cut where only part of it is meant. A VM that is being moved is changed on both hosts:
on the one that has it, and on the one that has it staged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec
from msgspec import structs

from fleet.ranges import EMPTY, IndexSet
from fleet_controller.core.model import Assignment, ClusterView, FleetRecord, Shard
from fleet_controller.core.placement.drafts import Drafts
from fleet_controller.core.refusals import Reason, Refused


class Action(StrEnum):
    """What may be done to VMs."""

    RESTART = "restart"
    REIMAGE = "reimage"
    STOP = "stop"
    START = "start"
    RETRY = "retry"


class Controlled(msgspec.Struct, frozen=True):
    """`assignments`: those that change, by host id. `indices`: the VMs concerned. `hosts`: how
    many hosts have them. `token`: names this plan. `at_once`: how many of them may be down at once;
    0: all."""

    assignments: Mapping[str, Assignment]
    indices: IndexSet
    hosts: int
    token: str
    at_once: int = 0


def control(
    view: ClusterView, fleet: FleetRecord, action: Action, chosen: IndexSet, since: int
) -> Controlled:
    """The action applied to those of the chosen VMs that are placed.

    `since`: the revision at which it was asked for. A change may have to be decided a second time;
    what was restarted, made anew or retried since then is not done twice. Raises Refused for a
    fleet that is being deleted.
    """
    if fleet.deleting:
        raise Refused(Reason.FLEET_DELETING, f"fleet {fleet.name} is being deleted")
    drafts = Drafts(view, {})
    meant = EMPTY
    hosts = set()
    effect = []
    for host, shard in drafts.shards():
        part = shard.ranges & chosen if shard.fleet == fleet.uid else EMPTY
        if not part:
            continue
        changed = CHANGES[action](shard, view.revision, since)
        if changed is not None:
            drafts.put(host, shard, part, changed)
            meant = meant | part
            hosts.add(host)
            effect.append((host, str(part), shard.generation, shard.birth))
    text = repr((fleet.uid, action.value, sorted(effect)))
    token = hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
    return Controlled(drafts.assignments(), meant, len(hosts), token)


_SHOWN = 6  # ranges in a sentence


def check_indices(fleet: FleetRecord, chosen: IndexSet) -> None:
    """Raises Refused where the fleet has not all of these indices: after one slip of the hand the
    others may be wrong as well, so nothing is done to any VM."""
    beyond = chosen - fleet.wanted
    if not beyond:
        return
    shown = IndexSet(beyond.ranges[:_SHOWN])
    more = f" and {len(beyond) - len(shown):,} more" if shown != beyond else ""
    has = f"has VMs 0 to {fleet.total - 1:,}" if fleet.total else "has no VMs"
    raise Refused(
        Reason.NO_SUCH_VM,
        f"fleet {fleet.name} {has}: there is no {shown}{more}; nothing was done to any",
    )


def check_token(controlled: Controlled, token: str) -> None:
    """Raises Refused when the plan shown is stale."""
    if token and token != controlled.token:
        raise Refused(
            Reason.STALE_PLAN,
            "the cluster has changed since that plan was made; look at a new one",
        )


def _restart(shard: Shard, revision: int, since: int) -> Shard | None:
    """What is off has nothing to restart."""
    if not shard.power or shard.restart >= since:
        return None
    return structs.replace(shard, restart=revision)


def _reimage(shard: Shard, revision: int, since: int) -> Shard | None:
    """What is staged is a fresh clone as it is."""
    if shard.staged or shard.birth >= since:
        return None
    return structs.replace(shard, birth=revision, restart=0, retry=0)


def _stop(shard: Shard, revision: int, since: int) -> Shard | None:
    return structs.replace(shard, power=False) if shard.power else None


def _start(shard: Shard, revision: int, since: int) -> Shard | None:
    return None if shard.power else structs.replace(shard, power=True)


def _retry(shard: Shard, revision: int, since: int) -> Shard | None:
    return structs.replace(shard, retry=revision) if shard.retry < since else None


CHANGES: Mapping[Action, Callable[[Shard, int, int], Shard | None]] = {
    Action.RESTART: _restart,
    Action.REIMAGE: _reimage,
    Action.STOP: _stop,
    Action.START: _start,
    Action.RETRY: _retry,
}
