"""What a leader in this process answers, asked as the API asks it."""

from __future__ import annotations

from fleet.v1 import cluster_pb2 as cluster
from fleet_controller.core.rollouts_and_drains.drain_progress import DrainProgress
from fleet_controller.queries import drains, fleets, hosts
from fleet_controller.replica.leader import Leader


def status(leader: Leader, fleet: str = "") -> cluster.StatusResponse:
    """Of one fleet, or of all."""
    waiting = leader.absences.waiting
    return fleets.status(leader.memory, leader.planning, fleet, waiting)


def fleet_status(leader: Leader, name: str) -> cluster.FleetStatus:
    return fleets.fleet_status(leader.memory, leader.planning, leader.memory.state.fleets[name])


def host_summary(leader: Leader, host: str) -> cluster.HostSummary:
    return hosts.host_summary(leader.memory, leader.planning, host)


def host_detail(leader: Leader, host: str) -> cluster.HostDetail:
    return hosts.host_detail(leader.memory, leader.planning, host)


def host_list(leader: Leader, request: cluster.ListHostsRequest) -> cluster.ListHostsResponse:
    return hosts.hosts(leader.memory, leader.planning, request)


def drain_of(leader: Leader, host: str) -> DrainProgress:
    return drains.drain_of(leader.memory, leader.planning, host)


def blockers_of(leader: Leader, host: str, now: DrainProgress) -> str:
    return drains.blockers_of(leader.memory, leader.planning, host, now)
