"""What each method needs of the person who calls it: one line for each, and nowhere else.

A method without a line cannot be defined. Certificates are judged before, and are a bound of their
own; machines have no roles. Nothing here is asked before there are people at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet.v1 import agent_pb2 as wire
from fleet.v1 import cluster_pb2 as cluster
from fleet.v1 import commands_pb2 as commands
from fleet.v1 import copies_pb2 as copies
from fleet_controller.core.model import FleetRecord
from fleet_controller.core.people.rights import Need, Right, Scope
from fleet_controller.core.refusals import named_fleet

_ALL, _ANY = Scope.CLUSTER, Scope.ANY
_NOTHING, _VIEW, _OPERATE, _ADMIN = Right.NOTHING, Right.VIEW, Right.OPERATE, Right.ADMIN


@dataclass(frozen=True, slots=True)
class Line:
    """`what`: the request in words, {} for the fleet. `fleet`: the request's field that names it;
    where that is empty the only fleet is meant, or with `of_all` all fleets. `about`: without such
    a field. `instead`: which line holds for this request; None: this one."""

    right: Right
    what: str
    about: Scope = _ALL
    fleet: str = ""
    of_all: bool = False
    instead: Callable[[Any], Line | None] | None = None


def _planning(what: str, fleet: str = "fleet") -> Callable[[Any], Line | None]:
    line = Line(_VIEW, what, fleet=fleet)
    return lambda request: line if request.plan_only else None


_ROLLOUT_SHOWN = Line(_VIEW, "see the rollout of {}", fleet="fleet")
_DRAIN_PLANNED = Line(_VIEW, "see what a drain would do", _ANY)
_GIVEN_UP = Line(_ADMIN, "give up what a host has")
_RECOVERY_SHOWN = Line(_VIEW, "see what a recovery would do")
_EXPULSION_SHOWN = Line(_VIEW, "see what expelling a host would do")
_TUNING_SHOWN = Line(_VIEW, "see the limits of a host", _ANY)


def _rollout(request: cluster.RolloutRequest) -> Line | None:
    shows = request.action == cluster.RolloutRequest.ACTION_SHOW or request.plan_only
    return _ROLLOUT_SHOWN if shows else None


def _drain(request: cluster.DrainRequest) -> Line | None:
    if request.plan_only:
        return _DRAIN_PLANNED
    return _GIVEN_UP if request.force else None


def _recover(request: cluster.RecoverRequest) -> Line | None:
    return _RECOVERY_SHOWN if request.plan_only and not request.begin else None


def _expel(request: cluster.ExpelHostRequest) -> Line | None:
    return _EXPULSION_SHOWN if request.plan_only else None


def _tune(request: cluster.HostTuneRequest) -> Line | None:
    return None if request.apply or request.undo else _TUNING_SHOWN


_FREE = Line(_NOTHING, "")
MACHINES = Line(_NOTHING, "do what machines do")

NEEDS: Mapping[str, Line] = {
    "Version": _FREE,
    "Instant": _FREE,
    "WhoAmI": _FREE,
    # Of one fleet, or of those that may be seen.
    "ListFleets": Line(_VIEW, "list fleets", _ANY),
    "Status": Line(_VIEW, "see how {} stands", _ANY, "fleet", of_all=True),
    "WatchStatus": Line(_VIEW, "see how {} stands", _ANY, "fleet", of_all=True),
    "ListVms": Line(_VIEW, "list the VMs of {}", fleet="fleet"),
    "GetVm": Line(_VIEW, "see a VM of {}", fleet="fleet"),
    "ListGenerations": Line(_VIEW, "see the generations of {}", fleet="fleet"),
    # It names any fleet, and shows what is in its file.
    "PlanFleets": Line(_VIEW, "see what applying files would do"),
    "ApplyFleet": Line(_OPERATE, "apply {}", fleet="name"),
    "Scale": Line(
        _OPERATE, "scale {}", fleet="fleet", instead=_planning("plan a scale of {}")
    ),
    "Rollout": Line(_OPERATE, "roll out {}", fleet="fleet", instead=_rollout),
    "PlanRebalance": Line(
        _VIEW, "see what a rebalance of {} would do", fleet="fleet", of_all=True
    ),
    "Rebalance": Line(_OPERATE, "rebalance {}", fleet="fleet", of_all=True),
    "StopRebalance": Line(_OPERATE, "stop the rebalance of {}", fleet="fleet", of_all=True),
    "ControlVms": Line(
        _OPERATE, "control VMs of {}", fleet="fleet",
        instead=_planning("plan a change of VMs of {}"),
    ),
    "DeleteFleet": Line(_ADMIN, "delete {}", fleet="name"),
    "SetFleetOwners": Line(_ADMIN, "say who owns {}", fleet="fleet"),
    # Whose fleet it is, the first message says: see `console_need`.
    "Console": Line(_VIEW, "open a console", _ANY),
    # As for a console: see `run_need`.
    "RunInFleet": Line(_VIEW, "run commands in VMs", _ANY),
    # As for a console: see `copy_need`.
    "CopyIntoFleet": Line(_VIEW, "copy files into VMs", _ANY),
    "CopyFromFleet": Line(_VIEW, "copy files out of VMs", _ANY),
    # Of all fleets, unless one is named.
    "Top": Line(_VIEW, "see what VMs of {} use", fleet="fleet", of_all=True),
    "ListEvents": Line(_VIEW, "read the events of {}", fleet="fleet", of_all=True),
    "History": Line(_VIEW, "read the history of {}", fleet="fleet", of_all=True),
    "WatchStates": Line(_VIEW, "watch the VMs of all fleets"),
    # Hosts: their counts for everybody, what they hold for those who see all.
    "ListHosts": Line(_VIEW, "list hosts", _ANY),
    "ListImages": Line(_VIEW, "list images", _ANY),
    "Doctor": Line(_VIEW, "see the limits of a host", _ANY),
    "GetHost": Line(_VIEW, "see all that a host holds"),
    "SetCordon": Line(_OPERATE, "cordon hosts"),
    "Drain": Line(_OPERATE, "drain hosts", instead=_drain),
    "Tune": Line(_OPERATE, "tune hosts", instead=_tune),
    "ImportImage": Line(_OPERATE, "import images"),
    "PutImage": Line(_OPERATE, "push images"),
    "SpreadImage": Line(_OPERATE, "push images"),
    "DeleteImage": Line(_OPERATE, "delete images"),
    "DeclareLost": Line(_OPERATE, "declare hosts lost"),
    "ReleaseQuarantine": Line(_OPERATE, "take hosts out of quarantine"),
    "ReleaseBreaker": Line(_OPERATE, "release the breaker"),
    "GetUpgrade": Line(_VIEW, "see how an upgrade of agents is", _ANY),
    "BeginUpgrade": Line(_ADMIN, "upgrade agents"),
    "ControlUpgrade": Line(_ADMIN, "halt, resume or cancel an upgrade of agents"),
    # Which machines belong to the cluster, and how far they are believed.
    "RemoveHost": Line(_ADMIN, "remove hosts"),
    "ResetHost": Line(_ADMIN, "reset hosts"),
    "BoundHost": Line(_ADMIN, "bound what hosts claim"),
    "PinHost": Line(_ADMIN, "pin what hosts announce"),
    "ApproveHosts": Line(_ADMIN, "approve hosts"),
    "ExpelHost": Line(_ADMIN, "expel hosts", instead=_expel),
    "ReadmitHost": Line(_ADMIN, "readmit hosts"),
    "ListTokens": Line(_VIEW, "list tokens"),
    "CreateToken": Line(_ADMIN, "create tokens"),
    "RevokeToken": Line(_ADMIN, "revoke tokens"),
    # The store.
    "Backup": Line(_ADMIN, "copy the store"),
    "Recover": Line(_ADMIN, "recover the cluster", instead=_recover),
    # People.
    "ListDenied": Line(_VIEW, "list who is denied"),
    "Deny": Line(_ADMIN, "deny people"),
    "Allow": Line(_ADMIN, "allow people again"),
    "ListPeople": Line(_VIEW, "list people"),
    "AddPerson": Line(_ADMIN, "give roles"),
    "RemovePerson": Line(_ADMIN, "take roles away"),
    "SetRoleQuota": Line(_ADMIN, "say what a role may own"),
    # By certificates alone.
    "Announce": MACHINES,
    "Renew": MACHINES,
    "StandBy": MACHINES,
    "Join": MACHINES,
}  # fmt: skip


def need_of(line: Line, request: Any, fleets: Mapping[str, FleetRecord]) -> Need:
    """What this request needs. One that means the only fleet names it afterwards, so that no other
    is meant by the time it is carried out. Raises Refused where no fleet is meant."""
    line = (line.instead(request) if line.instead else None) or line
    if not line.fleet:
        return Need(line.right, line.about, line.what)
    name = getattr(request, line.fleet)
    if not name and line.of_all:
        return Need(line.right, line.about, line.what.format("all fleets"))
    if not name:
        name = named_fleet(fleets, name).name
        setattr(request, line.fleet, name)
    return Need(line.right, name, line.what.format(f"fleet {name[:60]}"))


def console_need(
    first: wire.ConsoleInput, fleets: Mapping[str, FleetRecord], types: bool
) -> Need | None:
    """By the first message of a console; None where it names no fleet that there is."""
    uid = first.vm.fleet_uid
    fleet = next((one for one in fleets.values() if one.uid == uid), None)
    if fleet is None:
        return None
    doing = "type at" if types else "read"
    return Need(_OPERATE if types else _VIEW, fleet.name, f"{doing} consoles of fleet {fleet.name}")


def run_need(first: commands.RunInFleetRequest, fleets: Mapping[str, FleetRecord]) -> Need:
    """By the first message of a command in VMs; the only fleet is named in it afterwards. Raises
    Refused where no fleet is meant."""
    first.fleet = named_fleet(fleets, first.fleet).name
    return Need(_OPERATE, first.fleet, f"run commands in VMs of fleet {first.fleet[:60]}")


def copy_need(
    first: copies.CopyIntoFleetRequest | copies.CopyFromFleetRequest,
    fleets: Mapping[str, FleetRecord],
) -> Need:
    """As `run_need`, of a file. Raises Refused where no fleet is meant."""
    first.fleet = named_fleet(fleets, first.fleet).name
    way = "into" if isinstance(first, copies.CopyIntoFleetRequest) else "out of"
    return Need(_OPERATE, first.fleet, f"copy files {way} VMs of fleet {first.fleet[:60]}")
