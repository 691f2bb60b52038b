"""The id that a caller gives its change, taken from the call's metadata for whatever is told of the
change. It is a claim: one that is no id is refused, since nobody could look for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from fleet.changes.change_id import CHANGE_METADATA, is_change_id
from fleet_controller.api.interceptors.deadline_interceptor import refusing
from fleet_controller.api.refusals import refusal_of
from fleet_controller.change_id import set_change_id
from fleet_controller.core.refusals import Reason, Refused


class ChangeIdInterceptor(grpc.aio.ServerInterceptor):
    """Keeps the id of each call that has one."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        for key, value in handler_call_details.invocation_metadata or ():
            if key == CHANGE_METADATA:
                if not is_change_id(text := str(value)):
                    wrong = f"{CHANGE_METADATA} is no id of a change: {text[:80]!r}"
                    return refusing(refusal_of(Refused(Reason.BAD_QUERY, wrong)))
                set_change_id(text)
        return await continuation(handler_call_details)
