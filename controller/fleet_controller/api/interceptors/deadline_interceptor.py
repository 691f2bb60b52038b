"""A call whose change deadline has passed is refused, whatever its method.

A call may lie in the socket of a stopped controller for as long as that is stopped, and gRPC's
own deadline begins anew when it is read: the operator may have asked another controller for
something else meanwhile. So fleetctl asks the leader for its clock, and sends with each change
until when on that clock it may be begun. A standby passes this on with the call.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from fleet.changes.change_deadline import CHANGE_DEADLINE_METADATA, parse_deadline
from fleet.service import Context
from fleet.transport import Refusal, abort
from fleet_controller.api.refusals import refusal_of
from fleet_controller.change_deadline import check_change_deadline, set_change_deadline
from fleet_controller.core.refusals import Reason, Refused
from fleet_controller.replica.replica import NotLeading, Replica


class ChangeDeadlineInterceptor(grpc.aio.ServerInterceptor):
    """Checks the change deadline of each call that has one, and keeps it for the call's changes,
    which check it once more before they write."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        for key, value in handler_call_details.invocation_metadata or ():
            if key == CHANGE_DEADLINE_METADATA:
                try:
                    self._check(str(value))
                except (NotLeading, Refused) as error:
                    return refusing(refusal_of(error))
        return await continuation(handler_call_details)

    def _check(self, text: str) -> None:
        """Raises NotLeading, Refused."""
        try:
            deadline = parse_deadline(text, self._replica.leadership_name())
        except ValueError as error:
            wrong = f"{CHANGE_DEADLINE_METADATA} is no time: {text[:80]!r}"
            raise Refused(Reason.BAD_QUERY, wrong) from error
        if deadline is None:
            raise Refused(
                Reason.CHANGE_DEADLINE_PASSED,
                "this was asked of a controller that led before, so nothing was changed; ask for "
                "it again",
            )
        set_change_deadline(deadline)
        check_change_deadline(self._replica.clock())


def refusing(refusal: Refusal) -> grpc.RpcMethodHandler[Any, Any]:
    """Whatever is asked. On the wire a call with one message is a stream of one."""

    async def refused(requests: AsyncIterator[bytes], context: Context) -> None:
        await abort(context, refusal)

    return grpc.stream_stream_rpc_method_handler(refused)
