"""The part of the service that is about people: their roles, their bounds, whose a fleet is.

A controller's own certificate may call the changes too: whoever is locked out has a way back.
"""

from __future__ import annotations

from collections.abc import Iterable

import grpc

from fleet.peers import PEOPLE
from fleet.transport import Peer, Refusal, Role
from fleet.v1 import people_pb2 as wire
from fleet.v1.cluster_pb2_grpc import ClusterServiceServicer
from fleet_controller.api.authorization import READERS, WRITERS, Call, rpc
from fleet_controller.api.callers import CallsUnderWay
from fleet_controller.api.needs import MACHINES, NEEDS, Line
from fleet_controller.core.people import rights
from fleet_controller.core.people.changes import QuotaChange, grant_of
from fleet_controller.core.people.records import Grant
from fleet_controller.core.people.rights import ROLES, Need, Scope
from fleet_controller.queries import people as people_queries
from fleet_controller.replica.replica import Replica

_GIVERS = (*WRITERS, Role.CONTROLLER)
_WAY_BACK = ("AddPerson", "RemovePerson", "ListPeople")  # by a controller's certificate
_LESS_ALLOWED = Refusal(
    grpc.StatusCode.PERMISSION_DENIED,
    "NOT_ALLOWED",
    "your roles have changed while this was under way: see 'fleetctl users whoami', and ask again",
)


class PeopleApi(ClusterServiceServicer):
    """Mixed into ClusterApi."""

    replica: Replica
    calls: CallsUnderWay

    @rpc(_GIVERS)
    async def AddPerson(self, call: Call, request: wire.AddPersonRequest) -> wire.AddPersonResponse:
        asking = call.peer.name if call.peer.role in PEOPLE else ""
        person, first = await call.leader.people.add(
            request.name, _grants(request.grants), _quota(request.quota), call.actor, asking
        )
        return wire.AddPersonResponse(
            person=people_queries.person(call.leader.memory, person), first=first
        )

    @rpc(_GIVERS)
    async def RemovePerson(
        self, call: Call, request: wire.RemovePersonRequest
    ) -> wire.RemovePersonResponse:
        left = await call.leader.people.remove(request.name, _grants(request.grants), call.actor)
        self._end_calls(request.name)
        if left is None:
            return wire.RemovePersonResponse(person=wire.Person(name=request.name))
        return wire.RemovePersonResponse(person=people_queries.person(call.leader.memory, left))

    @rpc((*READERS, Role.CONTROLLER), recalls=True)
    async def ListPeople(
        self, call: Call, request: wire.ListPeopleRequest
    ) -> wire.ListPeopleResponse:
        return people_queries.people(call.leader.memory)

    @rpc(WRITERS)
    async def SetRoleQuota(
        self, call: Call, request: wire.SetRoleQuotaRequest
    ) -> wire.SetRoleQuotaResponse:
        quota = _quota(request.quota)
        record = await call.leader.people.set_role_quota(request.role, quota, call.actor)
        return wire.SetRoleQuotaResponse(role=people_queries.role_quota(record))

    @rpc(WRITERS)
    async def SetFleetOwners(
        self, call: Call, request: wire.SetFleetOwnersRequest
    ) -> wire.SetFleetOwnersResponse:
        before, after = await call.leader.fleets.set_owners(
            request.fleet, request.add, request.remove, call.actor
        )
        for name in set(before.owners) - set(after.owners):
            self._end_calls(name)
        return wire.SetFleetOwnersResponse(owners=after.owners)

    @rpc((*READERS, Role.CONTROLLER), recalls=True)
    async def WhoAmI(self, call: Call, request: wire.WhoAmIRequest) -> wire.WhoAmIResponse:
        memory, person = call.leader.memory, call.person
        known = person is not None and call.peer.role in PEOPLE
        return wire.WhoAmIResponse(
            who=str(call.peer),
            in_force=rights.in_force(memory.state.people),
            person=people_queries.person(memory, person) if person and known else None,
            abilities=[
                _ability(call, method, line)
                for method, line in NEEDS.items()
                if line is not MACHINES and line.right
            ],
        )

    def _end_calls(self, name: str) -> None:
        """Those under way were allowed by what counts no more."""
        for role in PEOPLE:
            self.calls.end(str(Peer(role, name)), _LESS_ALLOWED)


def _ability(call: Call, method: str, line: Line) -> wire.Ability:
    about = "fleet" if line.fleet else line.about.value
    scope = Scope.ANY if line.fleet else line.about
    fleets = call.leader.memory.state.fleets
    need = Need(line.right, scope, line.what)
    by_record = not call.is_bound_by_records or rights.has(call.person, need, fleets)
    match call.peer.role:
        case Role.OPERATOR:
            by_certificate = True
        case Role.VIEWER:
            by_certificate = line.right is rights.Right.VIEW
        case _:
            by_certificate = method in _WAY_BACK
    return wire.Ability(
        method=method,
        what=line.what.format("a fleet"),
        needs=ROLES[line.right],
        about=about,
        allowed=by_record and by_certificate,
    )


def _grants(grants: Iterable[wire.Grant]) -> list[Grant]:
    """Raises Refused."""
    return [grant_of(one.role, one.fleets) for one in grants]


def _quota(change: wire.QuotaChange) -> QuotaChange:
    return QuotaChange(
        change.vms if change.HasField("vms") else None,
        change.memory_bytes if change.HasField("memory_bytes") else None,
    )
