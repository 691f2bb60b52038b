"""How errors of the controller are told to whoever called: a status, a reason and a sentence."""

from __future__ import annotations

import grpc

from fleet.transport import Refusal
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.election.election import LeadershipLost
from fleet_controller.mirror.committer import Frozen, Outdated
from fleet_controller.replica.replica import NotLeading
from fleet_controller.store.port import StoreError, UnknownOutcome

# Every other reason is INVALID_ARGUMENT: the request is to blame.
_CODES = {
    Reason.NO_SUCH_FLEET: grpc.StatusCode.NOT_FOUND,
    Reason.NO_SUCH_HOST: grpc.StatusCode.NOT_FOUND,
    Reason.NO_SUCH_VM: grpc.StatusCode.NOT_FOUND,
    Reason.BEYOND_CAPACITY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_ANNOUNCEMENTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.TOO_MANY_WATCHERS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STALE_PLAN: grpc.StatusCode.ABORTED,
    Reason.FLEET_DELETING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_FLEET_NUMBER: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DUPLICATE_HOST: grpc.StatusCode.ALREADY_EXISTS,
    Reason.HOST_UNREACHABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.HOST_NOT_LOST: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOST_LOST: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOST_IN_USE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.DRAIN_CANCELLED: grpc.StatusCode.ABORTED,
    Reason.NO_SUCH_GENERATION: grpc.StatusCode.NOT_FOUND,
    Reason.NOTHING_TO_CHANGE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ROLLOUT_UNDER_WAY: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ROLLOUT_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.HOST_LIVE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
    Reason.NOT_DURABLE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CHANGES_FROZEN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_FROZEN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_SUCH_DENIAL: grpc.StatusCode.NOT_FOUND,
    Reason.HOST_EXPELLED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OWN_DENIAL: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.DENIED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.BAD_TOKEN: grpc.StatusCode.PERMISSION_DENIED,
    Reason.NO_SUCH_TOKEN: grpc.StatusCode.NOT_FOUND,
    Reason.TOKEN_EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Reason.TOO_MANY_JOINS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.NO_ISSUING_KEY: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.JOIN_LATER: grpc.StatusCode.UNAVAILABLE,
    Reason.UPGRADE_STATE: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.OVER_QUOTA: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.FIRST_PERSON: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.LAST_ADMIN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.NO_SUCH_PERSON: grpc.StatusCode.NOT_FOUND,
    Reason.CHANGE_DEADLINE_PASSED: grpc.StatusCode.FAILED_PRECONDITION,
}


def refusal_of(error: Exception) -> Refusal:
    """How an error of ours is told to the caller. Others are raised again: they are defects."""
    match error:
        case Refusal():
            return error
        case Refused():
            code = _CODES.get(error.reason, grpc.StatusCode.INVALID_ARGUMENT)
            return Refusal(code, error.reason, str(error), error.metadata)
        case NotLeading():
            return Refusal(
                grpc.StatusCode.FAILED_PRECONDITION
                if error.address
                else grpc.StatusCode.UNAVAILABLE,
                "NOT_LEADER",
                str(error),
                {"leader_address": error.address},
            )
        case LeadershipLost():
            return Refusal(grpc.StatusCode.UNAVAILABLE, "NOT_LEADER", str(error))
        case UnknownOutcome():
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "OUTCOME_UNKNOWN",
                f"the store did not answer in time, so the change may or may not stand: {error}",
            )
        case StoreError():
            return Refusal(
                grpc.StatusCode.UNAVAILABLE,
                "STORE_UNAVAILABLE",
                f"nothing was changed, the store cannot be written: {error}",
            )
        case Frozen():
            return Refusal(grpc.StatusCode.FAILED_PRECONDITION, Reason.CHANGES_FROZEN, str(error))
        case Outdated():
            return Refusal(
                grpc.StatusCode.ABORTED, "BUSY", "others kept changing the same things; try again"
            )
    raise error
