"""How callers are told that another replica leads, and that it does not answer."""

from __future__ import annotations

import grpc

from fleet.transport import Refusal
from fleet_controller.election.leader_key import Holder


def elsewhere(leader: Holder) -> Refusal:
    return _not_leader(f"this controller stands by; {leader.address} leads", leader)


def silent(leader: Holder) -> Refusal:
    return _not_leader(
        f"the controller that leads, {leader.replica} at {leader.address}, cannot be reached from "
        "this one; nothing was changed",
        leader,
    )


def _not_leader(message: str, leader: Holder) -> Refusal:
    named = {"leader_address": leader.address}
    return Refusal(grpc.StatusCode.FAILED_PRECONDITION, "NOT_LEADER", message, named)


def gone(leader: Holder) -> Refusal:
    return Refusal(
        grpc.StatusCode.UNAVAILABLE,
        "LEADER_GONE",
        f"the controller that led, {leader.replica} at {leader.address}, went away before it had "
        "answered",
    )
