"""Calls that come late are refused, whatever the method.

A call may lie in the socket of a stopped controller for as long as that is stopped, and its
deadline begins anew when it is read: an operator has long asked another controller for something
else. So fleetctl says until when on the leader's own clock a change may be begun, having asked for
that clock before; no two clocks are compared. A standby that wakes passes that on with the call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from fleet.service import Context
from fleet.transport import BEFORE_METADATA, Refusal, abort
from fleet_controller import change_deadline
from fleet_controller.api.authorization import refusal_of
from fleet_controller.core.changes import Reason, Refused
from fleet_controller.replica.replica import NotLeading, Replica


class Punctual(grpc.aio.ServerInterceptor):
    """Looks at the bound of each call that has one, and keeps it for what the call does later."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        for key, value in handler_call_details.invocation_metadata or ():
            if key == BEFORE_METADATA:
                try:
                    self._raise_unless_in_time(str(value))
                except (NotLeading, Refused) as error:
                    return _refusing(refusal_of(error))
        return await continuation(handler_call_details)

    def _raise_unless_in_time(self, told: str) -> None:
        """Raises NotLeading, and Refused with LATE."""
        seconds, _, leadership = told.partition(" ")
        if leadership != self._replica.leadership_name():
            raise Refused(
                Reason.LATE,
                "this was asked of a controller that led before, so nothing was changed; ask for "
                "it again",
            )
        try:
            change_deadline.bound(float(seconds))
        except ValueError as error:
            wrong = f"{BEFORE_METADATA} is no time: {told[:80]!r}"
            raise Refused(Reason.BAD_QUERY, wrong) from error
        change_deadline.raise_if_late(self._replica.around.clock())


def _refusing(refusal: Refusal) -> grpc.RpcMethodHandler[Any, Any]:
    """On the wire a call with one message is a stream of one."""

    async def refused(requests: AsyncIterator[bytes], context: Context) -> None:
        await abort(context, refusal)

    return grpc.stream_stream_rpc_method_handler(refused)
